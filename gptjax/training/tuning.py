"""What of the parameters is trained: apart for gradients and optimizer, scaled, and together again.

A leaf is frozen as a whole where every factor of it is 0: it has no gradient and no optimizer state. Blocks are
stacked, so single layers are frozen within a leaf, whose gradient there is 0 before anything is counted or clipped.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from gptjax import tree
from gptjax.config import Config
from gptjax.model import adapters
from gptjax.training import factors
from gptjax.training.factors import REFERENCE


def split(params: dict, cfg: Config) -> tuple[dict, dict]:
    """The parameters that are trained, at least in part, and the others; `tree.joined` puts them together again."""
    leaves = tree.named(params)
    found = factors.of_names(leaves, cfg)
    trained = {name: leaf for name, leaf in leaves.items() if any(found[name])}
    return tree.nested(trained), tree.nested({name: leaf for name, leaf in leaves.items() if name not in trained})


def policy(params: dict) -> dict:
    """The model's own of a run's parameters, adapters included, without the reference."""
    return {name: part for name, part in params.items() if name != REFERENCE}


def reference(params: dict) -> dict:
    """The parameters of the reference, among a run's: those of its own, or the model's without adapters."""
    if REFERENCE in params:
        return params[REFERENCE]
    return tree.nested({name: leaf for name, leaf in tree.named(params).items() if not adapters.is_adapter(name)})


class Rates:
    """The factors of the parameters that are trained, for trees that have their names."""

    def __init__(self, params: dict, cfg: Config):
        self.factors = factors.of_names(tree.named(params), cfg)

    def without_frozen(self, grads: dict) -> dict:
        """Gradients, 0 in frozen layers."""
        return self.where_frozen(grads, lambda name, g: jnp.zeros_like(g))

    def scaled(self, updates: Any) -> Any:
        """Updates times their factors. Of frozen layers -0, for x + -0 is x to the last bit, whichever zero x is."""

        def leaf(name: str, update: Array) -> Array:
            if set(self.factors[name]) == {1.0}:
                return update
            return update * self.along(name, update).astype(update.dtype)

        return self.where_frozen(tree.map_named(leaf, updates), lambda name, u: jnp.full_like(u, -0.0))

    def averaged(self, averages: dict, params: dict) -> dict:
        """Averages of the parameters, the parameters themselves in frozen layers."""
        leaves = tree.named(params)
        return self.where_frozen(averages, lambda name, _: leaves[name])

    def where_frozen(self, found: dict, other: Callable[[str, Array], Array]) -> dict:
        """The tree with `other(name, leaf)` in frozen layers."""

        def leaf(name: str, x: Array) -> Array:
            return x if all(self.factors[name]) else jnp.where(self.along(name, x) == 0, other(name, x), x)

        return tree.map_named(leaf, found)

    def along(self, name: str, x: Array) -> np.ndarray:
        """The factors beside a leaf's first axis, which is the layers' in blocks."""
        of = np.array(self.factors[name], np.float64 if x.dtype == jnp.float64 else np.float32)
        return of.reshape(-1, *[1] * (x.ndim - 1))
