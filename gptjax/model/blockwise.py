"""Causal attention by tiles: the half of the scores that is masked is not computed, and no T x T array is held.

The query rows are cut into blocks. A short sequence is written out: each block meets all the keys before its end at
once. A long one is a loop over square tiles of the lower triangle, with the softmax of a row carried from tile to tile
(Milakov & Gimelshein 2018; Dao et al. 2022, algorithm 1), so memory grows as T. The backward pass computes the weights
anew from the logarithm of each row's sum (Dao et al. 2022, appendix B).

Letters: B batch, K key/value heads, G query heads of each, T query, S key, H head width; t and s a tile's queries and
keys. Products run over contiguous (B, K) batches of rows with the head width innermost: XLA's CPU backend takes four
times longer over a product whose result must be transposed across its last axis.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

WRITTEN_OUT = 1024  # the longest sequence whose tiles are written out
BLOCKS, BLOCK = 8, 64  # into at most so many blocks, of at least so many query rows
TILE = 512  # side of a square tile in the loop
MASKED = -1e30  # a score; finite, so that a row whose first tile is all masked stays a number
Segments = Int[Array, "B T"] | None
Pair = tuple[Segments, Segments]  # of the queries, of the keys


def causal_attention(
    q_BTNH: Float[Array, "B T N H"],
    k_BTKH: Float[Array, "B T K H"],
    v_BTKH: Float[Array, "B T K H"],
    segments_BT: Segments,
) -> Float[Array, "B T N H"]:
    """Each query's mix of the values at its own and earlier positions, within its segment (None: all are of one)."""
    return as_given(tiled(*laid_out(q_BTNH, k_BTKH, v_BTKH, segments_BT)), q_BTNH)


def laid_out(q_BTNH: Array, k_BTKH: Array, v_BTKH: Array, segments_BT: Segments) -> tuple:
    """q_BKGTH, k_BKTH, v_BKTH and the segments, with a whole number of tiles of positions."""
    (B, T, N, H), K = q_BTNH.shape, k_BTKH.shape[2]
    q_BKGTH = q_BTNH.reshape(B, T, K, N // K, H).transpose(0, 2, 3, 1, 4)
    heads = q_BKGTH, k_BTKH.swapaxes(1, 2), v_BTKH.swapaxes(1, 2)
    padding = 0 if T <= WRITTEN_OUT else -T % TILE
    if padding:  # behind every query, so that none sees it
        heads = tuple(jnp.pad(x, ((0, 0),) * (x.ndim - 2) + ((0, padding), (0, 0))) for x in heads)
        segments_BT = None if segments_BT is None else jnp.pad(segments_BT, ((0, 0), (0, padding)))
    return *heads, segments_BT


def as_given(mixed_BKGTH: Array, q_BTNH: Array) -> Float[Array, "B T N H"]:
    """What `tiled` mixed, without the rows that pad the queries to whole tiles, in their own layout."""
    return mixed_BKGTH[:, :, :, : q_BTNH.shape[1]].transpose(0, 3, 1, 2, 4).reshape(q_BTNH.shape)


@jax.custom_vjp
def tiled(q_BKGTH: Array, k_BKSH: Array, v_BKSH: Array, segments_BT: Segments) -> Array:
    return forward(q_BKGTH, k_BKSH, v_BKSH, segments_BT)[0]


def forward(q_BKGTH: Array, k_BKSH: Array, v_BKSH: Array, segments_BT: Segments) -> tuple[Array, tuple]:
    """What each query sees, and what the backward pass needs."""
    q_BKGTH, segments_BT = tied(q_BKGTH, segments_BT)
    met = meet(nothing_met(q_BKGTH), q_BKGTH, k_BKSH, v_BKSH, (segments_BT, segments_BT), None)
    mixed_BKGTH, log_sum_BKGT1 = mixture(met, q_BKGTH)
    return mixed_BKGTH, (q_BKGTH, k_BKSH, v_BKSH, segments_BT, mixed_BKGTH, log_sum_BKGT1)


def backward(saved: tuple, d_BKGTH: Array) -> tuple[Array, Array, Array, None]:
    q_BKGTH, k_BKSH, v_BKSH, segments_BT, mixed_BKGTH, log_sum_BKGT1 = saved
    rows = q_BKGTH, d_BKGTH, mean_gradient(d_BKGTH, mixed_BKGTH, log_sum_BKGT1.dtype), log_sum_BKGT1
    start = tuple(jnp.zeros(x.shape, log_sum_BKGT1.dtype) for x in (q_BKGTH, k_BKSH, v_BKSH))
    dq_BKGTH, dk_BKSH, dv_BKSH = pull(start, rows, k_BKSH, v_BKSH, (segments_BT, segments_BT), None)
    return dq_BKGTH.astype(q_BKGTH.dtype), dk_BKSH.astype(k_BKSH.dtype), dv_BKSH.astype(v_BKSH.dtype), None


tiled.defvjp(forward, backward)


def nothing_met(q_BKGTH: Array) -> tuple[Array, Array, Array]:
    """Where `meet` starts: the sum of weighted values, the largest score and the sum of weights of each query."""
    wide, rows_BKGT1 = jnp.promote_types(q_BKGTH.dtype, jnp.float32), (*q_BKGTH.shape[:4], 1)
    return jnp.zeros(q_BKGTH.shape, wide), jnp.full(rows_BKGT1, MASKED, wide), jnp.zeros(rows_BKGT1, wide)


def mixture(met: tuple, q_BKGTH: Array) -> tuple[Array, Array]:
    """The mix of all values met, and the logarithm of each row's sum."""
    mixed_BKGTH, top_BKGT1, sum_BKGT1 = met
    return (mixed_BKGTH / sum_BKGT1).astype(q_BKGTH.dtype), top_BKGT1 + jnp.log(sum_BKGT1)


def meet(met: tuple, q_BKGTH: Array, k_BKSH: Array, v_BKSH: Array, segments: Pair, n_earlier: int | None) -> tuple:
    """`met` with what the queries see of these keys and values. Either they lie at the queries' own positions
    (`n_earlier` None), or all before them; then the first `n_earlier` count and the rest is padding."""
    wide = met[0].dtype

    def tile(carry: tuple, at: tuple, size: tuple) -> tuple:
        mixed_BKGTH, top_BKGT1, sum_BKGT1 = carry
        mixed_BKGtH, top_BKGt1, sum_BKGt1 = (cut(x, at[0], size[0]) for x in carry)
        scores_BKGts = scores(q_BKGTH, k_BKSH, segments, n_earlier, at, size)
        new_BKGt1 = jnp.maximum(top_BKGt1, scores_BKGts.max(-1, keepdims=True))
        weights_BKGts, shrink_BKGt1 = jnp.exp(scores_BKGts - new_BKGt1), jnp.exp(top_BKGt1 - new_BKGt1)
        sum_BKGt1 = sum_BKGt1 * shrink_BKGt1 + weights_BKGts.sum(-1, keepdims=True)
        v_BKsH = cut(v_BKSH, at[1], size[1])
        mixed_BKGtH = mixed_BKGtH * shrink_BKGt1 + rows_by(weights_BKGts.astype(v_BKsH.dtype), v_BKsH, (2,), wide)
        return put(mixed_BKGTH, mixed_BKGtH, at[0]), put(top_BKGT1, new_BKGt1, at[0]), put(sum_BKGT1, sum_BKGt1, at[0])

    return over_tiles(q_BKGTH, tile, met, causal=n_earlier is None)


def mean_gradient(d_BKGTH: Array, mixed_BKGTH: Array, wide: Any) -> Float[Array, "B K G T 1"]:
    """rowsum(d * output): the weighted mean of a row's d V^T."""
    return jnp.sum(d_BKGTH.astype(wide) * mixed_BKGTH.astype(wide), axis=-1, keepdims=True)


def pull(grads: tuple, rows: tuple, k_BKSH: Array, v_BKSH: Array, segments: Pair, n_earlier: int | None) -> tuple:
    """`grads` (dq, dk, dv) with what comes of these keys and values meeting `rows`: queries, the output's gradient d,
    its `mean_gradient` and the logarithms of the sums. With P the weights, dS = P (d V^T - rowsum(d * output))."""
    q_BKGTH, d_BKGTH, mean_BKGT1, log_sum_BKGT1 = rows
    H, wide = q_BKGTH.shape[-1], log_sum_BKGT1.dtype

    def tile(carry: tuple, at: tuple, size: tuple) -> tuple:
        dq_BKGTH, dk_BKSH, dv_BKSH = carry
        q_BKGtH, d_BKGtH = cut(q_BKGTH, at[0], size[0]), cut(d_BKGTH, at[0], size[0])
        k_BKsH, v_BKsH = cut(k_BKSH, at[1], size[1]), cut(v_BKSH, at[1], size[1])
        scores_BKGts = scores(q_BKGTH, k_BKSH, segments, n_earlier, at, size)
        weights_BKGts = jnp.exp(scores_BKGts - cut(log_sum_BKGT1, at[0], size[0]))
        ds_BKGts = weights_BKGts * (rows_by(d_BKGtH, v_BKsH, (3,), wide) - cut(mean_BKGT1, at[0], size[0])) / H**0.5
        ds_BKGts, weights_BKGts = ds_BKGts.astype(q_BKGTH.dtype), weights_BKGts.astype(q_BKGTH.dtype)
        return (
            put(dq_BKGTH, cut(dq_BKGTH, at[0], size[0]) + rows_by(ds_BKGts, k_BKsH, (2,), wide), at[0]),
            put(dk_BKSH, cut(dk_BKSH, at[1], size[1]) + by_column(ds_BKGts, q_BKGtH, wide), at[1]),
            put(dv_BKSH, cut(dv_BKSH, at[1], size[1]) + by_column(weights_BKGts, d_BKGtH, wide), at[1]),
        )

    return over_tiles(q_BKGTH, tile, grads, causal=n_earlier is None)


def over_tiles(q_BKGTH: Array, tile: Callable[[Any, tuple, tuple], Any], carry: Any, causal: bool) -> Any:
    """`carry = tile(carry, (first query, first key), (queries, keys))` over the tiles of the lower triangle, or of the
    whole square where not `causal`, each row's from left to right."""
    T = q_BKGTH.shape[3]
    if T <= WRITTEN_OUT:
        block = max(BLOCK, -(-T // BLOCKS))
        for first in range(0, T, block):
            rows = min(block, T - first)
            carry = tile(carry, (first, 0), (rows, first + rows if causal else T))
        return carry
    columns = lambda row: range(0, row + 1 if causal else T, TILE)
    places = jnp.array([(row, column) for row in range(0, T, TILE) for column in columns(row)])
    step = lambda carry, at: (tile(carry, (at[0], at[1]), (TILE, TILE)), None)
    return jax.lax.scan(step, carry, tied(q_BKGTH, places)[1])[0]


def tied(q_BKGTH: Array, x: Any) -> tuple[Array, Any]:
    """Both as they are, x made to wait for q. The mask of a tile depends on nothing that a layer computes, so the loop
    over layers would make the masks of all tiles beforehand and hold them: T^2 bytes."""
    return jax.lax.optimization_barrier((q_BKGTH, x))


def scores(
    q_BKGTH: Array, k_BKSH: Array, segments: Pair, n_earlier: int | None, at: tuple, size: tuple
) -> Float[Array, "B K G t s"]:
    """q k^T / sqrt(H) of a tile, MASKED where the query does not see the key."""
    wide = jnp.promote_types(q_BKGTH.dtype, jnp.float32)
    q_BKGtH, k_BKsH = cut(q_BKGTH, at[0], size[0]), cut(k_BKSH, at[1], size[1])
    found_BKGts = rows_by(q_BKGtH, k_BKsH, (3,), wide) / q_BKGTH.shape[-1] ** 0.5
    t, s = at[0] + jnp.arange(size[0])[:, None], at[1] + jnp.arange(size[1])[None]
    seen_1ts = (t >= s if n_earlier is None else s < n_earlier)[None]
    of_T, of_S = segments
    if of_T is not None and of_S is not None:
        of_t = jax.lax.dynamic_slice_in_dim(of_T, at[0], size[0], axis=1)
        of_s = jax.lax.dynamic_slice_in_dim(of_S, at[1], size[1], axis=1)
        seen_1ts = seen_1ts & (of_t[:, :, None] == of_s[:, None, :])
    return jnp.where(seen_1ts[:, None, None], found_BKGts, MASKED)


def rows_by(rows_BKGtX: Array, other_BKsH: Array, contracted: tuple[int], wide: Any) -> Array:
    """Each row by the keys or values of its head: over the width (3,) for one number a key, over the keys (2,) for one
    vector a row. `contracted` is the axis of the second operand."""
    B, K, G, t, X = rows_BKGtX.shape
    product = jax.lax.dot_general(
        rows_BKGtX.reshape(B, K, G * t, X),
        other_BKsH,
        (((3,), contracted), ((0, 1), (0, 1))),
        preferred_element_type=wide,
    )
    return product.reshape(B, K, G, t, -1)


def by_column(weights_BKGts: Array, rows_BKGtH: Array, wide: Any) -> Float[Array, "B K s H"]:
    """For each key, the rows of all its queries, weighted."""
    B, K, G, t, s = weights_BKGts.shape
    weights, rows = weights_BKGts.reshape(B, K, G * t, s), rows_BKGtH.reshape(B, K, G * t, -1)
    return jax.lax.dot_general(weights, rows, (((2,), (2,)), ((0, 1), (0, 1))), preferred_element_type=wide)


def cut(x: Array, first: Any, length: int) -> Array:
    """Positions first .. first + length - 1 of the axis before the last."""
    return jax.lax.dynamic_slice_in_dim(x, first, length, axis=x.ndim - 2)


def put(x: Array, part: Array, first: Any) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(x, part, first, axis=x.ndim - 2)
