"""Strict JAX for every test: 8 virtual CPU devices, ranks never promoted in silence, compiled fast rather than well."""

import os
import tempfile

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=8"
    " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)
# Whole runs compile the same step again and again, some in processes of their own: the session shares what is compiled.
compiled = tempfile.TemporaryDirectory(prefix="gptjax-compiled-")
os.environ["JAX_COMPILATION_CACHE_DIR"] = compiled.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax  # noqa: E402  (the flags must be set before jax starts its backend)

jax.config.update("jax_numpy_rank_promotion", "raise")
