"""Small states to save, each a function of its step, and folders with some of them saved."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gptjax import tree
from gptjax.training.checkpoint import Checkpoints


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class State:
    step: Any
    params: Any
    opt_state: Any
    ema: Any


@jax.jit
def make_state(step) -> State:
    """A state whose every bit depends on the step; about 3 MB, a third of it weights."""
    key = jax.random.fold_in(jax.random.key(0), step)
    params = {"blocks": {"w": jax.random.normal(key, (2, 128, 1024))}, "b": jnp.full((16,), jnp.nan, jnp.bfloat16)}
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(optax.linear_schedule(0.0, 1.0, 10)))
    _, opt_state = tx.update(jax.tree.map(lambda x: jnp.cos(jnp.nan_to_num(x)), params), tx.init(params), params)
    return State(jnp.asarray(step, jnp.int32), params, opt_state, None)


ABSTRACT = jax.eval_shape(make_state, 0)


def make_one(step) -> dict:
    """One array only: when one of several fails, the others still finish, later, in whatever test then runs."""
    return {"w": make_state(step).params["blocks"]["w"]}


ABSTRACT_ONE = {"w": ABSTRACT.params["blocks"]["w"]}


def assert_same_bits(found, expected):
    found, expected = tree.named(found), tree.named(expected)
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert array.dtype == expected[name].dtype, name
        assert np.asarray(array).tobytes() == np.asarray(expected[name]).tobytes(), name


def saved_at(folder, *steps: int, make: Callable = make_state) -> str:
    checkpoints = Checkpoints(str(folder), keep_last=9, keep_every=0)
    for step in steps:
        checkpoints.save(step, make(step), {"config": {"seed": step}}, None)
    checkpoints.close()
    return str(folder)
