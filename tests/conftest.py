"""Strict JAX for every test: 8 virtual CPU devices, ranks never promoted in silence, compiled fast rather than well."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=8"
    " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)

import jax  # noqa: E402  (the flags must be set before jax starts its backend)

jax.config.update("jax_numpy_rank_promotion", "raise")
