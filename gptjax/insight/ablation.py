"""Heads taken out: what each writes is replaced by zero, by its mean or by anything else.

M sets of heads are masks `ablated_MLN`; one compiled program runs the model once for each set, one after another.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from gptjax.config import BadInput, ModelConfig
from gptjax.insight import contrast
from gptjax.insight.contrast import Contrast
from gptjax.model import gpt

Replacement = Float[Array, "L #B #T N H"]  # for the output of each head, before its projection
Edits = dict[str, Callable[[Array, Array], Array]]


def singly(cfg: ModelConfig) -> Bool[Array, "M L N"]:
    """One set for each head, in order: M = L x N."""
    n = cfg.n_layers * cfg.n_heads
    return jnp.eye(n, dtype=bool).reshape(n, cfg.n_layers, cfg.n_heads)


@functools.partial(jax.jit, static_argnames=("cfg", "by_position"))
def means(
    params: dict, tokens_BT: Int[Array, "B T"], cfg: ModelConfig, by_position: bool = False
) -> Float[Array, "L 1 #T N H"]:
    """The mean output of each head over these tokens, or over their rows for each position apart."""
    mixed_LBTNH = gpt.forward(params, tokens_BT, cfg, capture=("mixed_heads",)).activations["mixed_heads"]
    return mixed_LBTNH.mean(1 if by_position else (1, 2), keepdims=True)


def edits(ablated_LN: Bool[Array, "L N"], replacement: Replacement | None = None) -> Edits:
    """For `gpt.forward`, where more is wanted than the functions below give; zero where nothing replaces the heads."""

    def ablate(x_BTNH: Array, layer: Array) -> Array:
        instead = jnp.zeros((), x_BTNH.dtype) if replacement is None else replacement[layer].astype(x_BTNH.dtype)
        return jnp.where(ablated_LN[layer][None, None, :, None], instead, x_BTNH)

    return {"mixed_heads": ablate}


def nats(
    params: dict,
    tokens_BT: Int[Array, "B T"],
    ablated_MLN: Bool[Array, "M L N"],
    cfg: ModelConfig,
    replacement: Replacement | None = None,
) -> Float[Array, "M B t"]:
    """The loss of each token but the first with each set of heads taken out, in nats (t = T - 1).

    Raises BadInput for masks of other heads than the model's."""
    check(ablated_MLN, cfg)
    return all_nats(params, tokens_BT, ablated_MLN, replacement, cfg=cfg)


def contrasts(
    params: dict,
    tokens_BT: Int[Array, "B T"],
    asked: Contrast,
    ablated_MLN: Bool[Array, "M L N"],
    cfg: ModelConfig,
    replacement: Replacement | None = None,
) -> Float[Array, "M B"]:
    """What is asked, with each set of heads taken out. Raises BadInput for masks of other heads than the model's."""
    check(ablated_MLN, cfg)
    contrast.check(tokens_BT, asked)
    return all_contrasts(params, tokens_BT, asked, ablated_MLN, replacement, cfg=cfg)


@functools.partial(jax.jit, static_argnames="cfg")
def all_nats(
    params: dict, tokens_BT: Array, ablated_MLN: Array, replacement: Replacement | None, *, cfg: ModelConfig
) -> Array:
    def one(ablated_LN: Array) -> Array:
        found = gpt.forward(params, tokens_BT, cfg, edits=edits(ablated_LN, replacement))
        return optax.softmax_cross_entropy_with_integer_labels(found.logits_BTV[:, :-1], tokens_BT[:, 1:])

    return jax.lax.map(one, ablated_MLN)


@functools.partial(jax.jit, static_argnames="cfg")
def all_contrasts(
    params: dict,
    tokens_BT: Array,
    asked: Contrast,
    ablated_MLN: Array,
    replacement: Replacement | None,
    *,
    cfg: ModelConfig,
) -> Array:
    def one(ablated_LN: Array) -> Array:
        run = gpt.forward(params, tokens_BT, cfg, edits=edits(ablated_LN, replacement), capture=("final",))
        return contrast.measured(params, run.activations["final"], asked, cfg)

    return jax.lax.map(one, ablated_MLN)


def check(ablated_MLN: Array, cfg: ModelConfig) -> None:
    if ablated_MLN.ndim != 3 or ablated_MLN.shape[1:] != (cfg.n_layers, cfg.n_heads):
        raise BadInput(
            f"ablated_MLN is of shape {ablated_MLN.shape}; a set of heads is {cfg.n_layers} layers x {cfg.n_heads}"
            " heads, and sets are stacked"
        )
