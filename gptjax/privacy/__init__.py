"""What private training costs, and its secret; what a model keeps of its text, and what none should learn."""
