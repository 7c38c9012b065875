"""Run directories: writing logs and reading them."""
