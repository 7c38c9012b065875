"""The residual stream, from the embeddings on: R = L + 1 readings, before each layer and after the last."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gptjax.config import ModelConfig
from gptjax.model import gpt

POINTS = ("residual_in", "residual_out")


class Norms(NamedTuple):
    """Euclidean norms: of the stream, and of what each attention and each MLP writes to it."""

    stream_RBT: Float[Array, "R B T"]
    attn_LBT: Float[Array, "L B T"]
    mlp_LBT: Float[Array, "L B T"]


def readings(seen: dict[str, Array]) -> Float[Array, "R B T D"]:
    """Of a run that captured POINTS."""
    return jnp.concatenate([seen["residual_in"], seen["residual_out"][-1:]])


@functools.partial(jax.jit, static_argnames="cfg")
def stream(params: dict, tokens_BT: Int[Array, "B T"], cfg: ModelConfig) -> Float[Array, "R B T D"]:
    """The residual stream before each layer and after the last."""
    return readings(gpt.forward(params, tokens_BT, cfg, capture=POINTS).activations)


@functools.partial(jax.jit, static_argnames="cfg")
def norms(params: dict, tokens_BT: Int[Array, "B T"], cfg: ModelConfig) -> Norms:
    """How long the stream is at each depth, and what is added to it, in float32."""
    seen = gpt.forward(params, tokens_BT, cfg, capture=(*POINTS, "attn_out", "mlp_out")).activations
    return Norms(*(length(x) for x in (readings(seen), seen["attn_out"], seen["mlp_out"])))


def length(x_LBTD: Array) -> Float[Array, "L B T"]:
    return jnp.linalg.norm(x_LBTD.astype(jnp.promote_types(x_LBTD.dtype, jnp.float32)), axis=-1)
