"""The checksum of a batch is of all its rows, whoever reads which."""

import functools
import zlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from gptjax.data import batches, checksums
from gptjax.data.batches import Batch
from gptjax.data.checksums import Checksums

N_ROWS, T = 12, 7


def batch_of(step: int, rows: Sequence[int] = range(N_ROWS), mask_documents: bool = True) -> Batch:
    """Random windows, 0 opening a document."""
    ids_BL = np.random.default_rng(step).integers(0, 5, (N_ROWS, T + 1)).astype(np.uint8)[list(rows)]
    starts_B = np.arange(len(ids_BL)) * T
    return batches.make_batch(ids_BL, starts_B, np.full_like(starts_B, 1000), mask_documents, 0)


def crc(batch):
    return zlib.crc32(b"".join(array.tobytes() for array in batch if array is not None))


class Processes:
    """Some processes of one run: process p reads the p-th rows and answers for the p-th of `own`."""

    def __init__(self, dealt: tuple[Sequence, Sequence], make: Callable[..., Batch] = batch_of):
        rows, own = dealt
        self.said = []
        self.all = [
            Checksums(functools.partial(make, rows=read), 2, rows=read, own=counted, n_rows=N_ROWS, share=self.share)
            for read, counted in zip(rows, own, strict=True)
        ]

    def share(self, part):
        self.said.append(part)
        return lambda: self.said

    def taken(self, step):
        for process in self.all:
            process(step)
            process.send(step)
        return {process.taken(step) for process in self.all}


DEALT = {
    "all rows": ([range(12)], [range(12)]),
    "halves": ([range(6), range(6, 12)], [range(6), range(6, 12)]),
    "far apart": ([[0, 3, 4, 9], [1, 2, 5, 6], [7, 8, 10, 11]], [[0, 3, 4, 9], [1, 2, 5, 6], [7, 8, 10, 11]]),
    "each by two": ([range(6), range(6), range(6, 12), range(6, 12)], [range(6), [], range(6, 12), []]),
    "some by two": ([range(8), range(4, 12)], [range(8), range(8, 12)]),
}


@pytest.mark.parametrize("mask_documents", [True, False])
@pytest.mark.parametrize("dealt", DEALT)
def test_processes_together_have_the_crc_of_the_whole_batch(dealt, mask_documents):
    processes = Processes(DEALT[dealt], functools.partial(batch_of, mask_documents=mask_documents))
    assert processes.taken(4) == {crc(batch_of(4, mask_documents=mask_documents))}


@pytest.mark.parametrize("row", [0, 5, 6, 11])
def test_a_token_of_any_process_changes_it(row):
    def spoilt(step: int, rows: Sequence[int]) -> Batch:
        batch = batch_of(step, rows)
        batch.inputs_BT[[here for here, read in enumerate(rows) if read == row], 3] ^= 1
        return batch

    assert Processes(DEALT["halves"], spoilt).taken(4).isdisjoint({crc(batch_of(4))})


def test_only_logged_steps_are_summed():
    processes = Processes(DEALT["all rows"])
    (process,) = processes.all
    for step in range(5):
        process(step)
        process.send(step)
    assert len(processes.said) == 3 and list(process.sent) == [0, 2, 4]


@pytest.mark.parametrize("n_bytes", [0, 1, 5, 4096, 10**6])
def test_zeros_behind_a_text_are_arithmetic(n_bytes):
    found = checksums.linear(b"some text", 0)
    assert checksums.shifted(found, n_bytes) == checksums.linear(bytes(n_bytes), found)
