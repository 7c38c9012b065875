"""A log on a local disk, of which each line is read once: what has been read is kept (kept.py), so that the next
command reads only what was written since.

What is kept is believed while the log has the size and the time of change that it had; else, where its bytes have the
hash that they had.
"""

import os
from collections.abc import Iterator
from typing import BinaryIO

import xxhash

from gptjax.analysis import kept
from gptjax.analysis.kept import Part, Stamp
from gptjax.analysis.lines import Parser
from gptjax.analysis.rows import CUT, JUNK

BLOCK = 32 * 2**20  # bytes of a log that are held at a time
LONG = f"lines longer than {BLOCK // 2**20} MiB"
SMALL = 2**18  # bytes that are read anew in a moment, so not worth a file


class Log:
    """`read_on()` reads what is new."""

    def __init__(self, path: str):
        self.path = os.path.abspath(path)
        self.settled: list[Part] = []  # which are kept
        self.recent: list[Part] = []  # read anew each time, until they are worth keeping
        self.stamp: Stamp | None = None

    @property
    def parts(self) -> list[Part]:
        """From the log's start on, without a gap."""
        return [*self.settled, *self.recent]

    def read_on(self, parse: Parser) -> bool:
        """Whether anything has changed since the last time. Raises OSError where the file cannot be read."""
        with open(self.path, "rb") as file:
            stamp = Stamp.of(file)
            if stamp == self.stamp:
                return False
            before = self.stamp
            if before is None:
                self.settled, before = kept.load(self.path)
            if stamp != before and not all(hashed(file, one.start, one.end) == one.hash for one in self.settled):
                self.settled = []
            if not self.settled or self.settled[-1].end < stamp.size:
                self.go_on(file, stamp, parse)
            else:
                self.recent = []
            self.stamp = stamp
        return True

    def go_on(self, file: BinaryIO, stamp: Stamp, parse: Parser) -> None:
        at = self.settled[-1].end if self.settled else 0
        settles = stamp.size - at >= max(SMALL, at // 64)  # so that a log that grows for ever has few parts
        self.recent = []
        for end, content in blocks(file, at):
            rows, left_out = parse(content)
            if end - at > len(content):
                left_out[LONG] += 1
            part = Part(at, end, digest(file, at, end, content) if settles else "", rows, left_out)
            if settles:
                self.settled.append(kept.keep(self.path, len(self.settled), part, stamp))
            else:
                self.recent.append(part)
            at = end
        self.recent += last_line(file, at, parse)


def blocks(file: BinaryIO, at: int) -> Iterator[tuple[int, bytes]]:
    """Whole lines from a byte on, at most BLOCK of them at a time, each with the byte where they end.

    Of a line that is longer the end alone is told: it goes with an empty block."""
    while True:
        file.seek(at)
        content = file.read(min(BLOCK, max(0, os.fstat(file.fileno()).st_size - at)))  # room for more takes time
        end = content.rfind(b"\n") + 1
        if end:
            at += end
            yield at, content[:end]
        elif len(content) < BLOCK:
            return
        else:
            while content and b"\n" not in content:
                at += len(content)
                content = file.read(BLOCK)
            if not content:
                return
            at += content.find(b"\n") + 1
            yield at, b""


def last_line(file: BinaryIO, at: int, parse: Parser) -> list[Part]:
    """What stands after the last end of a line: a line that lacks only its end, or a part of one."""
    file.seek(at)
    content = file.read(BLOCK)
    if not content.strip():
        return []
    rows, left_out = parse(content + b"\n")
    if left_out.pop(JUNK, 0):
        left_out[CUT] += 1
    return [Part(at, at + len(content), "", rows, left_out)]


def digest(file: BinaryIO, start: int, end: int, content: bytes) -> str:
    """`hashed`, of bytes that are at hand where they are all there is."""
    return xxhash.xxh3_128_hexdigest(content) if len(content) == end - start else hashed(file, start, end)


def hashed(file: BinaryIO, start: int, end: int) -> str:
    """Of a part of a file; of what there is of it, where the file has become shorter."""
    file.seek(start)
    made, left = xxhash.xxh3_128(), end - start
    while left and (content := file.read(min(left, 2**20))):
        made.update(content)
        left -= len(content)
    return made.hexdigest()
