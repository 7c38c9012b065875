"""A store of tokens, opened: memory-mapped shards, each block of which is checked when it is read first.

In its folder lie `tokens-00000.bin`, ... (raw little-endian unsigned integers), `checks.bin` (checks.py) and
`manifest.json`, which holds a hash of itself. Opening compares the size of every file with the manifest and reads
none; `verify` reads and hashes them all.
"""

import bisect
import functools
import hashlib
import itertools
import json
import mmap
import pathlib
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int32, Int64, UInt

from gptjax.config import BadInput
from gptjax.data import checks

FORMAT = 2  # of the files; raise it when their meaning changes, and every store is built anew
OPEN_MAPS = 64  # memory maps a store keeps open, as each holds a file descriptor; opening another takes 30 microseconds
KINDS = {  # what the manifest must hold for reading, with its types
    "corpus": str, "split": str, "dtype": str, "n_tokens": int, "end_of_text": int, "shards": list,
    "checks_sha256": str, "sha256": str,
}  # fmt: skip
SHARD_KINDS = {"file": str, "n_tokens": int, "sha256": str}


class Store:
    """A stream of tokens, memory-mapped from the shards of a folder; `manifest` says where they came from.

    What is read is checked when it is read first: BadInput names the file and the bytes that are not what was written.
    """

    def __init__(self, folder: pathlib.Path, manifest: dict):
        self.folder, self.manifest = folder, manifest
        self.n_tokens: int = manifest["n_tokens"]
        self.dtype = np.dtype(manifest["dtype"]).newbyteorder("<")
        self.borders = [0, *itertools.accumulate(shard["n_tokens"] for shard in manifest["shards"])]
        sizes = [shard["n_tokens"] * self.dtype.itemsize for shard in manifest["shards"]]
        self.checks = checks.Checks(folder, manifest["checks_sha256"], sizes)
        self.shard = functools.lru_cache(OPEN_MAPS)(self.open_shard)

    def open_shard(self, index: int) -> mmap.mmap:
        with (self.folder / checks.shard_name(index)).open("rb") as stream:
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        mapped.madvise(mmap.MADV_RANDOM)  # or a first touch reads the disk's read-ahead too: 8 MiB where measured
        return mapped

    def stored(self, start: int, stop: int) -> bytes:
        """Tokens `start` to `stop`, or to the end of the stream where that comes first, as they lie in the files."""
        found, size = b"", self.dtype.itemsize
        while start < min(stop, self.n_tokens):
            index = bisect.bisect_right(self.borders, start) - 1
            border, end = self.borders[index], min(stop, self.borders[index + 1])
            mapped, first, last = self.shard(index), (start - border) * size, (end - border) * size
            self.checks.hold(index, mapped, first, last)
            found += mapped[first:last]
            start = end
        return found

    def read(self, start: int, stop: int) -> Int32[np.ndarray, " n"]:
        """Tokens `start` to `stop`, or to the end of the stream where that comes first."""
        return np.frombuffer(self.stored(start, stop), self.dtype).astype(np.int32)

    def windows(self, starts_B: Int64[np.ndarray, " B"], length: int) -> UInt[np.ndarray, "B L"]:
        """The `length` tokens from each start, of `dtype`; past the end of the stream stands end_of_text.

        Joined as bytes: for windows of 257 tokens that is twice as fast as a slice of an array for each.
        """
        padding = np.full(length, self.manifest["end_of_text"], self.dtype).tobytes()
        rows = [self.stored(start, start + length) for start in starts_B.tolist()]
        found = b"".join(row + padding[len(row) :] for row in rows)
        return np.frombuffer(found, self.dtype).reshape(-1, length)


def open_store(folder: pathlib.Path) -> Store:
    """A finished store; raises BadInput where the manifest or the size of a file is wrong."""
    file = folder / "manifest.json"
    if not file.is_file():
        raise BadInput(f"{folder} is not a token store: it has no manifest.json")
    manifest = read_manifest(file)
    check_sizes(folder, manifest["shards"], np.dtype(manifest["dtype"]))
    total = sum(shard["n_tokens"] for shard in manifest["shards"])
    if total != manifest["n_tokens"]:
        raise BadInput(f"{file} is damaged: its shards hold {total} tokens, not {manifest['n_tokens']}")
    return Store(folder, manifest)


def read_manifest(file: pathlib.Path) -> dict:
    """The manifest, once its hash, its keys and their types are what they must be; raises BadInput."""
    again = f"delete {file.parent} to build it again"
    try:
        manifest = json.loads(file.read_bytes())
        found = manifest["format"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise BadInput(f"{file} is damaged: not a manifest; {again}") from error
    if found != FORMAT:
        raise BadInput(f"{file} has format {found!r}, this version reads {FORMAT}; {again}")
    for key, kind in KINDS.items():
        if key not in manifest or type(manifest[key]) is not kind:
            raise BadInput(f"{file} is damaged: {key} is not {kind.__name__}; {again}")
    for shard in manifest["shards"]:
        if not isinstance(shard, dict) or {key: type(value) for key, value in shard.items()} != SHARD_KINDS:
            raise BadInput(f"{file} is damaged: {shard!r} is no shard; {again}")
    if signed(manifest)["sha256"] != manifest["sha256"]:
        raise BadInput(f"{file} is damaged: its hash of itself does not hold; {again}")
    if manifest["dtype"] not in ("uint8", "uint16", "uint32"):
        raise BadInput(f"{file} is damaged: dtype is {manifest['dtype']!r}; {again}")
    if not 0 <= manifest["end_of_text"] <= np.iinfo(manifest["dtype"]).max:
        raise BadInput(f"{file} is damaged: end_of_text is {manifest['end_of_text']}; {again}")
    return manifest


def signed(manifest: Mapping) -> dict:
    """The manifest with the hash of all the rest of it as `sha256`."""
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return rest | {"sha256": hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()}


def verify(store: Store) -> None:
    """Reads every shard; raises BadInput naming the first that is not what was written, with the bytes where it can."""
    for index, shard in enumerate(store.manifest["shards"]):
        store.checks.hold(index, store.open_shard(index), 0, shard["n_tokens"] * store.dtype.itemsize)
        file = store.folder / shard["file"]
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != shard["sha256"]:
            raise BadInput(
                f"{file} is damaged: its sha256 is {found}, not {shard['sha256']}; "
                f"delete {store.folder} to build it again"
            )


def check_sizes(folder: pathlib.Path, shards: list[dict], dtype: np.dtype) -> None:
    """Raises BadInput, which names the file, unless every shard has the size that the manifest says."""
    for index, shard in enumerate(shards):
        file, expected = folder / checks.shard_name(index), shard["n_tokens"] * dtype.itemsize
        if shard["file"] != file.name:
            raise BadInput(f"{folder} is damaged: shard {index} is called {shard['file']!r}, not {file.name!r}")
        found = file.stat().st_size if file.is_file() else 0
        if found != expected:
            raise BadInput(
                f"{file} is damaged: {found} bytes, expected {expected} for {shard['n_tokens']} tokens; "
                f"delete {folder} to build it again"
            )
