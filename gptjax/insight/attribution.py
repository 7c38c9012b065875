"""What a logit is made of: what each head and each MLP writes towards it, and how it moves with each input."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gptjax.config import ModelConfig
from gptjax.insight import contrast
from gptjax.insight.contrast import Contrast
from gptjax.model import gpt
from gptjax.model.blocks import CENTRE, wide

WRITTEN = ("residual_in", "mixed_heads", "mlp_out", "residual_out")


class Direct(NamedTuple):
    """Terms of a logit or of a difference of two, before the soft-cap; they add up to `total_BT` but for rounding."""

    embedding_BT: Float[Array, "B T"]  # of token and position
    heads_LBTN: Float[Array, "L B T N"]
    attn_bias_LBT: Float[Array, "L B T"]  # of the projection that all heads of a layer share; 0 without biases
    mlp_LBT: Float[Array, "L B T"]
    norm_bias_BT: Float[Array, "B T"]  # of the last norm; 0 without biases
    total_BT: Float[Array, "B T"]  # as the model computes it


@functools.partial(jax.jit, static_argnames="cfg")
def direct(
    params: dict,
    tokens_BT: Int[Array, "B T"],
    right_BT: Int[Array, "B T"],
    wrong_BT: Int[Array, "B T"] | None,
    cfg: ModelConfig,
) -> Direct:
    """Direct logit attribution at every position: of the logit of `right_BT`, less that of `wrong_BT` where given.

    The residual stream is a sum of what is written to it, and the last norm is linear once its scale is held at what it
    is in this run (Elhage et al. 2021): each term is the inner product of what is written with one direction.
    """
    seen = gpt.forward(params, tokens_BT, cfg, capture=(*WRITTEN, "final")).activations
    w_VD, out = wide(params["w_tok" if cfg.tied else "w_head"]), params["norm_out"]
    asked_BTD = w_VD[right_BT] if wrong_BT is None else w_VD[right_BT] - w_VD[wrong_BT]
    stream_BTD = CENTRE[cfg.norm](wide(seen["residual_out"][-1]))
    scale_BT1 = jax.lax.rsqrt(jnp.mean(jnp.square(stream_BTD), axis=-1, keepdims=True) + cfg.norm_eps)
    # The norm's centring is a symmetric projection, so it may be done to the direction.
    along_BTD = CENTRE[cfg.norm](asked_BTD * out["scale"][None, None]) * scale_BT1

    attn = params["blocks"]["attn"]
    read_LBTNH = jnp.einsum("LNHD,BTD->LBTNH", attn["w_out"], along_BTD)
    onto = lambda x_D: jnp.einsum("...D,BTD->...BT", x_D, along_BTD)
    none_BT = jnp.zeros_like(along_BTD[..., 0])
    return Direct(
        embedding_BT=jnp.sum(wide(seen["residual_in"][0]) * along_BTD, axis=-1),
        heads_LBTN=jnp.sum(wide(seen["mixed_heads"]) * read_LBTNH, axis=-1),
        attn_bias_LBT=onto(attn["b_out"]) if cfg.bias else jnp.tile(none_BT[None], (cfg.n_layers, 1, 1)),
        mlp_LBT=jnp.einsum("LBTD,BTD->LBT", wide(seen["mlp_out"]), along_BTD),
        norm_bias_BT=jnp.einsum("D,BTD->BT", out["bias"], asked_BTD) if cfg.bias else none_BT,
        total_BT=jnp.sum(wide(seen["final"]) * asked_BTD, axis=-1),
    )


@functools.partial(jax.jit, static_argnames="cfg")
def gradient_x_input(
    params: dict, tokens_BT: Int[Array, "B T"], asked: Contrast, cfg: ModelConfig
) -> Float[Array, "B T"]:
    """What each input adds to the contrast, to first order: its embedding times the contrast's gradient there
    (Shrikumar et al. 2016). The embedding is what layer 0 reads, with the position's where it is learned; positions
    after `asked.at_B` have 0."""

    def moved(shift_BTD: Array) -> tuple[Array, Array]:
        shift = lambda x_BTD, layer: jnp.where(layer == 0, x_BTD + shift_BTD.astype(x_BTD.dtype), x_BTD)
        captured = ("residual_in", "final")
        seen = gpt.forward(params, tokens_BT, cfg, edits={"residual_in": shift}, capture=captured).activations
        # Rows do not see each other: the gradient of their sum is that of each.
        return contrast.measured(params, seen["final"], asked, cfg).sum(), seen["residual_in"][0]

    slope_BTD, x_BTD = jax.grad(moved, has_aux=True)(jnp.zeros((*tokens_BT.shape, cfg.d_model)))
    return jnp.sum(wide(slope_BTD) * wide(x_BTD), axis=-1)
