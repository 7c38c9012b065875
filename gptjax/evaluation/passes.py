"""The two passes of scoring: contexts into a cache, and short rows that see the caches of their contexts.

Letters: B contexts, R rows, G devices that rows are divided among, T positions, S slots of a cache.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from gptjax import mesh, tree
from gptjax.config import ModelConfig
from gptjax.model import gpt
from gptjax.training import loss, sharding

P = PartitionSpec
HEAD = 256  # tokens of a device whose logits are held at once
KV = P(None, mesh.ROWS, None, "tensor", None)  # where keys and values lie on a mesh

Caches = tuple[Array, Array]  # keys and values of contexts, L B S K H


def put(x: np.ndarray, on: Mesh | None) -> np.ndarray | Array:
    """Rows of all devices where they lie; every process has them all."""
    if on is None:
        return x
    return jax.make_array_from_callback(x.shape, sharding.place(P(mesh.ROWS), on), lambda index: x[index])


@functools.partial(jax.jit, static_argnames=("cfg", "n", "length", "on"))
def empty(*, cfg: ModelConfig, n: int, length: int, on: Mesh | None) -> Caches:
    """Of `n` contexts."""
    made = lambda: tuple(laid(gpt.init_cache(cfg, n, length)[name]) for name in ("k_LBSKH", "v_LBSKH"))
    k_LBSKH, v_LBSKH = made() if on is None else mesh.within(on, made)()
    return k_LBSKH, v_LBSKH


def laid(x_LBSKH: Array) -> Array:
    return mesh.lie(x_LBSKH, KV)


@functools.partial(jax.jit, static_argnames=("cfg", "n_devices", "on"), donate_argnames="caches")
def read(
    params: dict,
    caches: Caches,
    tokens_BT: Int[Array, "B T"],
    at: Int[Array, ""],
    *,
    cfg: ModelConfig,
    n_devices: int,
    on: Mesh | None,
) -> Caches:
    """The caches with those of more contexts, from place `at` on among the contexts of each device."""

    def passed(tokens_BT: Array) -> Caches:
        out = gpt.forward(
            params,
            tokens_BT,
            cfg,
            positions_BT=positions(jnp.zeros(len(tokens_BT), jnp.int32), tokens_BT, cfg),
            cache=gpt.init_cache(cfg, *tokens_BT.shape),
            unpack=unpacking(on),
        )  # nobody reads the logits, so XLA leaves them out
        assert out.cache is not None
        new = out.cache["k_LBSKH"], out.cache["v_LBSKH"]
        k_LBSKH, v_LBSKH = (written(x, laid(more)) for x, more in zip(caches, new, strict=True))
        return k_LBSKH, v_LBSKH

    def written(x_LBSKH: Array, more_LBSKH: Array) -> Array:
        of_devices = lambda x: x.reshape(len(x), n_devices, -1, *x.shape[2:])
        put = jax.lax.dynamic_update_slice_in_dim(of_devices(x_LBSKH), of_devices(more_LBSKH), at, axis=2)
        return laid(put.reshape(x_LBSKH.shape))

    return passed(tokens_BT) if on is None else mesh.within(on, passed)(tokens_BT)


@functools.partial(jax.jit, static_argnames=("cfg", "on"))
def follow(
    params: dict,
    caches: Caches | None,
    tokens_RT: Int[Array, "R T"],
    targets_RT: Int[Array, "R T"],
    first_R: Int[Array, " R"],
    owner_GR: Int[Array, "G r"],
    *,
    cfg: ModelConfig,
    on: Mesh | None,
) -> tuple[Float[Array, "R T"], Bool[Array, "R T"]]:
    """The log-probability of each target, and whether it is the likeliest, in rows that go on at `first_R`.

    Row r of device g sees the first `first_R` slots of the cache of that device's context `owner_GR`.
    """

    def passed(tokens_RT: Array, targets_RT: Array) -> tuple[Array, Array]:
        out = gpt.forward(
            params,
            tokens_RT,
            cfg,
            positions_BT=positions(first_R, tokens_RT, cfg),
            cache=None if caches is None else gone_on(caches, first_R, owner_GR, tokens_RT.shape[1]),
            capture=("final",),
            unpack=unpacking(on),
        )
        head = {name: leaf for name, leaf in params.items() if name != "blocks"}
        head = head if on is None else tree.map_named(sharding.gathered(on), head)
        return of_targets(head, out.activations["final"], targets_RT, owner_GR.shape[1], cfg)

    if on is None:
        return passed(tokens_RT, targets_RT)
    found = mesh.within(on, passed)(tokens_RT, targets_RT)
    return jax.lax.with_sharding_constraint(found, sharding.place(P(), on))  # each of several processes reads them


def unpacking(on: Mesh | None) -> Callable | None:
    """`unpack` for `forward` on a mesh, which gathers each layer's weights as it comes; None on one device."""
    return None if on is None else sharding.gathered(on)


def positions(first_R: Array, tokens_RT: Array, cfg: ModelConfig) -> Int[Array, "R T"]:
    """Those behind the end of the context are of padding."""
    return jnp.minimum(first_R[:, None] + jnp.arange(tokens_RT.shape[1])[None], cfg.context - 1)


def gone_on(caches: Caches, first_R: Array, owner_GR: Array, width: int) -> dict:
    """A cache for each row: a copy of its context's, and behind it `width` empty slots."""

    def own(x_LBSKH: Array) -> Array:
        L, _, *rest = x_LBSKH.shape
        x_LGBSKH = x_LBSKH.reshape(L, len(owner_GR), -1, *rest)
        x_LGRSKH = jax.vmap(lambda x, own_R: x[:, own_R], in_axes=(1, 0), out_axes=1)(x_LGBSKH, owner_GR)
        x_LRSKH = x_LGRSKH.reshape(L, -1, *rest)
        return laid(jnp.pad(x_LRSKH, ((0, 0), (0, 0), (0, width), (0, 0), (0, 0))))

    k_LRSKH, v_LRSKH = map(own, caches)
    length = caches[0].shape[2]
    seen_RS = jnp.arange(length)[None] < first_R[:, None]  # segment 0 is the row's own
    segments_RS = jnp.pad(jnp.where(seen_RS, 0, -1), ((0, 0), (0, width)), constant_values=-1)
    return {"k_LBSKH": k_LRSKH, "v_LBSKH": v_LRSKH, "segments_BS": segments_RS, "used": jnp.int32(length)}


def of_targets(head: dict, x_RTD: Array, targets_RT: Array, n: int, cfg: ModelConfig) -> tuple[Array, Array]:
    """Nats and hits, of so many positions at a time that a device, with its n rows, holds `HEAD` tokens' logits."""
    (R, T, _), at_once = x_RTD.shape, whole_power(HEAD // n)

    def of_part(given: tuple[Array, Array]) -> tuple[Array, Array]:
        x_RtD, targets_Rt = given
        logits_RtV = gpt.unembed(head, x_RtD, cfg)
        return -loss.token_nll(logits_RtV, targets_Rt), jnp.argmax(logits_RtV, axis=-1) == targets_Rt

    if T <= at_once:
        return of_part((x_RTD, targets_RT))

    def in_parts(x_RT: Array) -> Array:
        padded = jnp.pad(x_RT, [(0, 0), (0, -T % at_once)] + [(0, 0)] * (x_RT.ndim - 2))
        return jnp.moveaxis(padded.reshape(R, -1, at_once, *x_RT.shape[2:]), 1, 0)

    found = jax.lax.map(of_part, (in_parts(x_RTD), in_parts(targets_RT)))
    nats_RT, hits_RT = (jnp.moveaxis(x, 0, 1).reshape(R, -1)[:, :T] for x in found)
    return nats_RT, hits_RT


def whole_power(n: int) -> int:
    """The largest power of two up to n, and 1 at least: arrays then divide into each other."""
    return 1 << (max(1, n).bit_length() - 1)
