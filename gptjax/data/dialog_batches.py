"""Batches of dialogs, a function of (seed, step) as those of text are: what is drawn is a row of packed examples.

Segments keep the examples of a row apart, positions count from the start of each, and only targets that answer weigh.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int64

from gptjax.data import packing
from gptjax.data.batches import SHARES, Batch, OnDemand, deal, shuffle_key
from gptjax.data.examples import Examples
from gptjax.data.packing import Fitted, Rows
from gptjax.data.permutation import permuted
from gptjax.data.store import Store


class Packed:
    """The examples of one store in rows."""

    fitted = staticmethod(packing.fitted)  # what is used of them

    @staticmethod
    def n_targets(found: Examples, used: Fitted, member: int) -> int:
        """Targets of an example that answer."""
        _, answers = found.read(int(used.begins_M[member]), int(used.sizes_M[member]))
        return int(answers.sum()) + bool(used.ends_M[member])

    def __init__(self, found: Examples, used: Fitted, rows: Rows, context: int):
        self.examples, self.used, self.rows, self.context = found, used, rows, context
        self.n_groups = -(-len(rows) // rows.group)

    @property
    def counts(self) -> dict[str, int | float]:
        """Dialogs, those left out and cut, rows, and `filled`: the share of the rows' positions that are taken."""
        filled = float(self.used.sizes_M.sum()) / (len(self.rows) * self.context)
        return {**self.used.counts, "rows": len(self.rows), "filled": round(filled, 4)}

    def drawn(self, place_B: Int64[np.ndarray, " B"], seed: int, store: int) -> Int64[np.ndarray, " B"]:
        """The rows at these places of the epochs, laid end to end; the rows of a group stay beside each other."""
        group_B, within_B = np.divmod(place_B, self.rows.group)
        epoch_B, group_B = np.divmod(group_B, self.n_groups)
        for epoch in np.unique(epoch_B).tolist():
            mine = epoch_B == epoch
            group_B[mine] = permuted(group_B[mine], self.n_groups, shuffle_key(seed, store, epoch))
        return group_B * self.rows.group + within_B

    def write(self, batch: Batch, at: int, row: int) -> None:
        """Writes a row into row `at` of a batch; one past the last stays empty."""
        if row >= len(self.rows):
            return
        first, stop = self.rows.borders[row : row + 2].tolist()
        for number in range(first, stop):
            self.write_member(
                batch, at, int(self.rows.members[number]), int(self.rows.positions[number]), number - first
            )

    def write_member(self, batch: Batch, at: int, member: int, start: int, number: int) -> None:
        """Writes the number-th member of row `at`, from a position on."""
        begin, size, ends = (of[member] for of in (self.used.begins_M, self.used.sizes_M, self.used.ends_M))
        write_example(batch, at, start, number + 1, self.examples, int(begin), int(size), bool(ends))


def write_example(
    batch: Batch, at: int, start: int, segment: int, found: Examples, begin: int, size: int, ends: bool
) -> None:
    """Writes an example, which begins there in the store, as a segment of row `at`."""
    assert batch.segments_BT is not None and batch.positions_BT is not None
    here = slice(start, start + size)
    targets, answers = found.read(begin, size)
    batch.targets_BT[at, here] = targets
    batch.inputs_BT[at, start + 1 : start + size] = targets[:-1]  # its first is an end of text already
    batch.weights_BT[at, here] = answers
    if ends:
        batch.weights_BT[at, start + size - 1] = 1
    batch.segments_BT[at, here] = segment
    batch.positions_BT[at, here] = np.arange(size)


def empty(n_rows: int, context: int, end_of_text: int) -> Batch:
    """Rows in which nothing weighs anything; what no example takes is segment 0."""
    ids_BT = np.full((n_rows, context), end_of_text, np.int32)
    positions_BT = np.tile(np.arange(context, dtype=np.int32), (n_rows, 1))
    zeros_BT = np.zeros((n_rows, context), np.int32)
    return Batch(ids_BT, ids_BT.copy(), zeros_BT.astype(np.float32), zeros_BT, positions_BT)


class DialogBatches:
    """`batches(step)` is the global batch of a step, or the `rows` of it that this process reads.

    Rows are drawn from the stores in proportion to `weights`, as windows of text are. `told` says of each store how
    many dialogs it has, how many were left out or cut, and how full the rows are. Raises BadInput as `packing.fitted`.
    """

    def __init__(
        self,
        stores: Mapping[str, Store],
        weights: Sequence[float],
        *,
        batch_size: int,
        context: int,
        seed: int,
        fill: str,
        too_long: str,
        end_of_text: int,
        rows: Sequence[int] | None = None,
        kind: type[Packed] = Packed,
    ):
        self.batch_size, self.context, self.seed, self.end_of_text = batch_size, context, seed, end_of_text
        self.rows = range(batch_size) if rows is None else rows
        self.shares = [max(1, round(weight / sum(weights) * SHARES)) for weight in weights]
        self.packed = []
        for store in stores.values():
            found = Examples(store, end_of_text)
            used = kind.fitted(found, context, too_long)
            made = packing.packed(used.sizes_M, context, fill, batch_size, seed)
            self.packed.append(kind(found, used, made, context))
        self.told = {name: packed.counts for name, packed in zip(stores, self.packed, strict=True)}

    def __call__(self, step: int) -> Batch:
        batch, first = empty(len(self.rows), self.context, self.end_of_text), step * self.batch_size
        store_of_row_B, place_B = np.array([deal(first + row, self.shares) for row in self.rows], np.int64).T
        for number, packed in enumerate(self.packed):
            (mine,) = np.nonzero(store_of_row_B == number)
            drawn = packed.drawn(place_B[mine], self.seed, number)
            for at, row in zip(mine.tolist(), drawn.tolist(), strict=True):
                packed.write(batch, at, row)
        return batch


def fixed(
    store: Store,
    *,
    batch_size: int,
    context: int,
    n_tokens: int,
    too_long: str,
    end_of_text: int,
    rows: Sequence[int] | None = None,
    kind: type[Packed] = Packed,
) -> Sequence[Batch]:
    """Evaluation batches: examples in order from the start of a store until they hold `n_tokens` targets that answer.

    Always the same ones, in full rows. The last batch is filled up with empty rows, so that all have one shape.
    """
    found = Examples(store, end_of_text)
    used = kind.fitted(found, context, too_long)
    n_used, n_targets = 0, 0
    while n_used < len(used.sizes_M) and n_targets < n_tokens:
        n_targets += kind.n_targets(found, used, n_used)
        n_used += 1
    made = packing.packed(used.sizes_M[:n_used], context, "budget", batch_size, seed=0)
    packed = kind(found, used, made, context)
    rows_B = range(batch_size) if rows is None else rows

    def make(index: int) -> Batch:
        batch = empty(len(rows_B), context, end_of_text)
        for at, row in enumerate(rows_B):
            packed.write(batch, at, index * batch_size + row)
        return batch

    return OnDemand(-(-len(made) // batch_size), make)
