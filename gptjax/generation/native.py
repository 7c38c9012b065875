"""The compiled products of a decoding step: native.cc, made once by this machine's own C++ compiler.

XLA's CPU backend multiplies one row by a weight as fast as memory allows, but eight rows at a third of that, int8 and
bfloat16 slower still, and it copies a layer's weight out of the stack of layers first. With the kernel each weight is
read once for all rows, and a row's numbers do not depend on the rows beside it. Where there is no compiler, and on
other devices, XLA multiplies.
"""

import ctypes
import functools
import hashlib
import os
import pathlib
import platform
import shutil
import subprocess
import tempfile

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

SOURCE = pathlib.Path(__file__).with_name("native.cc")
CACHE = "~/.cache/gptjax/native"
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-ffp-contract=fast", "-fPIC", "-shared")
WIDE = ("-mprefer-vector-width=512",)  # x86 alone knows it
TARGETS = ("gptjax_product", "gptjax_attend")
SECONDS = 120  # of compiling, after which XLA multiplies


@functools.cache
def registered() -> bool:
    """Whether XLA knows the kernels; compiles them where this machine never did, about five seconds."""
    found = next((path for path in map(shutil.which, COMPILERS) if path), None)
    library = None if found is None or os.name != "posix" else built(found)
    if library is None:
        return False
    symbols = ctypes.CDLL(str(library))
    for name in TARGETS:
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(getattr(symbols, name)), platform="cpu")
    return True


def built(compiler: str) -> pathlib.Path | None:
    """The library for this source, these flags, this JAX and this CPU; None where the compiler fails."""
    flags = [*FLAGS, *(WIDE if platform.machine() in ("x86_64", "AMD64") else ()), f"-I{jax.ffi.include_dir()}"]
    known = [SOURCE.read_text(), compiler, *flags, jax.__version__, cpu()]
    folder = pathlib.Path(CACHE).expanduser()
    library = folder / f"{hashlib.sha256(repr(known).encode()).hexdigest()[:16]}.so"
    if library.is_file():
        return library
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as place:  # beside it: a rename puts it there whole
            made = pathlib.Path(place) / library.name
            subprocess.run([compiler, *flags, SOURCE, "-o", made], check=True, capture_output=True, timeout=SECONDS)
            made.replace(library)
    except (OSError, subprocess.SubprocessError):
        return None
    return library


def cpu() -> str:
    """What this CPU can do, for which the library is made."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())


def product(
    x_RI: Float[Array, "R I"],
    w_LOI: Array,
    scale_LO: Float[Array, "L O"] | None,
    layer: Int[Array, ""],
    active_R: Int[Array, " R"],
) -> Float[Array, "R O"]:
    """x times the transposed weight of a layer, in float32, in the rows that are active; zeros in the others."""
    scale = jnp.zeros((0, 0), jnp.float32) if scale_LO is None else scale_LO
    made = jax.ShapeDtypeStruct((x_RI.shape[0], w_LOI.shape[1]), jnp.float32)
    return jax.ffi.ffi_call(TARGETS[0], made)(x_RI, w_LOI, scale, layer, active_R)


def attend(
    q_RNH: Float[Array, "R N H"],
    k_RKH: Float[Array, "R K H"],
    v_RKH: Float[Array, "R K H"],
    keys_LRKSH: Float[Array, "L R K S H"],
    values_LRKSH: Float[Array, "L R K S H"],
    layer: Int[Array, ""],
    lengths_R: Int[Array, " R"],
    active_R: Int[Array, " R"],
) -> tuple[Array, Array, Array]:
    """The values that one query a row sees, its own among them, and the cache, with its key and value put in place."""
    shape = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype)
    call = jax.ffi.ffi_call(
        TARGETS[1], (shape(q_RNH), shape(keys_LRKSH), shape(values_LRKSH)), input_output_aliases={3: 1, 4: 2}
    )
    mixed_RNH, keys_LRKSH, values_LRKSH = call(
        q_RNH, k_RKH, v_RKH, keys_LRKSH, values_LRKSH, layer, lengths_R, active_R
    )
    return mixed_RNH, keys_LRKSH, values_LRKSH
