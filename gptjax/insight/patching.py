"""Activation patching: parts of one run put into another, and what becomes of the answer.

A `base` run is done again and again, each time with one activation taken from the `source` run on other tokens of the
same shape. With a corrupted base and a clean source this asks what suffices to restore the answer, the other way round
what it needs (Meng et al. 2022; Heimersheim & Nanda 2024). All places are one compiled program, which runs `chunk` of
them at a time.
"""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gptjax.config import BadInput, ModelConfig
from gptjax.insight import contrast
from gptjax.insight.contrast import Contrast
from gptjax.model import gpt

OF_STREAM = ("residual_in", "attn_out", "mlp_out", "residual_out")  # B T D
OF_HEADS = {"mixed_heads": 2, "attn_probs": 1}  # where the axis of heads lies


class Patched(NamedTuple):
    """What was asked, in every patched run and in the two whole ones."""

    values: Float[Array, "... B"]  # L T B of `positions`, L N B of `heads`
    base_B: Float[Array, " B"]
    source_B: Float[Array, " B"]

    @property
    def moved(self) -> Float[Array, "... B"]:
        """How far each patch moves the answer: 0 as in the base run, 1 as in the source run."""
        moved, whole_B = self.values - self.base_B[(None,) * (self.values.ndim - 1)], self.source_B - self.base_B
        return moved / whole_B[(None,) * (self.values.ndim - 1)]


def positions(
    params: dict,
    base_BT: Int[Array, "B T"],
    source_BT: Int[Array, "B T"],
    asked: Contrast,
    cfg: ModelConfig,
    *,
    point: str = "residual_in",
    chunk: int = 8,
) -> Patched:
    """Each layer's activation at each position in turn, of a point of OF_STREAM. Raises BadInput."""
    check(base_BT, source_BT, asked)
    if point not in OF_STREAM:
        raise BadInput(f"point={point!r} is not of the stream; it is one of {', '.join(OF_STREAM)}")
    return each(params, base_BT, source_BT, asked, cfg=cfg, point=point, axis=1, chunk=chunk)


def heads(
    params: dict,
    base_BT: Int[Array, "B T"],
    source_BT: Int[Array, "B T"],
    asked: Contrast,
    cfg: ModelConfig,
    *,
    point: str = "mixed_heads",
    chunk: int = 8,
) -> Patched:
    """Each head in turn, at all positions: what it writes ("mixed_heads") or where it looks ("attn_probs").

    Raises BadInput."""
    check(base_BT, source_BT, asked)
    if point not in OF_HEADS:
        raise BadInput(f"point={point!r} is not of heads; it is one of {', '.join(OF_HEADS)}")
    return each(params, base_BT, source_BT, asked, cfg=cfg, point=point, axis=OF_HEADS[point], chunk=chunk)


@functools.partial(jax.jit, static_argnames=("cfg", "point", "axis", "chunk"))
def each(
    params: dict,
    base_BT: Array,
    source_BT: Array,
    asked: Contrast,
    *,
    cfg: ModelConfig,
    point: str,
    axis: int,
    chunk: int,
) -> Patched:
    """Every layer and every index of an axis of a point's activation."""
    base_B, _ = run(params, base_BT, asked, cfg)
    source_B, seen = run(params, source_BT, asked, cfg, capture=(point,))
    source_L, n = seen[point], seen[point].shape[1 + axis]

    def one(place: Array) -> Array:
        at_layer, at_index = place // n, place % n

        def patch(x: Array, layer: Array) -> Array:
            here = jnp.expand_dims(jnp.arange(n) == at_index, [other for other in range(x.ndim) if other != axis])
            return jnp.where((layer == at_layer) & here, source_L[layer], x)

        return run(params, base_BT, asked, cfg, edits={point: patch})[0]

    values = over(one, cfg.n_layers * n, chunk)
    return Patched(values.reshape(cfg.n_layers, n, -1), base_B, source_B)


def over(one: Callable[[Array], Array], n_places: int, chunk: int) -> Array:
    """`one(place)` for every place, so many at a time. The last chunk is filled up with places that are in no layer,
    since a shorter one would be compiled apart."""
    n_chunks = -(-n_places // chunk)
    return jax.lax.map(one, jnp.arange(n_chunks * chunk), batch_size=chunk)[:n_places]


def run(
    params: dict,
    tokens_BT: Array,
    asked: Contrast,
    cfg: ModelConfig,
    *,
    edits: Mapping[str, Callable] | None = None,
    capture: tuple[str, ...] = (),
) -> tuple[Array, dict[str, Array]]:
    """What a run answers, and what was captured."""
    seen = gpt.forward(params, tokens_BT, cfg, edits=edits, capture=("final", *capture)).activations
    return contrast.measured(params, seen["final"], asked, cfg), seen


def check(base_BT: Array, source_BT: Array, asked: Contrast) -> None:
    """Raises BadInput where two runs and a question do not fit each other."""
    if base_BT.shape != source_BT.shape:
        raise BadInput(f"the base is of shape {base_BT.shape} and the source of {source_BT.shape}; they must be alike")
    contrast.check(base_BT, asked)
