"""What private training costs and the secret it rests on; what a model keeps of its text, and what none should."""
