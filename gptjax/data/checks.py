"""A CRC-32 of every 4 KiB of a store's shards, held against what is read, when it is read first.

A block is what the system reads from a disk at once, so checking it reads nothing more, and a start reads nothing at
all. `checks.bin` has the sums of all shards in order, as little-endian uint32. A block that was found good is not
looked at again by this process: memory that turns bad later is not found.
"""

import hashlib
import mmap
import os
import pathlib
import zlib

import numpy as np

from gptjax.config import BadInput

BLOCK = 4096  # bytes; the last of a shard may be shorter
NAME = "checks.bin"


def n_blocks(n_bytes: int) -> int:
    """Blocks that so many bytes take, the last perhaps not full."""
    return -(-n_bytes // BLOCK)


class Sums:
    """The sums of a shard that is being written, piece by piece."""

    def __init__(self):
        self.done: list[int] = []
        self.open, self.n_open = 0, 0  # of the block that is not full yet: its sum so far, its bytes

    def add(self, data: bytes) -> None:
        """Takes the bytes behind those taken before, of any number."""
        view, at = memoryview(data), 0
        while at < len(view):
            piece = view[at : at + BLOCK - self.n_open]
            self.open, self.n_open, at = zlib.crc32(piece, self.open), self.n_open + len(piece), at + len(piece)
            if self.n_open == BLOCK:
                self.done.append(self.open)
                self.open, self.n_open = 0, 0

    def packed(self) -> bytes:
        """Of all that was added, a shorter last block too."""
        return np.array(self.done + [self.open] * bool(self.n_open), "<u4").tobytes()


def append(folder: pathlib.Path, n_before: int, sums: bytes) -> None:
    """Adds a shard's sums after the first `n_before` bytes, which are those of the shards before it."""
    with (folder / NAME).open("ab") as stream:
        stream.truncate(n_before)
        stream.write(sums)
        stream.flush()
        os.fsync(stream.fileno())


class Checks:
    """What the blocks of a store's shards must sum to."""

    def __init__(self, folder: pathlib.Path, sha256: str, shard_bytes: list[int]):
        self.file, self.sha256 = folder / NAME, sha256
        self.first = np.cumsum([0, *map(n_blocks, shard_bytes)]).tolist()  # block of each shard
        expected, found = 4 * self.first[-1], self.file.stat().st_size if self.file.is_file() else 0
        if found != expected:
            raise BadInput(
                f"{self.file} is damaged: {found} bytes, expected {expected}; delete {folder} to build it again"
            )
        with self.file.open("rb") as stream:
            self.sums = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)).cast("I")
        self.seen = bytearray(self.first[-1])

    def hold(self, index: int, shard: mmap.mmap, start: int, stop: int) -> None:
        """Raises BadInput where one of the blocks that hold bytes `start` to `stop` of a shard is not what it was."""
        first = self.first[index]
        for block in range(start // BLOCK, (stop - 1) // BLOCK + 1):
            if not self.seen[first + block]:
                found = zlib.crc32(shard[block * BLOCK : (block + 1) * BLOCK])
                if found != self.sums[first + block]:
                    raise self.damaged(index, block)
                self.seen[first + block] = 1

    def damaged(self, index: int, block: int) -> BadInput:
        """Which of the two it is: the shard, or the file of sums."""
        folder = self.file.parent
        if hashlib.sha256(self.file.read_bytes()).hexdigest() != self.sha256:
            return BadInput(
                f"{self.file} is damaged: its sha256 is not {self.sha256}; delete {folder} to build it again"
            )
        file = folder / shard_name(index)
        return BadInput(
            f"{file} is damaged at bytes {block * BLOCK} to {(block + 1) * BLOCK}; delete {folder} to build it again"
        )


def shard_name(index: int) -> str:
    """The file of the index-th shard of a store, below its folder."""
    return f"tokens-{index:05d}.bin"
