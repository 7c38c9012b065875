"""Text out of a model for others: OpenAI's interface over HTTP."""
