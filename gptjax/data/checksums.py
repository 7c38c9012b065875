"""The CRC-32 of a batch that several processes read, each its own rows: the same however the rows are dealt.

Without the complements at its two ends CRC-32 is linear: the sum (xor) of two texts of one length has the sum of their
sums, and a byte 0 behind a text multiplies its sum by x^8 in GF(2)[x] modulo the polynomial. So each process sums a
batch that is 0 where it has no rows, which costs a few multiplications and no byte, and the sums are added up.
"""

import functools
import operator
import zlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from gptjax.data.batches import Batch

POLYNOMIAL = 0xEDB88320  # bit 31 is the coefficient of x^0, as in zlib
ONES = 0xFFFFFFFF
Share = Callable[[int], Callable[[], Sequence[int]]]  # this process's number to all; the answer gives everybody's


class Checksums:
    """`checksums(step)` is `batches(step)`. Of every `every`-th one `send(step)`, which all processes call in the same
    order, tells the others this process's part of the sum, and `taken(step)` is the CRC-32 of the whole batch: its
    arrays in the order of `Batch`, the rows of each in theirs."""

    def __init__(
        self,
        batches: Callable[[int], Batch],
        every: int,
        *,
        rows: Sequence[int],  # of the global batch, which `batches` reads
        own: Sequence[int],  # those of them that count here; each of the global batch counts in one process
        n_rows: int,  # of the global batch
        share: Share,
    ):
        self.make, self.every, self.share, self.n_rows = batches, every, share, n_rows
        self.runs = list(neighbours(rows, own))
        self.made: dict[int, tuple[int, int]] = {}  # step: this process's part, bytes of the whole batch
        self.sent: dict[int, tuple[Callable[[], Sequence[int]], int]] = {}

    def __call__(self, step: int) -> Batch:
        batch = self.make(step)
        if self.every and step % self.every == 0:
            arrays = [array for array in batch if array is not None]
            n_bytes = sum(self.n_rows * array[0].nbytes for array in arrays)
            self.made[step] = functools.reduce(self.added, arrays, 0), n_bytes
        return batch

    def added(self, found: int, array: np.ndarray) -> int:
        """The sum of what came before and, behind it, of an array whose other rows are 0."""
        at = 0
        for here, first in self.runs:
            part = array[here]
            found = linear(part.tobytes(), shifted(found, (first - at) * array[0].nbytes))
            at = first + len(part)
        return shifted(found, (self.n_rows - at) * array[0].nbytes)

    def send(self, step: int) -> None:
        """Takes what `checksums(step)` left, and does not wait; does nothing at a step that is not summed."""
        if self.every and step % self.every == 0:
            part, n_bytes = self.made.pop(step)
            self.sent[step] = self.share(part), n_bytes

    def taken(self, step: int) -> int:
        """Waits for the other processes; KeyError unless the step was sent and is not yet taken."""
        everybodys, n_bytes = self.sent.pop(step)
        return functools.reduce(operator.xor, everybodys(), shifted(ONES, n_bytes) ^ ONES)


def neighbours(rows: Sequence[int], own: Sequence[int]) -> Iterator[tuple[slice, int]]:
    """Where rows that count lie beside each other: the slice of what is read, and the row in which it begins."""
    counted, start = set(own), 0
    for stop in range(1, len(rows) + 1):
        if stop == len(rows) or rows[stop] != rows[stop - 1] + 1 or (rows[stop] in counted) != (rows[start] in counted):
            if rows[start] in counted:
                yield slice(start, stop), rows[start]
            start = stop


def linear(data: bytes, before: int) -> int:
    """The sum of a text whose beginning has the sum `before`, without complements."""
    return zlib.crc32(data, before ^ ONES) ^ ONES


def shifted(found: int, n_bytes: int) -> int:
    """The sum of a text and so many bytes of 0 behind it."""
    return times(found, power(n_bytes)) if found else 0


@functools.cache
def power(n_bytes: int) -> int:
    """x^(8 n_bytes), by squares."""
    found, square = 1 << 31, 1 << 23  # 1 and x^8
    while n_bytes:
        found = times(found, square) if n_bytes & 1 else found
        square, n_bytes = times(square, square), n_bytes >> 1
    return found


def times(a: int, b: int) -> int:
    """The product of two polynomials, modulo POLYNOMIAL."""
    product = 0
    while a:
        product ^= b if a >> 31 else 0
        a, b = a << 1 & ONES, b >> 1 ^ (POLYNOMIAL if b & 1 else 0)
    return product
