"""Arithmetic before anyone pays: chips, FLOPs, memory."""
