"""Batches for differential privacy: each example is in a step's batch with the same probability, whoever else is.

An example is a row: a window of text or, with data.fill="fixed", a dialog. What each draws comes from a secret key and
the step, so a run that goes on draws what it would have drawn, and nobody without the key knows who was in which batch,
on which the accountant's amplification by sampling rests (Abadi et al. 2016, section 3.1).
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from gptjax.config import BadInput
from gptjax.data import batches, dialog_batches
from gptjax.data.batches import Batch
from gptjax.data.dialog_batches import Packed
from gptjax.data.store import Store

BITS = 64  # that an example draws


class Windows:
    """The examples of a text: its windows, as `batches` cuts them."""

    def __init__(self, store: Store, context: int, mask_documents: bool, end_of_text: int):
        self.store, self.context, self.mask_documents, self.end_of_text = store, context, mask_documents, end_of_text
        self.n_examples = -(-(store.n_tokens - 1) // context)

    def rows(self, examples_B: Int64[np.ndarray, " B"]) -> Batch:
        """The batch of these examples; -1 is an empty row, whose targets weigh nothing."""
        ids_BL = np.full((len(examples_B), self.context + 1), self.end_of_text, self.store.dtype)
        (real,) = np.nonzero(examples_B >= 0)
        starts_B = examples_B * self.context
        ids_BL[real] = self.store.windows(starts_B[real], self.context + 1)
        ends_B = np.where(examples_B >= 0, self.store.n_tokens, starts_B)
        return batches.make_batch(ids_BL, starts_B, ends_B, self.mask_documents, self.end_of_text)


class Dialogs:
    """The examples of a corpus of dialogs, one in a row."""

    def __init__(self, packed: Packed, context: int, end_of_text: int):
        self.packed, self.context, self.end_of_text = packed, context, end_of_text
        self.n_examples = len(packed.rows)

    def rows(self, examples_B: Int64[np.ndarray, " B"]) -> Batch:
        """As `Windows.rows`."""
        batch = dialog_batches.empty(len(examples_B), self.context, self.end_of_text)
        for at, example in enumerate(examples_B.tolist()):
            if example >= 0:
                self.packed.write(batch, at, example)
        return batch


class PoissonBatches:
    """`batches(step)` is the global batch of a step, or the `rows` of it that this process reads.

    Each example is drawn with probability mean / n_examples. A batch has `most` rows: those that nobody takes are
    empty, and of more examples the rest, chosen at random, is left out, which the accountant counts. Raises BadInput
    where there are no more examples than are drawn on average.
    """

    def __init__(
        self,
        examples: Windows | Dialogs,
        *,
        mean: int,
        most: int,
        key: bytes,
        rows: Sequence[int] | None = None,
    ):
        if mean >= examples.n_examples:
            raise BadInput(
                f"batch_tokens: draws {mean:,} examples a step on average, and there are {examples.n_examples:,}; "
                f"try {mean // 10 or 1} x model.context, or fewer"
            )
        self.examples, self.most, self.key = examples, most, key
        self.threshold = np.uint64(mean * 2**BITS // examples.n_examples)
        self.rows = np.arange(most) if rows is None else np.array(rows)

    def __call__(self, step: int) -> Batch:
        drawn = self.drawn(step)
        examples_B = np.full(self.most, -1, np.int64)
        examples_B[: len(drawn)] = drawn
        return self.examples.rows(examples_B[self.rows])

    def drawn(self, step: int) -> Int64[np.ndarray, " n"]:
        """The examples of a step. Each draws 64 bits of SHAKE-256 of the key and the step; those below the threshold
        are in, the lowest first, so that who is beyond `most` is anybody among them."""
        asked = self.key + step.to_bytes(8, "little")
        bits_N = np.frombuffer(hashlib.shake_256(asked).digest(self.examples.n_examples * BITS // 8), "<u8")
        (found,) = np.nonzero(bits_N < self.threshold)
        return found[np.argsort(bits_N[found], kind="stable")][: self.most]
