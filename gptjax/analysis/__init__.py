"""Reading experiments: logs in, tables, curves and answers out. Nothing here imports jax."""
