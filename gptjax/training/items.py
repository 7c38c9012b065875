"""Which item of a checkpoint holds which field of a state: who wants the weights reads nothing else."""

from collections.abc import Mapping
from typing import Any

import jax

from gptjax import tree

WEIGHTS = ("params", "ema")  # fields of the state that are items of their own


def fields_of(state: Any) -> dict[str, Any]:
    """The state's own fields, in its order."""
    return {
        tree.name_of(path): field
        for path, field in jax.tree_util.tree_leaves_with_path(state, is_leaf=lambda node: node is not state)
    }


def items_of(fields: Mapping[str, Any]) -> dict[str, dict]:
    """Fields of a state by the item that holds them; no item is empty."""
    items: dict[str, dict] = {}
    for name, value in fields.items():
        if value is not None:
            items.setdefault(name if name in WEIGHTS else "state", {})[name] = value
    return items
