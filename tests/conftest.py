"""Strict JAX for every test: 8 virtual CPU devices, ranks never promoted in silence, compiled fast rather than well."""

import gc
import os
import pathlib
import tempfile

import jax

FLAGS = [
    "--xla_force_host_platform_device_count=8",
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
]
if jax.__version_info__ < (0, 11):
    FLAGS.append(
        "--xla_cpu_use_fusion_emitters=false"
    )  # compiles a train step three times faster; newer XLA has no choice
os.environ["XLA_FLAGS"] = " ".join(FLAGS)  # read when the first computation starts a backend
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Whole runs compile the same step again and again, some in processes of their own: the session shares what is compiled,
# also among the workers of pytest-xdist, who find the folder of the process that started them.
if "PYTEST_XDIST_WORKER" not in os.environ:
    compiled = tempfile.TemporaryDirectory(prefix="gptjax-compiled-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = compiled.name
SHARED = {
    "jax_platforms": "cpu",
    "jax_compilation_cache_dir": os.environ["JAX_COMPILATION_CACHE_DIR"],
    "jax_persistent_cache_min_compile_time_secs": 0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}
for name, value in SHARED.items():
    os.environ[name.upper()] = str(value)  # for the processes that tests start
    jax.config.update(name, value)

gc.set_threshold(50_000, 10, 10)  # tracing makes many objects and few cycles, and looking for them took a fifteenth

# What takes long goes first: what is left for the end is short, so that no worker waits for another.
FIRST = (
    "reliability",
    "commands",
    "launch",
    "training",
    "evaluation",
    "test_shipped_configs.py",
    "experiments",
    "serving",
)


def pytest_collection_modifyitems(items):
    """By room; a file beside the rooms is one."""
    room = lambda item: item.path.relative_to(pathlib.Path(__file__).parent).parts[0]
    items.sort(key=lambda item: FIRST.index(room(item)) if room(item) in FIRST else len(FIRST))


def pytest_collection_finish():
    gc.freeze()  # what is imported by now is there to stay
