"""Safetensors files, mapped into memory: 8 bytes of header length, a JSON header, then the tensors' bytes.

The header is hostile until checked: nothing is allocated, and no tensor touched, before its length, offsets, types and
shapes agree with each other and with the size of the file.
"""

import json
import math
import mmap
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import ml_dtypes
import numpy as np

from gptjax.config import BadInput

MAX_HEADER = 100_000_000  # bytes, as the reference implementation has it
MAX_RANK = 8
DTYPES: dict[str, np.dtype] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "U8": np.dtype("u1"),  # of causal masks, which old files hold beside the weights
    "BOOL": np.dtype("?"),
}
OTHERS = {"F64": 8, "I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1}


class Entry(NamedTuple):
    dtype: str
    shape: tuple[int, ...]
    start: int  # in the file
    stop: int


class TensorFile:
    """One file, opened and checked. Raises BadInput where it is not a whole safetensors file."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        try:
            with open(path, "rb") as file:
                self.size = file.seek(0, 2)
                if self.size < 8:
                    raise BadInput(f"{path}: has {self.size} bytes, too few for a safetensors file")
                self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise BadInput(f"{path}: {error.strerror}") from error
        try:
            self.entries = self.read_header()
        except BadInput as error:
            self.map.close()
            raise BadInput(f"{path}: {error}") from None

    def read_header(self) -> dict[str, Entry]:
        length = int.from_bytes(self.map[:8], "little")
        if length > min(MAX_HEADER, self.size - 8):
            raise BadInput(
                f"its header claims {length:,} bytes, but the file has {self.size:,}; is the download whole?"
            )
        try:
            header = json.loads(self.map[8 : 8 + length].decode(), object_pairs_hook=without_repeats)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"its header is not JSON ({' '.join(str(error).split())[:100]})") from None
        if not isinstance(header, dict):
            raise BadInput("its header is not a JSON object")
        header.pop("__metadata__", None)
        entries = {name: entry_of(name, found, 8 + length) for name, found in header.items()}
        end = 8 + length
        for name, entry in sorted(entries.items(), key=lambda item: item[1].start):
            if entry.start < end:
                raise BadInput(f"{name} overlaps what lies before it")
            if entry.start > end:
                raise BadInput(f"{entry.start - end:,} bytes before {name} belong to no tensor")
            end = entry.stop
        if end != self.size:
            raise BadInput(f"its tensors end at byte {end:,}, the file at {self.size:,}; is the download whole?")
        return entries

    def view(self, name: str) -> np.ndarray:
        """The tensor as it lies in the file; nothing is read before it is used."""
        entry = self.entries[name]
        dtype = DTYPES[entry.dtype]
        n_items = math.prod(entry.shape)
        return np.frombuffer(self.map, dtype, n_items, entry.start).reshape(entry.shape)

    def forget(self, name: str) -> None:
        """Gives back the memory that the pages of a tensor took when they were read."""
        if hasattr(mmap, "MADV_DONTNEED"):
            entry = self.entries[name]
            start = entry.start // mmap.PAGESIZE * mmap.PAGESIZE
            self.map.madvise(mmap.MADV_DONTNEED, start, entry.stop - start)


def without_repeats(pairs: list[tuple]) -> dict:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found


def entry_of(name: str, found: object, first: int) -> Entry:
    """One tensor's row of the header, its offsets counted from the start of the file."""
    if not isinstance(found, dict) or not {"dtype", "shape", "data_offsets"} <= found.keys():
        raise BadInput(f"{name[:100]} lacks dtype, shape or data_offsets")
    dtype, shape, offsets = found["dtype"], found["shape"], found["data_offsets"]
    if dtype not in (*DTYPES, *OTHERS):
        raise BadInput(f"{name} has the unknown dtype {str(dtype)[:40]!r}")
    if not naturals(shape) or len(shape) > MAX_RANK:
        raise BadInput(f"{name} has the impossible shape {str(shape)[:100]}")
    if not naturals(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise BadInput(f"{name} has the impossible data_offsets {str(offsets)[:100]}")
    width = DTYPES[dtype].itemsize if dtype in DTYPES else OTHERS[dtype]
    needed = math.prod(shape) * width
    if offsets[1] - offsets[0] != needed:
        raise BadInput(f"{name} is {dtype} of shape {shape}, {needed} bytes, but has {offsets[1] - offsets[0]}")
    return Entry(dtype, tuple(shape), first + offsets[0], first + offsets[1])


def naturals(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


class Tensors:
    """The tensors of a model folder, whichever of its files each lies in."""

    def __init__(self, home: Mapping[str, TensorFile]):
        self.home = home

    def __contains__(self, name: str) -> bool:
        return name in self.home

    def __iter__(self) -> Iterator[str]:
        return iter(self.home)

    def entry(self, name: str) -> Entry:
        """Its row of its file's header. Here and below KeyError where no file has it."""
        return self.home[name].entries[name]

    def where(self, name: str) -> str:
        """The file and the name, for messages."""
        return f"{self.home[name].path}: {name}"

    def view(self, name: str) -> np.ndarray:
        """The tensor as it lies in its file; nothing is read before it is used."""
        return self.home[name].view(name)

    def forget(self, name: str) -> None:
        """Gives back the memory that its pages took when they were read."""
        self.home[name].forget(name)


SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
CONVERT = (
    "python -c \"from transformers import AutoModelForCausalLM as M; M.from_pretrained('{0}').save_pretrained('{0}')\""
)


def open_folder(folder: pathlib.Path) -> Tensors:
    """model.safetensors, or the files that model.safetensors.index.json names. Raises BadInput."""
    if (folder / SINGLE).is_file():
        file = TensorFile(folder / SINGLE)
        return Tensors({name: file for name in file.entries})
    if not (folder / INDEX).is_file():
        pickles = sorted(path.name for path in folder.glob("pytorch_model*.bin*"))
        if pickles:
            raise BadInput(
                f"{folder}/{pickles[0]}: is a pickle, which can execute code; where torch and transformers are, "
                f"convert it: {CONVERT.format(folder)}"
            )
        raise BadInput(f"{folder}: has no {SINGLE} (nor {INDEX})")
    home: dict[str, TensorFile] = {}
    weight_map = read_index(folder / INDEX)
    files = {file: TensorFile(folder / file) for file in sorted(set(weight_map.values()))}
    for name, file in weight_map.items():
        if name not in files[file].entries:
            raise BadInput(f"{folder / INDEX}: places {name} in {file}, which lacks it")
        home[name] = files[file]
    return Tensors(home)


def read_index(path: pathlib.Path) -> dict[str, str]:
    """{tensor: file} of an index; a file is a plain name in the same folder."""
    try:
        weight_map = json.loads(path.read_bytes())["weight_map"]
        plain = all(
            file == pathlib.PurePath(file).name and file.endswith(".safetensors") for file in weight_map.values()
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(f"{path}: is not an index with a weight_map ({type(error).__name__})") from error
    if not plain:
        raise BadInput(f"{path}: weight_map may name only .safetensors files of its own folder")
    return weight_map


def write(path: pathlib.Path, shapes: Mapping[str, tuple[int, ...]], arrays: Iterable[np.ndarray]) -> None:
    """A file of float32 tensors, one in memory at a time; `arrays` come in the order of `shapes`."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for shape, array in zip(shapes.values(), arrays, strict=True):
            if array.shape != shape:
                raise ValueError(f"{path}: got {array.shape} for {shape}")
            file.write(np.ascontiguousarray(array, "<f4").data)
