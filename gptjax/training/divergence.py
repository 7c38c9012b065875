"""Numbers that are not finite: noticed, named bit by bit, and kept out of checkpoints."""

import functools
import math
import struct
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool

from gptjax import tree
from gptjax.training import sharding


class Diverged(RuntimeError):
    """A number is NaN or infinite at a step. Commands exit with 3: the same run would diverge again."""

    def __init__(self, what: str, step: int, seed: int):
        super().__init__(f"{what} at step {step}, batch (seed {seed}, step {step})")
        self.step = step


def read(metrics: Mapping) -> dict[str, float]:
    """Metrics as the host sees them; waits for the update that makes them."""
    return {name: float(value) for name, value in jax.device_get(dict(metrics)).items()}


def bits(value: float) -> str:
    """A number with its 64 bits in hexadecimal digits, since there are many NaNs; those of a float32 are in them."""
    return f"{value:.9g} (bits {struct.pack('>d', value).hex()})"


def refuse(step: int, seed: int, found: Mapping[str, float]) -> None:
    """Raises Diverged for the first metric that is not finite."""
    for name, value in found.items():
        if not math.isfinite(value):
            raise Diverged(f"{name} is {bits(value)}", step, seed)


def make_check(seed: int, on: Mesh) -> Callable[[int, Any], None]:
    """The function `check(step, state)` that raises Diverged, with the array's name, before a state is saved.

    An update spoils the state only through a norm that is read anyway; this is for what happens to memory since, and
    names the array.
    """
    everywhere = sharding.place(PartitionSpec(), on)  # so that each of several processes holds what it reads

    @functools.partial(jax.jit, out_shardings=everywhere)
    def all_finite(leaves: list[Array]) -> Bool[Array, " leaves"]:
        return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves])

    def check(step: int, state: Any) -> None:
        leaves = {name: x for name, x in tree.named(state).items() if jnp.issubdtype(x.dtype, jnp.floating)}
        for name, is_finite in zip(leaves, np.asarray(all_finite(list(leaves.values()))), strict=True):
            if not is_finite:
                raise Diverged(f"the state's {name} is not finite", step, seed)

    return check
