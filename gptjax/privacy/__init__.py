"""What a model keeps of its training text, and what a corpus holds that none should learn."""
