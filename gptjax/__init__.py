"""GPT language models from theory to practice, in JAX."""
