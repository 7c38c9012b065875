"""Causal attention over positions that a mesh divides along `sequence`: keys and values go round in a ring.

Each device keeps its own queries and meets one device's keys and values after another, with the softmax of a row
carried along (Liu et al. 2023, Ring Attention with Blockwise Transformers). No device holds more than two blocks of
keys, nor any T x T array: memory is linear in its own positions. A block that lies wholly in the future is passed on
unread, so the device of the last positions works `sequence` times as much as that of the first; dealing each device an
early and a late stretch (striped or zigzag orders) would even that out and is not done.

Letters as in `blockwise`; T are one device's positions, and so S of one block.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from gptjax.model import blockwise, product
from gptjax.model.blockwise import Segments

AXIS = "sequence"


def causal_attention(
    q_BTNH: Float[Array, "B T N H"],
    k_BTKH: Float[Array, "B T K H"],
    v_BTKH: Float[Array, "B T K H"],
    segments_BT: Segments,
    n_devices: int,
) -> Float[Array, "B T N H"]:
    """Each query's mix of the values at its own and earlier positions, on this device and those before it.

    Called on each of `n_devices` along AXIS, where that axis is manual.
    """
    T = q_BTNH.shape[1]
    mixed_BKGTH: Any = ring(*blockwise.laid_out(q_BTNH, k_BTKH, v_BTKH, segments_BT), T, n_devices)
    return blockwise.as_given(mixed_BKGTH, q_BTNH)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def ring(q_BKGTH: Array, k_BKTH: Array, v_BKTH: Array, segments_BT: Segments, n_keys: int, n_devices: int) -> Array:
    """`n_keys` positions of a block count; the rest pads a tile."""
    return forward(q_BKGTH, k_BKTH, v_BKTH, segments_BT, n_keys, n_devices)[0]


def forward(
    q_BKGTH: Array, k_BKTH: Array, v_BKTH: Array, segments_BT: Segments, n_keys: int, n_devices: int
) -> tuple[Array, tuple]:
    """What each query sees, and what the backward pass needs."""
    q_BKGTH, segments_BT = blockwise.tied(q_BKGTH, segments_BT)
    block = k_BKTH, v_BKTH, segments_BT

    def see(met: tuple, block: tuple, n_earlier: int | None) -> tuple:
        k_BKSH, v_BKSH, segments_BS = block
        return blockwise.meet(met, q_BKGTH, k_BKSH, v_BKSH, (segments_BT, segments_BS), n_earlier)

    def turn(carry: tuple, distance: Array) -> tuple[tuple, None]:
        block, met = carry
        met = jax.lax.cond(in_past(distance), lambda met: see(met, block, n_keys), lambda met: met, met)
        return (passed_on(block, n_devices), met), None  # the passing waits for no product, so it can run beside them

    met = see(blockwise.nothing_met(q_BKGTH), block, None)
    if n_devices > 1:
        (_, met), _ = jax.lax.scan(turn, (passed_on(block, n_devices), met), jnp.arange(1, n_devices))
    mixed_BKGTH, log_sum_BKGT1 = blockwise.mixture(met, q_BKGTH)
    mixed_BKGTH, log_sum_BKGT1 = (checkpoint_name(x, product.NAME) for x in (mixed_BKGTH, log_sum_BKGT1))
    return mixed_BKGTH, (q_BKGTH, k_BKTH, v_BKTH, segments_BT, mixed_BKGTH, log_sum_BKGT1)


def backward(n_keys: int, n_devices: int, saved: tuple, d_BKGTH: Array) -> tuple[Array, Array, Array, None]:
    """A second time round; each block's gradients travel with it and are home after `n_devices` passings."""
    q_BKGTH, k_BKTH, v_BKTH, segments_BT, mixed_BKGTH, log_sum_BKGT1 = saved
    wide = log_sum_BKGT1.dtype
    rows = q_BKGTH, d_BKGTH, blockwise.mean_gradient(d_BKGTH, mixed_BKGTH, wide), log_sum_BKGT1
    block = k_BKTH, v_BKTH, segments_BT

    def see(grads: tuple, block: tuple, n_earlier: int | None) -> tuple:
        k_BKSH, v_BKSH, segments_BS = block
        return blockwise.pull(grads, rows, k_BKSH, v_BKSH, (segments_BT, segments_BS), n_earlier)

    def turn(carry: tuple, distance: Array) -> tuple[tuple, None]:
        block, grads = carry
        grads = jax.lax.cond(in_past(distance), lambda grads: see(grads, block, n_keys), lambda grads: grads, grads)
        return (passed_on(block, n_devices), (grads[0], *passed_on(grads[1:], n_devices))), None

    grads = see(tuple(jnp.zeros(x.shape, wide) for x in (q_BKGTH, k_BKTH, v_BKTH)), block, None)
    if n_devices > 1:
        start = passed_on(block, n_devices), (grads[0], *passed_on(grads[1:], n_devices))
        (_, grads), _ = jax.lax.scan(turn, start, jnp.arange(1, n_devices))
    dq_BKGTH, dk_BKTH, dv_BKTH = grads
    return dq_BKGTH.astype(q_BKGTH.dtype), dk_BKTH.astype(k_BKTH.dtype), dv_BKTH.astype(v_BKTH.dtype), None


ring.defvjp(forward, backward)


def in_past(distance: Array) -> Array:
    """Whether the block that has come `distance` places round the ring holds earlier positions than this device's."""
    return jax.lax.axis_index(AXIS) >= distance


def passed_on(x: Any, n_devices: int) -> Any:
    """Every device's x at the next one, the last's at the first."""
    return jax.lax.ppermute(x, AXIS, [(here, (here + 1) % n_devices) for here in range(n_devices)])
