"""Sweeps: a grid of configs, launched on this machine, Slurm, Kubernetes or SkyPilot, and brought to its end.

Used from a checkout: `python -m launch plan experiments/<question>/sweep.py`. Nothing here imports jax.
"""
