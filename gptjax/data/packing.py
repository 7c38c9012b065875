"""How examples lie in rows of `context` positions: whole, never across two rows, and each once an epoch.

`fixed` gives each a row of its own. `buckets` cuts a row into equal slots of context / 2^k positions, and a batch holds
slots of one width but for what is left over at each width's end. `budget` fills rows as full as it can: the longest
example first, each into the row where the least room stays (best-fit decreasing).
"""

import bisect
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from gptjax.config import BadInput
from gptjax.data.examples import Examples


class Fitted(NamedTuple):
    """The M examples that are used, after those too long were cut or left out."""

    begins_M: Int64[np.ndarray, " M"]  # of the tokens that are targets, in the store
    sizes_M: Int64[np.ndarray, " M"]  # positions that each takes
    ends_M: Bool[np.ndarray, " M"]  # whether its end of text weighs anything
    counts: dict[str, int]  # dialogs, and of them those left out and those cut


class Rows(NamedTuple):
    """Members of row r are `members[borders[r] : borders[r + 1]]`, each at its position."""

    members: Int64[np.ndarray, " M"]
    positions: Int64[np.ndarray, " M"]
    borders: Int64[np.ndarray, " R+1"]
    group: int  # rows that stay together in every epoch

    def __len__(self) -> int:
        return len(self.borders) - 1


def fitted(examples: Examples, context: int, too_long: str) -> Fitted:
    """What is used of each example. An example of n tokens takes n + 1 positions, its end of text the last target.

    `too_long` says what becomes of one that takes more than `context`: "refuse" raises BadInput; "drop" leaves it out;
    "cut_prompt" leaves out its first tokens, never a token from its first answer on; "cut_answer" leaves out its last.
    What still does not fit, or would have no answer, is left out and counted too.
    """
    sizes_N, ends_N, begins_N = examples.lengths_N + 1, examples.ends_N.copy(), examples.begins_N.copy()
    over_N = sizes_N - context
    is_over_N, cut_N = over_N > 0, np.zeros(len(sizes_N), bool)
    where = f"{examples.store.manifest['corpus']}, {examples.store.manifest['split']}"
    longest = int(sizes_N.max())
    if too_long == "refuse" and is_over_N.any():
        raise BadInput(
            f"model.context={context}, but {np.count_nonzero(is_over_N):,} of {len(sizes_N):,} dialogs of {where} are "
            f"longer, the longest {longest:,}; try model.context={longest}, or a data.too_long that leaves some out"
        )
    if too_long == "cut_prompt":
        cut_N = is_over_N & (over_N < examples.heads_N)
        begins_N[cut_N] += over_N[cut_N]
    elif too_long == "cut_answer":
        cut_N = is_over_N & (examples.heads_N < context)
        ends_N[cut_N] = False
    sizes_N = np.where(cut_N, context, sizes_N)
    used_N = ~is_over_N | cut_N
    if not used_N.any():
        raise BadInput(
            f"model.context={context}, but no dialog of {where} fits into it, cut as data.too_long={too_long!r} says; "
            f"the longest has {longest:,} tokens"
        )
    left_out, was_cut = int(np.count_nonzero(~used_N)), int(np.count_nonzero(cut_N))
    counts = {"dialogs": len(sizes_N), "left_out": left_out, "cut": was_cut}
    return Fitted(begins_N[used_N], sizes_N[used_N], ends_N[used_N], counts)


def packed(sizes_M: Int64[np.ndarray, " M"], context: int, fill: str, batch_size: int, seed: int) -> Rows:
    """The rows; examples of one size are dealt by the seed."""
    order = np.random.default_rng([seed, len(sizes_M)]).permutation(len(sizes_M))
    if fill == "fixed":
        return Rows(order, np.zeros_like(order), np.arange(len(order) + 1), group=1)
    order = order[np.argsort(-sizes_M[order], kind="stable")]
    return in_buckets(order, sizes_M, context, batch_size) if fill == "buckets" else by_budget(order, sizes_M, context)


def by_budget(order: Int64[np.ndarray, " M"], sizes_M: Int64[np.ndarray, " M"], context: int) -> Rows:
    rows: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(context + 1)]  # by the room that is left
    rooms: list[int] = []  # that some row has, in order
    at = np.empty(len(order), np.int64)
    for member in order.tolist():
        size = int(sizes_M[member])
        place = bisect.bisect_left(rooms, size)
        if place == len(rooms):
            row, room = len(rows), context
            rows.append([])
        else:
            room = rooms[place]
            row = with_room[room].pop()
            if not with_room[room]:
                rooms.pop(place)
        rows[row].append(member)
        at[member] = context - room
        left = room - size
        if left:
            if not with_room[left]:
                bisect.insort(rooms, left)
            with_room[left].append(row)
    return joined(rows, at, group=1)


def in_buckets(order: Int64[np.ndarray, " M"], sizes_M: Int64[np.ndarray, " M"], context: int, batch_size: int) -> Rows:
    whole: list[list[int]] = []  # rows of batches of one width
    rest: list[list[int]] = []
    at = np.empty(len(order), np.int64)
    width, start = context, 0
    while start < len(order):
        narrower = width // 2
        of_width = order[start:][sizes_M[order[start:]] > narrower] if narrower else order[start:]
        n_slots = context // width
        rows = [of_width[first : first + n_slots].tolist() for first in range(0, len(of_width), n_slots)]
        at[of_width] = np.arange(len(of_width)) % n_slots * width
        n_whole = len(rows) // batch_size * batch_size
        whole += rows[:n_whole]
        rest += rows[n_whole:]
        start, width = start + len(of_width), narrower
    return joined(whole + rest, at, group=batch_size)


def joined(rows: list[list[int]], at: Int64[np.ndarray, " M"], group: int) -> Rows:
    members = np.array([member for row in rows for member in row], np.int64)
    return Rows(members, at[members], np.cumsum([0, *map(len, rows)], dtype=np.int64), group)
