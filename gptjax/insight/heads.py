"""Where heads look: attention maps, and scores of what a head attends to on text with repetitions.

A score is the attention that a head pays to certain positions, summed over these and averaged over the queries that
have any; 1 is a head that looks nowhere else (Olsson et al. 2022, appendix on head activation evaluators).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from gptjax.config import ModelConfig
from gptjax.model import gpt


class Scores(NamedTuple):
    """NaN where no query has such a position."""

    previous_LN: Float[Array, "L N"]  # the token before
    duplicate_LN: Float[Array, "L N"]  # earlier occurrences of the query's token
    induction_LN: Float[Array, "L N"]  # tokens that came after those


@functools.partial(jax.jit, static_argnames="cfg")
def attention(params: dict, tokens_BT: Int[Array, "B T"], cfg: ModelConfig) -> Float[Array, "L B N T S"]:
    """The attention map of every head, float32: L x B x N x T x T numbers."""
    return gpt.forward(params, tokens_BT, cfg, capture=("attn_probs",)).activations["attn_probs"]


@functools.partial(jax.jit, static_argnames="cfg")
def scores(params: dict, tokens_BT: Int[Array, "B T"], cfg: ModelConfig) -> Scores:
    """Of every head on these tokens: those that `repeated` makes, or any others."""
    probs_LBNTS = gpt.forward(params, tokens_BT, cfg, capture=("attn_probs",)).activations["attn_probs"]
    return Scores(*(paid(probs_LBNTS, where(tokens_BT)) for where in (previous, duplicates, induced)))


def paid(probs_LBNTS: Float[Array, "L B N T S"], asked_BTS: Bool[Array, "B T S"]) -> Float[Array, "L N"]:
    """The mean attention to the positions asked for, over the queries that have one."""
    paid_LBNT = jnp.einsum("LBNTS,BTS->LBNT", probs_LBNTS, asked_BTS.astype(probs_LBNTS.dtype))
    return paid_LBNT.sum((1, 3)) / asked_BTS.any(-1).sum()


def previous(tokens_BT: Int[Array, "B T"]) -> Bool[Array, "B T S"]:
    """The position before each query."""
    B, T = tokens_BT.shape
    return jnp.broadcast_to(jnp.eye(T, k=-1, dtype=bool)[None], (B, T, T))


def duplicates(tokens_BT: Int[Array, "B T"]) -> Bool[Array, "B T S"]:
    """The earlier positions of the query's token."""
    T = tokens_BT.shape[1]
    return (tokens_BT[:, :, None] == tokens_BT[:, None, :]) & jnp.tri(T, k=-1, dtype=bool)[None]


def induced(tokens_BT: Int[Array, "B T"]) -> Bool[Array, "B T S"]:
    """The positions after those of `duplicates`, but for the query's own: what came next the last times."""
    T = tokens_BT.shape[1]
    after_BTS = jnp.pad(duplicates(tokens_BT)[:, :, :-1], ((0, 0), (0, 0), (1, 0)))
    return after_BTS & jnp.tri(T, k=-1, dtype=bool)[None]


def repeated(key: PRNGKeyArray, cfg: ModelConfig, batch: int, length: int) -> Int[Array, "B T"]:
    """Rows of `length` random tokens and the same once more, on which only what came before helps (T = 2 length)."""
    tokens_Bt = jax.random.randint(key, (batch, length), 0, cfg.vocab_size)
    return jnp.tile(tokens_Bt, (1, 2))
