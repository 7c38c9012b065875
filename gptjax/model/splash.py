"""Causal attention on TPUs: JAX's Splash kernel, written in Pallas (Dao et al. 2022's algorithm in blocks of the mask).

Blocks that the causal mask hides are neither read nor computed; keys and values of a group are read once. What it
returns, and the logarithm of each row's sum, are named as products are, so `remat="dots"` keeps them and the backward
pass does not run the forward kernel again. Compiled ahead of time for TPU v5e; run only interpreted, never on a TPU.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gptjax.model import product

LANES = 128  # of a TPU's vector unit; blocks of positions are multiples of them
BLOCKS = (512, 384, 256, 128)  # positions of a block, the first that divides


def causal_attention(
    q_BTNH: Float[Array, "B T N H"],
    k_BTKH: Float[Array, "B T K H"],
    v_BTKH: Float[Array, "B T K H"],
    segments_BT: Int[Array, "B T"] | None,
    interpret: bool,
) -> Float[Array, "B T N H"]:
    """Each query's mix of the values at its own and earlier positions, within its segment (None: all are of one).

    `interpret` runs the kernel's Python step by step, on any platform and slowly: for tests.
    """
    # Here, since Pallas takes long to import and few runs need it.
    from jax.experimental.pallas.ops.tpu import splash_attention as splash

    (_, T, N, H), padding = q_BTNH.shape, -q_BTNH.shape[1] % LANES
    wide = jnp.promote_types(q_BTNH.dtype, jnp.float32)
    q_BTNH = (q_BTNH.astype(wide) / H**0.5).astype(q_BTNH.dtype)  # the kernel itself does not divide
    widths = ((0, 0), (0, 0), (0, padding), (0, 0))  # behind every query, so that none sees it
    q_BNTH, k_BKTH, v_BKTH = (jnp.pad(x.swapaxes(1, 2), widths) for x in (q_BTNH, k_BTKH, v_BTKH))

    length = T + padding
    block = next(size for size in BLOCKS if length % size == 0)
    kernel = splash.make_splash_mha(
        splash.MultiHeadMask([splash.CausalMask((length, length))] * N),
        block_sizes=splash.BlockSizes(
            block, block, block_q_dkv=block, block_kv_dkv=block, block_q_dq=block, block_kv_dq=block
        ),
        head_shards=1,
        q_seq_shards=1,
        residual_checkpoint_name=product.NAME,
        interpret=interpret,
    )
    segments = None
    if segments_BT is not None:
        segments_BT = jnp.pad(segments_BT, widths[1:3])
        segments = splash.SegmentIds(segments_BT, segments_BT)
    of_row: Callable[..., Array] = lambda *row: jnp.asarray(kernel(*row))
    return jax.vmap(of_row)(q_BNTH, k_BKTH, v_BKTH, segments)[:, :, :T].swapaxes(1, 2)
