"""Accounting of differential privacy, and the secret it rests on."""
