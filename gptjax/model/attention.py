"""Causal attention: one call, a table of kernels.

Each query mixes the values of the slots it sees: softmax(q k^T / sqrt(H)) v (Vaswani et al. 2017, eq. 1), the softmax
taken over the visible slots alone. Some texts divide once more, [softmax(q k^T / sqrt(H)) / Z] v with Z the sum of that
softmax; a softmax sums to one, so Z = 1 and the division changes nothing. It is left out.

Letters: B batch, T query, S slot (key and value), N query heads, K key/value heads, G = N / K, H head width.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from gptjax.config import BadInput
from gptjax.model import blockwise, cudnn, local, ring, splash


class Slots(NamedTuple):
    """Who sees whom: a query sees its own slot and the earlier slots of its own segment.

    Keys lie in slots 0 .. S-1 and queries in slots first .. first+T-1; `first` None means no cache, so T = S and each
    query lies in the slot of its key. Segments None means that all slots are of one segment. Kernels are given this and
    not a mask, so that they can skip the blocks that nothing sees.
    """

    first: Int[Array, ""] | None
    segments_BT: Int[Array, "B T"] | None
    segments_BS: Int[Array, "B S"] | None


def mask(slots: Slots, T: int, S: int) -> Bool[Array, "B T S"]:
    """Which slots each query sees; B is 1 where all rows agree."""
    first = 0 if slots.first is None else slots.first
    causal_1TS = (first + jnp.arange(T)[:, None] >= jnp.arange(S)[None])[None]
    if slots.segments_BT is None or slots.segments_BS is None:
        return causal_1TS
    return causal_1TS & (slots.segments_BT[:, :, None] == slots.segments_BS[:, None, :])


def reference(
    q_BTNH: Float[Array, "B T N H"],
    k_BSKH: Float[Array, "B S K H"],
    v_BSKH: Float[Array, "B S K H"],
    slots: Slots,
    on_probs: Callable[[Array], Array] | None = None,
) -> Float[Array, "B T N H"]:
    """The definition, written out: the weights of all pairs are held at once. Scores and softmax are float32."""
    (B, T, N, H), (_, S, K, _) = q_BTNH.shape, k_BSKH.shape
    wide = jnp.promote_types(q_BTNH.dtype, jnp.float32)
    q_BTKGH = q_BTNH.reshape(B, T, K, N // K, H)
    scores_BKGTS = jnp.einsum("BTKGH,BSKH->BKGTS", q_BTKGH, k_BSKH, preferred_element_type=wide) / H**0.5
    probs_BKGTS = jax.nn.softmax(jnp.where(mask(slots, T, S)[:, None, None], scores_BKGTS, -jnp.inf), axis=-1)
    if on_probs is not None:
        probs_BKGTS = on_probs(probs_BKGTS.reshape(B, N, T, S)).reshape(probs_BKGTS.shape)
    mixed_BKGTH = jnp.einsum("BKGTS,BSKH->BKGTH", probs_BKGTS.astype(v_BSKH.dtype), v_BSKH)
    return jnp.transpose(mixed_BKGTH, (0, 3, 1, 2, 4)).reshape(q_BTNH.shape)


def meets_cache(q_BTNH: Array, k_BSKH: Array, slots: Slots) -> bool:
    """Whether queries see slots of earlier calls: not where they fill a whole cache, which is a text as any other."""
    return slots.first is not None and q_BTNH.shape[1] < k_BSKH.shape[1]


def by_tiles(
    q_BTNH: Float[Array, "B T N H"], k_BSKH: Float[Array, "B S K H"], v_BSKH: Float[Array, "B S K H"], slots: Slots
) -> Float[Array, "B T N H"]:
    """The masked half skipped, memory linear in T; the few queries that meet a cache have no such half."""
    if meets_cache(q_BTNH, k_BSKH, slots):
        return reference(q_BTNH, k_BSKH, v_BSKH, slots)
    return blockwise.causal_attention(q_BTNH, k_BSKH, v_BSKH, slots.segments_BT)


def round_the_ring(
    q_BTNH: Float[Array, "B T N H"], k_BSKH: Float[Array, "B S K H"], v_BSKH: Float[Array, "B S K H"], slots: Slots
) -> Float[Array, "B T N H"]:
    """Tiles of each device's positions, where the mesh in the context divides them; without one, tiles of all."""
    if meets_cache(q_BTNH, k_BSKH, slots):
        return reference(q_BTNH, k_BSKH, v_BSKH, slots)
    kernel = functools.partial(ring.causal_attention, n_devices=local.n_sequence())
    return local.per_device(kernel)(q_BTNH, k_BSKH, v_BSKH, slots.segments_BT)


def whole_rows(kernel: Callable[..., Array]) -> Callable[..., Array]:
    """A kernel for a platform, on each device's rows and heads; the few queries that meet a cache get `reference`."""

    def attend(q_BTNH: Array, k_BSKH: Array, v_BSKH: Array, slots: Slots) -> Array:
        if meets_cache(q_BTNH, k_BSKH, slots):
            return reference(q_BTNH, k_BSKH, v_BSKH, slots)
        if local.n_sequence() > 1:
            raise BadInput(
                "this kernel needs every row whole, and mesh.sequence divides it; try model.attention='ring'"
            )
        return local.per_device(kernel)(q_BTNH, k_BSKH, v_BSKH, slots.segments_BT)

    return attend


ATTENTION = {  # kernel(q_BTNH, k_BSKH, v_BSKH, slots) -> mixed_BTNH
    "reference": reference,
    "blockwise": by_tiles,
    "splash": whole_rows(functools.partial(splash.causal_attention, interpret=False)),
    "splash_interpreted": whole_rows(functools.partial(splash.causal_attention, interpret=True)),  # "splash" on a CPU
    "cudnn": whole_rows(cudnn.causal_attention),
    "ring": round_the_ring,
    "auto": by_tiles,  # where nobody asked `choice` what this device and mesh allow: right on all of them
}


def attention(
    q_BTNH: Float[Array, "B T N H"],
    k_BSKH: Float[Array, "B S K H"],
    v_BSKH: Float[Array, "B S K H"],
    slots: Slots,
    kernel: str,
    on_probs: Callable[[Array], Array] | None = None,
) -> Float[Array, "B T N H"]:
    """The values each query sees, mixed per head; query head n reads key/value head n // (N / K).

    `kernel` is a row of ATTENTION, for a run the one that `choice.resolved` names. `on_probs(probs_BNTS) -> probs_BNTS`
    records or changes the weights (a capture, an edit, dropout); only the reference kernel holds them, so asking for it
    selects that kernel.
    """
    if on_probs is not None:
        return reference(q_BTNH, k_BSKH, v_BSKH, slots, on_probs)
    return ATTENTION[kernel](q_BTNH, k_BSKH, v_BSKH, slots)
