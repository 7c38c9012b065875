"""Adapters of low rank (LoRA, Hu et al. 2021): made beside the weights, and merged into them where they are used."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from gptjax import tree
from gptjax.config import LoraConfig
from gptjax.model import adapters
from gptjax.model.adapters import A, B


def with_adapters(key: PRNGKeyArray, params: dict, cfg: LoraConfig) -> dict:
    """The parameters with fresh adapters, whose product is 0, so that the model is the same to the last bit.

    As PEFT makes them: of a product `a` is uniform within 1 / sqrt(inputs) (Kaiming's with a = sqrt(5)) and `b` is 0;
    of a lookup `a` is 0 and `b` normal, so that rows nobody looks up stay as they are. Raises BadInput.
    """
    leaves = tree.named(params)
    made = {}
    for number, (name, shape) in enumerate(adapters.shapes({n: x.shape for n, x in leaves.items()}, cfg).items()):
        matrix, draw = name.removesuffix(A).removesuffix(B), None
        if name.endswith(A) and matrix not in adapters.LOOKUPS:
            sides = adapters.sizes(matrix, leaves[matrix].shape)
            bound = 1 / math.sqrt(math.prod(sides[letter] for letter in adapters.ends(matrix)[0]))
            draw = functools.partial(jax.random.uniform, minval=-bound, maxval=bound)
        elif name.endswith(B) and matrix in adapters.LOOKUPS:
            draw = jax.random.normal
        drawn = jnp.zeros(shape) if draw is None else draw(jax.random.fold_in(key, number), shape)
        made[name] = drawn.astype(leaves[matrix].dtype)
    return tree.nested(leaves | made)


def merged(params: dict, cfg: LoraConfig) -> dict:
    """w + alpha / rank a b for every matrix with adapters, and these left out: what the model is called with.

    Of a whole tree, of one layer, or of what belongs to no layer. Raises KeyError for an adapter without its matrix."""
    leaves = tree.named(params)
    found = {name: leaf for name, leaf in leaves.items() if not adapters.is_adapter(name)}
    for name in leaves:
        if name.endswith(A):
            matrix = name.removesuffix(A)
            found[matrix] = found[matrix] + cfg.alpha / cfg.rank * product(matrix, leaves[name], leaves[matrix + B])
    return tree.nested(found)


def product(matrix: str, a: Array, b: Array) -> Array:
    """What adapters add to a matrix, but for alpha / rank. Exact on TPU and GPU too: it costs a rank's part."""
    return jnp.einsum(adapters.form(matrix), a, b, precision=jax.lax.Precision.HIGHEST)


def merging(cfg: LoraConfig) -> Callable[[dict], dict] | None:
    """The `merge` of `gpt.forward`; None where there are no adapters."""
    return functools.partial(merged, cfg=cfg) if cfg.rank else None
