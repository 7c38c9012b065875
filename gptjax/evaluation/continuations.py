"""Log-likelihood of continuations given contexts, the same to the last bit whatever is scored beside them.

A context but for its last token is read once, into a cache of keys and values, whoever shares it; then its last token
and a continuation are a short row of their own that sees the cache. How long the arrays are depends on this context
and this continuation alone, and every device multiplies as many rows in each program: a batch is filled up with
nothing. So a score is a function of its pair, on one device and on any mesh that divides rows alone.
"""

import collections
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Float32, Float64

from gptjax import mesh
from gptjax.config import BadInput, ModelConfig
from gptjax.evaluation import passes
from gptjax.evaluation.passes import Caches

LEAST = {"read": 32, "follow": 8}  # tokens of a row
TOKENS = {"read": 512, "follow": 256}  # of a device, in a program that reads contexts and in one that scores
SLOTS = 4096  # of a device's caches of contexts, and of its rows' copies of them

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
    nats_N, greedy_N = np.zeros(len(rows), np.float64), np.zeros(len(rows), np.bool_)
    for row, nats_T, hits_T in followed(params, cfg, rows, on, tell):
        nats_N[row.number], greedy_N[row.number] = np.sum(nats_T, dtype=np.float64), np.all(hits_T)
    return Scored(nats_N, greedy_N, np.array([row.cut for row in rows], np.bool_))


def token_nats(
    params: dict,
    cfg: ModelConfig,
    pairs: Sequence[Pair],
    *,
    on: Mesh | None = None,
    tell: Callable[[int], None] | None = None,
) -> list[Float32[np.ndarray, " T"]]:
    """The same token by token: of each pair the log-probability of every token of its continuation."""
    rows = [as_row(number, pair, cfg.context) for number, pair in enumerate(pairs)]
    found = {row.number: nats_T for row, nats_T, _ in followed(params, cfg, rows, on, tell)}
    return [found[row.number] for row in rows]


def followed(
    params: dict, cfg: ModelConfig, rows: Sequence[Row], on: Mesh | None, tell: Callable[[int], None] | None
) -> Iterator[tuple[Row, Float32[np.ndarray, " T"], Bool[np.ndarray, " T"]]]:
    """Each row, in some order, with the nats and the hits of its tokens."""
    ways = 1 if on is None else mesh.size(on, "replica") * mesh.size(on, "data")
    caches, done = None, 0
    for length, parts in dealt(rows, ways):
        caches = read_all(params, caches, parts, length, cfg, on) if length else None
        for width, shares in rounds(parts, length):
            nats_RT, hits_RT = follow_all(params, caches, parts, shares, (length, width), cfg, on)
            for at, row in shares.items():
                n = len(row.targets)
                yield row, nats_RT[at, :n], hits_RT[at, :n]
            done += len(shares)
            if tell is not None:
                tell(done)


def as_row(number: int, pair: Pair, most: int) -> Row:
    context, following = ([int(token) for token in side] for side in pair)
    if not context or not following:
        raise BadInput(f"pair {number}: a context and a continuation have at least one token each")
    if len(following) > most:
        raise BadInput(f"pair {number}: a continuation of {len(following)} tokens, but model.context={most}")
    kept = context[-(most + 1 - len(following)) :]
    return Row(number, tuple(kept[:-1]), (kept[-1], *following[:-1]), tuple(following), len(kept) < len(context))


def bucket(n: int, least: int) -> int:
    """The length of the array for n tokens, which n alone decides, so that few programs are compiled: a power of two,
    or halfway between two of them."""
    power = 1 << max(0, n - 1).bit_length()
    return max(least, power * 3 // 4 if n <= power * 3 // 4 else power) if n else 0


def n_rows(length: int, width: int) -> int:
    """Rows of a device in the program that scores `width` tokens of each after `length` of its context."""
    return passes.whole_power(min(TOKENS["follow"] // width, SLOTS // (length + width)))


def dealt(rows: Sequence[Row], ways: int) -> Iterator[tuple[int, list[Part]]]:
    """(length of the contexts' arrays, what each of `ways` devices reads), the longest first."""
    sharing: dict[tuple[int, ...] | int, list[Row]] = collections.defaultdict(list)
    for row in rows:
        sharing[row.context or -row.number - 1].append(row)  # without a context there is nothing to share
    by_length: dict[int, Part] = collections.defaultdict(list)
    for shared in sharing.values():
        by_length[bucket(len(shared[0].context), LEAST["read"])].append(shared)
    for length, contexts in sorted(by_length.items(), reverse=True):
        n = n_held(length) * ways
        for first in range(0, len(contexts), n):
            here = contexts[first : first + n]
            yield length, [here[way::ways] for way in range(ways)]


def n_read(length: int) -> int:
    """Contexts of a device in the program that reads arrays of this length."""
    return max(1, TOKENS["read"] // length)


def n_held(length: int) -> int:
    """Contexts of which a device holds the caches, so that the rows of many fill the program that scores."""
    return max(1, SLOTS // length // n_read(length)) * n_read(length) if length else SLOTS


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


def read_all(
    params: dict, before: Caches | None, parts: Sequence[Part], length: int, cfg: ModelConfig, on: Mesh | None
) -> Caches:
    """The caches of the contexts of each device, in the memory of those held before where they are as long."""
    n, ways = n_read(length), len(parts)
    held = before
    if held is None or held[0].shape[2] != length:
        held = passes.empty(cfg=cfg, n=n_held(length) * ways, length=length, on=on)
    for first in range(0, max(map(len, parts)), n):
        tokens_BT = np.zeros((ways * n, length), np.int32)
        for way, part in enumerate(parts):
            for at, (row, *_) in enumerate(part[first : first + n]):
                tokens_BT[way * n + at, : len(row.context)] = row.context
        held = passes.read(params, held, passes.put(tokens_BT, on), np.int32(first), cfg=cfg, n_devices=ways, on=on)
    return held


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
    arrays = (passes.put(x, on) for x in (tokens_RT, targets_RT, first_R, owner_GR))
    return jax.device_get(passes.follow(params, caches, *arrays, cfg=cfg, on=on))
