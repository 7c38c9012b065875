"""What the model would say after each layer: every reading of the residual stream through the last norm and the head.

The logit lens (nostalgebraist 2020) reads the stream as it is; the tuned lens (Belrose et al. 2023) passes it through a
translator of its layer first, which `tuned` trains. R = L + 1 readings: before each layer, and after the last, which
are the model's own logits.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gptjax.config import ModelConfig
from gptjax.insight import residual
from gptjax.model import gpt

Translators = dict[str, Array]  # w_LDD, b_LD: what is added to a reading x is x w + b


class Lens(NamedTuple):
    """What each reading says after each position, in nats, without holding R x B x T x V logits."""

    tokens_RBTk: Int[Array, "R B T k"]  # the likeliest
    log_probs_RBTk: Float[Array, "R B T k"]
    nats_RBt: Float[Array, "R B t"]  # of the token that comes; t = T - 1
    kl_RBT: Float[Array, "R B T"]  # of the reading from the model: sum of p_model (log p_model - log p_reading)


@functools.partial(jax.jit, static_argnames="cfg")
def logits(
    params: dict, tokens_BT: Int[Array, "B T"], cfg: ModelConfig, translators: Translators | None = None
) -> Float[Array, "R B T V"]:
    """All logits of all readings, float32: R x B x T x V numbers. `predictions` needs no such array."""
    x_RBTD = translated(residual.stream(params, tokens_BT, cfg), translators)
    return jax.lax.map(lambda x_BTD: read(params, x_BTD, cfg), x_RBTD)


@functools.partial(jax.jit, static_argnames=("cfg", "k"))
def predictions(
    params: dict, tokens_BT: Int[Array, "B T"], cfg: ModelConfig, k: int = 5, translators: Translators | None = None
) -> Lens:
    """The k likeliest tokens of each reading, what it makes of the next token, and how far from the model it is."""
    x_RBTD = residual.stream(params, tokens_BT, cfg)
    model_BTV = log_probs(params, x_RBTD[-1], cfg)

    def one(x_BTD: Array) -> tuple[Array, ...]:
        found_BTV = log_probs(params, x_BTD, cfg)
        best_BTk, tokens_BTk = jax.lax.top_k(found_BTV, k)
        next_Bt1 = jnp.take_along_axis(found_BTV[:, :-1], tokens_BT[:, 1:, None], axis=-1)
        return tokens_BTk, best_BTk, -next_Bt1[..., 0], divergence(model_BTV, found_BTV)

    return Lens(*jax.lax.map(one, translated(x_RBTD, translators)))


def read(params: dict, x_BTD: Float[Array, "B T D"], cfg: ModelConfig) -> Float[Array, "B T V"]:
    """The logits of a residual stream."""
    return gpt.unembed(params, gpt.normed_out(params, x_BTD, cfg), cfg)


def log_probs(params: dict, x_BTD: Float[Array, "B T D"], cfg: ModelConfig) -> Float[Array, "B T V"]:
    """Of the real vocabulary: what pads it has probability 0."""
    return jax.nn.log_softmax(read(params, x_BTD, cfg)[..., : cfg.vocab_size])


def divergence(model_BTV: Float[Array, "B T V"], found_BTV: Float[Array, "B T V"]) -> Float[Array, "B T"]:
    """Kullback-Leibler divergence of log-probabilities from the model's, in nats."""
    return jnp.sum(jnp.exp(model_BTV) * (model_BTV - found_BTV), axis=-1)


def translated(x_RBTD: Float[Array, "R B T D"], translators: Translators | None) -> Float[Array, "R B T D"]:
    """Each reading but the last through its translator, in the stream's type; as they are where there are none."""
    if translators is None:
        return x_RBTD
    moved_LBTD = jax.vmap(moved)(x_RBTD[:-1], translators["w_LDD"], translators["b_LD"])
    return jnp.concatenate([moved_LBTD, x_RBTD[-1:]])


def moved(x_BTD: Float[Array, "B T D"], w_DD: Float[Array, "D D"], b_D: Float[Array, " D"]) -> Float[Array, "B T D"]:
    """x + x w + b: an affine map that begins as the identity, with w and b at zero (Belrose et al. 2023, eq. 5)."""
    return x_BTD + (jnp.einsum("BTD,DE->BTE", x_BTD, w_DD.astype(x_BTD.dtype)) + b_D.astype(x_BTD.dtype)[None, None])
