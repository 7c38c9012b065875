"""Parameter trees: nested dicts of arrays, and the names of their leaves ("blocks/attn/w_q")."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def name_of(path: tuple) -> str:
    """The name of a leaf from its key path."""
    return "/".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)


def named(tree: Any) -> dict[str, Any]:
    """{name: leaf}, in the tree's order."""
    return {name_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def nested(leaves: Mapping[str, Any]) -> dict:
    """The tree of plain dicts whose leaves have these names."""
    found: dict = {}
    for name, leaf in leaves.items():
        *path, last = name.split("/")
        inner = found
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = leaf
    return found


def joined(*trees: dict) -> dict:
    """One tree with the leaves of all; of two leaves of one name the later tree's."""
    return nested({name: leaf for tree in trees for name, leaf in named(tree).items()})


def map_named(function: Callable[[str, Any], Any], tree: Any) -> Any:
    """The tree with each leaf replaced by `function(name, leaf)`."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: function(name_of(path), leaf), tree)


def mask(tree: Any, pattern: str) -> Any:
    """A tree of booleans: whether the regular expression is found in the leaf's name."""
    return map_named(lambda name, _: re.search(pattern, name) is not None, tree)


def count(tree: Any) -> int:
    """Number of scalars in a tree of arrays or shapes."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def norm(tree: Any) -> Float[Array, ""]:
    """Euclidean norm of all leaves together, in float32."""
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in jax.tree.leaves(tree)))
