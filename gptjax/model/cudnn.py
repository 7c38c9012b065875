"""Causal attention on NVIDIA GPUs: cuDNN's fused kernel, through `jax.nn.dot_product_attention`.

It takes bfloat16, head widths that are multiples of 8, and no segments: they would have to be written out as a mask of
B x T x T. Compiled ahead of time for H100, never run.
"""

import jax
from jaxtyping import Array, Float, Int

from gptjax.config import BadInput

WIDTH_UNIT, WIDEST = 8, 128  # of a head; Hopper and newer could go to 256


def causal_attention(
    q_BTNH: Float[Array, "B T N H"],
    k_BTKH: Float[Array, "B T K H"],
    v_BTKH: Float[Array, "B T K H"],
    segments_BT: Int[Array, "B T"] | None,
) -> Float[Array, "B T N H"]:
    """Each query's mix of the values at its own and earlier positions; raises BadInput for segments."""
    if segments_BT is not None:
        raise BadInput("model.attention='cudnn' cannot see segments; data.mask_documents=true needs 'blockwise'")
    return jax.nn.dot_product_attention(q_BTNH, k_BTKH, v_BTKH, is_causal=True, implementation="cudnn")
