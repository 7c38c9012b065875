"""What has been read of logs, kept in ~/.cache/gptjax/analysis (or below XDG_CACHE_HOME): a safetensors file for each
part of a log, named after the log's path. What is damaged, or cannot be written, is as if it were not there.
"""

import collections
import contextlib
import json
import mmap
import os
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import xxhash

from gptjax.analysis.rows import Column, Rows, all_rows

VERSION = "2"  # of the form of these files
MOST_BYTES = 4 * 2**30  # of all files together; the oldest make room
KINDS = {"F64": np.float64, "F32": np.float32, "I64": np.int64, "I32": np.int32}
OWN = ("step", "tokens", "time_s")


class Stamp(NamedTuple):
    """What changes whenever a log does."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, file: BinaryIO) -> "Stamp":
        """That of an open file, so that it belongs to the bytes that are read from it."""
        found = os.fstat(file.fileno())
        return cls(found.st_size, found.st_mtime_ns)


class Part(NamedTuple):
    """Whole lines of a log, from byte `start` up to byte `end`."""

    start: int
    end: int
    hash: str  # of these bytes
    rows: Rows
    left_out: collections.Counter[str]


class Columns(Mapping[str, Column]):
    """The metrics of a file, each as narrow as it could be without changing a bit, and widened when it is asked for."""

    def __init__(self, n: int, places: Mapping[str, np.ndarray | None], values: Mapping[str, np.ndarray]):
        self.all, self.places, self.narrow = all_rows(n), places, values

    def __getitem__(self, name: str) -> Column:
        place = self.places[name]
        rows = self.all if place is None else place.astype(np.int64)
        return Column(rows, self.narrow[name].astype(np.float64))

    def __iter__(self) -> Iterator[str]:
        return iter(self.narrow)

    def __len__(self) -> int:
        return len(self.narrow)

    def __contains__(self, name: object) -> bool:
        return name in self.narrow


def folder() -> str:
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "gptjax", "analysis")


def file_of(log: str, number: int) -> str:
    """Where the number-th part of a log is kept; `log` is its absolute path."""
    return f"{folder()}/{xxhash.xxh3_128_hexdigest(os.fsencode(log))}-{number:04d}.safetensors"


def load(log: str) -> tuple[list[Part], Stamp | None]:
    """The parts of a log that are kept, from its start on without a gap, and the stamp that it had with the last."""
    parts, stamp = [], None
    while (found := read(file_of(log, len(parts)), log)) is not None and found[0].start == (
        parts[-1].end if parts else 0
    ):
        parts.append(found[0])
        stamp = found[1]
    return parts, stamp


def read(file: str, log: str) -> tuple[Part, Stamp] | None:
    """None where there is no such file, or where it is not what was written."""
    try:
        told, arrays = mapped(file)
        if told["version"] != VERSION or told["log"] != log or told["check"] != check(arrays):
            return None
        left_out = collections.Counter(json.loads(told["left_out"]))
        part = Part(int(told["start"]), int(told["end"]), told["hash"], rows_of(told, arrays), left_out)
        return part, Stamp(int(told["size"]), int(told["mtime_ns"]))
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None


def rows_of(told: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Rows:
    columns = json.loads(told["columns"])  # [[metric, the array of its rows, or None for all], ...]
    step, tokens, time_s = (arrays[name] for name in OWN)
    values = {name: arrays[f"value{number}"] for number, (name, _) in enumerate(columns)}
    places = {name: None if place is None else arrays[place] for name, place in columns}
    made = Columns(len(step), places, values)
    return Rows(step, tokens, time_s, made)


def mapped(file: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The metadata of a safetensors file, and its arrays, of which the system reads what is looked at."""
    with open(file, "rb") as opened:
        memory = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    begin = 8 + int.from_bytes(memory[:8], "little")
    header = json.loads(memory[8:begin])
    told = header.pop("__metadata__")
    arrays = {}
    for name, about in header.items():
        start, end = about["data_offsets"]
        kind = np.dtype(KINDS[about["dtype"]])
        arrays[name] = np.frombuffer(memory, kind, (end - start) // kind.itemsize, begin + start)
    return told, arrays


def keep(log: str, number: int, part: Part, stamp: Stamp) -> Part:
    """Writes a part; returns it as it lies in the file, or as it was where it cannot be written."""
    from safetensors.numpy import save

    arrays: dict[str, np.ndarray] = dict(
        zip(OWN, map(np.ascontiguousarray, part.rows[:3]), strict=True)
    )  # at full width: all need them
    seen: dict[int, str | None] = {}
    columns = []
    for place, (name, column) in enumerate(part.rows.columns.items()):
        if id(column.rows) not in seen:
            whole = len(column.rows) == len(part.rows.step)
            seen[id(column.rows)] = None if whole else f"rows{place}"
            arrays |= {} if whole else {f"rows{place}": narrowed(column.rows)}
        columns.append([name, seen[id(column.rows)]])
        arrays[f"value{place}"] = narrowed(column.values)
    told = {"version": VERSION, "log": log, "hash": part.hash, "check": check(arrays)}
    told |= {"columns": json.dumps(columns), "left_out": json.dumps(part.left_out)}
    told |= {"start": str(part.start), "end": str(part.end), "size": str(stamp.size), "mtime_ns": str(stamp.mtime_ns)}
    file = file_of(log, number)
    try:
        write(file, save(arrays, told))
        return part._replace(rows=rows_of(*mapped(file)))
    except (OSError, UnicodeError):
        return part


def write(file: str, content: bytes) -> None:
    """Whole or not at all, whoever else writes the same."""
    os.makedirs(os.path.dirname(file), exist_ok=True)
    handle, name = tempfile.mkstemp(dir=os.path.dirname(file))
    try:
        with os.fdopen(handle, "wb") as opened:
            opened.write(content)
        os.replace(name, file)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def narrowed(values: np.ndarray) -> np.ndarray:
    """With half the bits, where that changes none of the values."""
    with np.errstate(over="ignore", invalid="ignore"):
        half = values.astype(np.int32 if values.dtype.kind == "i" else np.float32)
    same = np.array_equal(half.astype(values.dtype).view(np.int64), values.view(np.int64))  # NaN is NaN
    return half if same else np.ascontiguousarray(values)


def check(arrays: Mapping[str, np.ndarray]) -> str:
    made = xxhash.xxh3_128()
    for name in sorted(arrays):
        made.update(name.encode())
        made.update(arrays[name].data)
    return made.hexdigest()


def make_room() -> None:
    """Removes the files that were written first, until the rest is at most MOST_BYTES."""
    found: list[tuple[float, int, str]] = []
    with contextlib.suppress(OSError), os.scandir(folder()) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # another process may have removed it
                found.append((entry.stat().st_mtime, entry.stat().st_size, entry.path))
    found.sort()
    over = sum(size for _, size, _ in found) - MOST_BYTES
    for _, size, path in found:
        if over <= 0:
            return
        with contextlib.suppress(OSError):
            os.unlink(path)
        over -= size
