"""TensorBoard event files: scalars, as tensorboardX, PyTorch and TensorFlow write them.

An event file is a sequence of TFRecords, each an Event message: 8 bytes of length, the masked CRC-32C of these, the
message, the masked CRC-32C of it (github.com/tensorflow/tensorflow, lib/io/record_writer). The messages and CRC-32C are
tensorboardX's, which writes ours.
"""

import collections
import importlib
import pathlib
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from gptjax.analysis.foreign.imported import Imported

MASK = 0xA282EAD8  # added to a CRC that is rotated by 15 bits
TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}  # DT_FLOAT, DT_DOUBLE, DT_INT32, DT_INT64 of TensorFlow
CUT = "last record not whole"
DAMAGED = "damaged records"
NO_SCALAR = "values that are no number"


def tells(path: pathlib.Path, head: bytes) -> bool:
    """Whether this is an event file, or a folder of them: a first record that says its version."""
    if path.is_dir():
        return any(path.rglob("*tfevents*"))
    return head[24:].startswith(b"brain.Event:") or b"brain.Event:" in head[:64]


def read(path: pathlib.Path) -> list[Imported]:
    """A run for each folder that has event files; the lines of all files of a folder go by their time."""
    files = sorted(path.rglob("*tfevents*")) if path.is_dir() else [path]
    folders: dict[pathlib.Path, list[pathlib.Path]] = collections.defaultdict(list)
    for file in files:
        if file.is_file():
            folders[file.parent].append(file)
    several = len(folders) > 1
    return [
        read_files(names, folder.relative_to(path).as_posix() if several else "") for folder, names in folders.items()
    ]


def read_files(files: list[pathlib.Path], name: str) -> Imported:
    found = Imported([], name)
    events = [event for file in files for event in read_events(file, found.left_out)]
    for event in events:
        scalars = {}
        for value in event.summary.value:
            if (number := scalar(value)) is None:
                found.left_out[NO_SCALAR] += 1
            else:
                scalars[value.tag] = number
        if scalars:
            found.objects.append({"step": event.step, "time_s": event.wall_time, **scalars})
    found.objects.sort(key=lambda line: line["time_s"])  # files of one folder may have been written side by side
    zero = found.objects[0]["time_s"] if found.objects else 0.0
    for line in found.objects:
        line["time_s"] -= zero
    return found


def read_events(file: pathlib.Path, left_out: collections.Counter[str]) -> Iterator[Any]:
    from google.protobuf.message import DecodeError

    messages = importlib.import_module("tensorboardX.proto.event_pb2")  # made by protoc: no checker sees its names
    for record in records(file.read_bytes(), left_out):
        try:
            yield messages.Event.FromString(record)
        except DecodeError:
            left_out[DAMAGED] += 1


def records(content: bytes, left_out: collections.Counter[str]) -> Iterator[bytes]:
    """The records whose sums are right. After a length that is damaged nothing more can be found."""
    at = 0
    while at < len(content):
        header = content[at : at + 12]
        if len(header) < 12:
            left_out[CUT] += 1
            return
        length, of_length = struct.unpack("<QI", header)
        if masked(header[:8]) != of_length:
            left_out[DAMAGED] += 1
            return
        record, tail = content[at + 12 : at + 12 + length], content[at + 12 + length : at + 16 + length]
        if len(tail) < 4:
            left_out[CUT] += 1
            return
        if struct.pack("<I", masked(record)) == tail:
            yield record
        else:
            left_out[DAMAGED] += 1
        at += 16 + length


def masked(data: bytes) -> int:
    from tensorboardX.crc32c import crc32c

    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + MASK) & 0xFFFFFFFF


def scalar(value: Any) -> float | None:
    """The number of a summary's value: the old field, or a tensor of one number; None for an image, a text ..."""
    kind = value.WhichOneof("value")
    if kind == "simple_value":
        return value.simple_value
    if kind != "tensor" or value.tensor.dtype not in TYPES:
        return None
    tensor = value.tensor
    if tensor.tensor_content:
        numbers = np.frombuffer(tensor.tensor_content, TYPES[tensor.dtype])
    else:
        numbers = [*tensor.float_val, *tensor.double_val, *tensor.int_val, *tensor.int64_val]
    return float(numbers[0]) if len(numbers) == 1 else None
