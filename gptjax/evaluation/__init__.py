"""What a model is worth: likelihood on held-out text."""
