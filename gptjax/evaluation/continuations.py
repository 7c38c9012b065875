"""Log-likelihood of continuations given contexts, the same to the last bit whatever is scored beside them.

A context but for its last token is read once, into a cache of keys and values, whoever shares it; then its last token
and a continuation are a short row of their own that sees the cache. How long the arrays are depends on this context
and this continuation alone, and every device multiplies as many rows in each program: a batch is filled up with
nothing. So a score is a function of its pair, on one device and on any mesh that divides rows alone.
"""

import collections
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Float64, Int

from gptjax import mesh, tree
from gptjax.config import BadInput, ModelConfig
from gptjax.model import gpt
from gptjax.training import loss, sharding

P = PartitionSpec
LEAST = {"read": 32, "follow": 8}  # tokens of a row
TOKENS = {"read": 512, "follow": 256}  # of a device, in a program that reads contexts and in one that scores
SLOTS = 4096  # of the caches of a device's rows, which are copies
HEAD = 256  # tokens of a device whose logits are held at once
KV = P(None, mesh.ROWS, None, "tensor", None)  # where keys and values lie on a mesh

Pair = tuple[Sequence[int], Sequence[int]]  # tokens of a context, of which there is at least one, and what follows


class Scored(NamedTuple):
    nats_N: Float64[np.ndarray, " N"]  # summed log-probability of each continuation
    greedy_N: Bool[np.ndarray, " N"]  # whether every token of it is the likeliest
    cut_N: Bool[np.ndarray, " N"]  # whether the context lost its beginning, for the model's is shorter


class Row(NamedTuple):
    """A continuation, as it is scored."""

    number: int
    context: tuple[int, ...]  # all but its last token
    inputs: tuple[int, ...]  # that token, and the continuation but for its last
    targets: tuple[int, ...]
    cut: bool


Part = list[list[Row]]  # what a device is given: contexts, each with the rows that share it
Caches = tuple[Array, Array]  # keys and values of contexts


def score(
    params: dict,
    cfg: ModelConfig,
    pairs: Sequence[Pair],
    *,
    on: Mesh | None = None,
    tell: Callable[[int], None] | None = None,
) -> Scored:
    """The log-probability, in nats, of each continuation after its context, by parameters that lie on the mesh `on`.

    A context that is too long for the model together with its continuation is cut from the left. `tell` is given the
    number of pairs done, from time to time. Raises BadInput for an empty context, an empty continuation and one that
    is longer than the model's context.
    """
    rows = [as_row(number, pair, cfg.context) for number, pair in enumerate(pairs)]
    nats_N, greedy_N, done = np.zeros(len(rows), np.float64), np.zeros(len(rows), np.bool_), 0
    ways = 1 if on is None else mesh.size(on, "replica") * mesh.size(on, "data")
    for length, parts in dealt(rows, ways):
        caches = read_all(params, parts, length, cfg, on) if length else None
        for width, shares in rounds(parts, length):
            nats_RT, hits_RT = follow_all(params, caches, parts, shares, (length, width), cfg, on)
            for at, row in shares.items():
                n = len(row.targets)
                nats_N[row.number] = np.sum(nats_RT[at, :n], dtype=np.float64)
                greedy_N[row.number] = np.all(hits_RT[at, :n])
            done += len(shares)
            if tell is not None:
                tell(done)
    return Scored(nats_N, greedy_N, np.array([row.cut for row in rows], np.bool_))


def as_row(number: int, pair: Pair, most: int) -> Row:
    context, following = ([int(token) for token in side] for side in pair)
    if not context or not following:
        raise BadInput(f"pair {number}: a context and a continuation have at least one token each")
    if len(following) > most:
        raise BadInput(f"pair {number}: a continuation of {len(following)} tokens, but model.context={most}")
    kept = context[-(most + 1 - len(following)) :]
    return Row(number, tuple(kept[:-1]), (kept[-1], *following[:-1]), tuple(following), len(kept) < len(context))


def bucket(n: int, least: int) -> int:
    """The length of the array for n tokens: a power of two that n alone decides, so that few programs are compiled."""
    return max(least, 1 << (n - 1).bit_length()) if n else 0


def n_rows(length: int, width: int) -> int:
    """Rows of a device in the program that scores `width` tokens of each after `length` of its context."""
    return whole_power(min(TOKENS["follow"] // width, SLOTS // (length + width)))


def whole_power(n: int) -> int:
    """The largest power of two up to n, and 1 at least: arrays then divide into each other."""
    return 1 << (max(1, n).bit_length() - 1)


def dealt(rows: Sequence[Row], ways: int) -> Iterator[tuple[int, list[Part]]]:
    """(length of the contexts' arrays, what each of `ways` devices reads), the longest first."""
    sharing: dict[tuple[int, ...] | int, list[Row]] = collections.defaultdict(list)
    for row in rows:
        sharing[row.context or -row.number - 1].append(row)  # without a context there is nothing to share
    by_length: dict[int, Part] = collections.defaultdict(list)
    for shared in sharing.values():
        by_length[bucket(len(shared[0].context), LEAST["read"])].append(shared)
    for length, contexts in sorted(by_length.items(), reverse=True):
        n = n_contexts(length)
        for first in range(0, len(contexts), n * ways):
            here = contexts[first : first + n * ways]
            yield length, [here[way::ways] for way in range(ways)]


def n_contexts(length: int) -> int:
    """Contexts of a device in the program that reads arrays of this length."""
    return max(1, TOKENS["read"] // length) if length else TOKENS["follow"]


def rounds(parts: Sequence[Part], length: int) -> Iterator[tuple[int, dict[int, Row]]]:
    """(width, {place among the rows of all devices: row}) of each call of the program that scores."""
    queues: dict[int, list[list[Row]]] = {}
    for way, part in enumerate(parts):
        for row in (row for shared in part for row in shared):
            width = bucket(len(row.inputs), LEAST["follow"])
            queues.setdefault(width, [[] for _ in parts])[way].append(row)
    for width, queue in sorted(queues.items(), reverse=True):
        n = n_rows(length, width)
        for first in range(0, max(map(len, queue)), n):
            yield (
                width,
                {way * n + at: row for way, q in enumerate(queue) for at, row in enumerate(q[first : first + n])},
            )


def read_all(params: dict, parts: Sequence[Part], length: int, cfg: ModelConfig, on: Mesh | None) -> Caches:
    n = n_contexts(length)
    tokens_BT = np.zeros((len(parts) * n, length), np.int32)
    for way, part in enumerate(parts):
        for at, (row, *_) in enumerate(part):
            tokens_BT[way * n + at, : len(row.context)] = row.context
    return read(params, put(tokens_BT, on), cfg=cfg, on=on)


def follow_all(
    params: dict,
    caches: Caches | None,
    parts: Sequence[Part],
    shares: dict[int, Row],
    size: tuple[int, int],
    cfg: ModelConfig,
    on: Mesh | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Of each place among the rows, the nats and the hits of its tokens."""
    n, width = n_rows(*size), size[1]
    places = [{row.number: at for at, shared in enumerate(part) for row in shared} for part in parts]
    tokens_RT, targets_RT = np.zeros((2, len(parts) * n, width), np.int32)
    first_R, owner_GR = np.zeros(len(parts) * n, np.int32), np.zeros((len(parts), n), np.int32)
    for at, row in shares.items():
        tokens_RT[at, : len(row.inputs)], targets_RT[at, : len(row.targets)] = row.inputs, row.targets
        first_R[at], owner_GR[at // n, at % n] = len(row.context), places[at // n][row.number]
    arrays = (put(x, on) for x in (tokens_RT, targets_RT, first_R, owner_GR))
    return jax.device_get(follow(params, caches, *arrays, cfg=cfg, on=on))


def put(x: np.ndarray, on: Mesh | None) -> np.ndarray | Array:
    """Rows of all devices where they lie; every process has them all."""
    if on is None:
        return x
    return jax.make_array_from_callback(x.shape, sharding.place(P(mesh.ROWS), on), lambda index: x[index])


@functools.partial(jax.jit, static_argnames=("cfg", "on"))
def read(params: dict, tokens_BT: Int[Array, "B T"], *, cfg: ModelConfig, on: Mesh | None) -> Caches:
    """Keys and values of contexts, from the start of their rows; what stands behind them, nobody is shown."""

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
        return mesh.lie(out.cache["k_LBSKH"], KV), mesh.lie(out.cache["v_LBSKH"], KV)

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
        return mesh.lie(jnp.pad(x_LRSKH, ((0, 0), (0, 0), (0, width), (0, 0), (0, 0))), KV)

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
