"""Batches of pairs: what is packed is a pair, its chosen and its rejected dialog beside each other in one row.

Pair p of a row, from 0, is its segments 2 p + 1 (chosen) and 2 p + 2 (rejected). Targets that answer weigh 1 in the
chosen dialog and -1 in the rejected one, so weighted sums over a pair's targets are differences.
"""

import numpy as np

from gptjax.config import BadInput
from gptjax.data.batches import Batch
from gptjax.data.dialog_batches import Packed, write_example
from gptjax.data.examples import Examples
from gptjax.data.packing import Fitted


def fitted(examples: Examples, context: int, too_long: str) -> Fitted:
    """The pairs that are used: `begins_M` has their numbers, `sizes_M` the positions of both dialogs.

    Raises BadInput where none fits into the context, and, where `too_long` is "refuse", for one that does not."""
    sizes_P = (examples.lengths_N + 1).reshape(-1, 2).sum(axis=1)
    (used_M,) = np.nonzero(sizes_P <= context)
    left_out, longest = len(sizes_P) - len(used_M), int(sizes_P.max())
    where = f"{examples.store.manifest['corpus']}, {examples.store.manifest['split']}"
    if len(used_M) == 0 or left_out and too_long == "refuse":
        which = f"{left_out:,} of {len(sizes_P):,} pairs" if len(used_M) else "each pair"
        raise BadInput(
            f"model.context={context}, but {which} of {where}, chosen and rejected together, take more, "
            f"up to {longest:,}; try model.context={longest}"
        )
    counts = {"dialogs": len(sizes_P), "left_out": left_out, "cut": 0}
    return Fitted(used_M, sizes_P[used_M], np.zeros(len(used_M), bool), counts)


class PackedPairs(Packed):
    """The pairs of one store in rows."""

    fitted = staticmethod(fitted)

    @staticmethod
    def n_targets(found: Examples, used: Fitted, member: int) -> int:
        """Targets of both dialogs that answer."""
        both = (2 * int(used.begins_M[member]) + side for side in range(2))
        read = ((found.read(int(found.begins_N[n]), int(found.lengths_N[n]))[1], bool(found.ends_N[n])) for n in both)
        return sum(int(answers.sum()) + ends for answers, ends in read)

    def write_member(self, batch: Batch, at: int, member: int, start: int, number: int) -> None:
        for side in range(2):
            n = 2 * int(self.used.begins_M[member]) + side
            begin, size = int(self.examples.begins_N[n]), int(self.examples.lengths_N[n]) + 1
            ends = bool(self.examples.ends_N[n])
            write_example(batch, at, start, 2 * number + side + 1, self.examples, begin, size, ends)
            if side == 1:
                batch.weights_BT[at, start : start + size] = 0 - batch.weights_BT[at, start : start + size]
            start += size
