"""Tokens on disk: a corpus tokenised once into `E doc E doc ... E` (E = end_of_text), in hashed, memory-mapped shards.

A store is a folder named by the hash of what its tokens depend on: the text, the tokenizer and this format. In it lie
`tokens-00000.bin`, ... (raw little-endian unsigned integers) and `manifest.json`, written last, so a folder with a
manifest is complete. Opening compares the size of every file with the manifest; only `verify` reads and hashes them.
"""

import bisect
import contextlib
import fcntl
import functools
import hashlib
import itertools
import json
import mmap
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from jaxtyping import Int32, Int64, UInt
from rich.console import Console
from rich.progress import BarColumn, Progress, TimeElapsedColumn

from gptjax.config import BadInput
from gptjax.data.alphabets import Tokenizer
from gptjax.data.documents import Corpus, Piece

FORMAT = 1  # of the files; raise it when their meaning changes, and every store is built anew
SHARD_TOKENS = 2**26  # in each file but the last
GROUP_CHARS = 2**22  # of text tokenised at once: bounds memory; Rust tokenizers encode its pieces in parallel
OPEN_MAPS = 64  # memory maps a store keeps open, as each holds a file descriptor; opening another takes 30 microseconds


class Store:
    """A stream of tokens, memory-mapped from the shards of a folder; `manifest` says where they came from."""

    def __init__(self, folder: pathlib.Path, manifest: dict):
        self.folder, self.manifest = folder, manifest
        self.n_tokens: int = manifest["n_tokens"]
        self.dtype = np.dtype(manifest["dtype"]).newbyteorder("<")
        self.borders = [0, *itertools.accumulate(shard["n_tokens"] for shard in manifest["shards"])]
        self.shard = functools.lru_cache(OPEN_MAPS)(self.open_shard)

    def open_shard(self, index: int) -> mmap.mmap:
        with (self.folder / shard_name(index)).open("rb") as stream:
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        mapped.madvise(mmap.MADV_RANDOM)  # or a first touch reads the disk's read-ahead too: 8 MiB where measured
        return mapped

    def stored(self, start: int, stop: int) -> bytes:
        """Tokens `start` to `stop`, or to the end of the stream where that comes first, as they lie in the files."""
        found, size = b"", self.dtype.itemsize
        while start < min(stop, self.n_tokens):
            index = bisect.bisect_right(self.borders, start) - 1
            border, end = self.borders[index], min(stop, self.borders[index + 1])
            found += self.shard(index)[(start - border) * size : (end - border) * size]
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


def build(corpus: Corpus, split: str, tokenizer: Tokenizer, cache: pathlib.Path, *, progress: bool = True) -> Store:
    """The store of a split under `cache`, tokenised now if it is not there yet.

    May be killed at any moment: the next call keeps the finished shards and goes on after them. Of several processes
    one builds and the others wait. Raises BadInput for an empty corpus, for ids the tokenizer should not give, and for
    a store that is there but damaged.
    """
    fingerprints = [str(FORMAT), corpus.fingerprint(split), tokenizer.fingerprint]
    folder = cache / hashlib.sha256("\n".join(fingerprints).encode()).hexdigest()[:32]
    if not (folder / "manifest.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:  # the kernel lets go of it when its holder dies
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"waiting for another process that tokenises {corpus.name}/{split}", file=sys.stderr)
                fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / "manifest.json").exists():
                tokenise(corpus, split, tokenizer, folder, progress)
    return open_store(folder)


def open_store(folder: pathlib.Path) -> Store:
    """A finished store; raises BadInput where the manifest or the size of a file is wrong."""
    file = folder / "manifest.json"
    if not file.is_file():
        raise BadInput(f"{folder} is not a token store: it has no manifest.json")
    try:
        manifest = json.loads(file.read_bytes())
        found = manifest["format"]
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{file} is damaged: not a manifest; delete {folder} to build it again") from error
    if found != FORMAT:
        raise BadInput(f"{file} has format {found!r}, this version reads {FORMAT}; delete {folder} to build it again")
    check_sizes(folder, manifest["shards"], np.dtype(manifest["dtype"]))
    total = sum(shard["n_tokens"] for shard in manifest["shards"])
    if total != manifest["n_tokens"]:
        raise BadInput(f"{file} is damaged: its shards hold {total} tokens, not {manifest['n_tokens']}")
    return Store(folder, manifest)


def verify(store: Store) -> None:
    """Reads every shard; raises BadInput naming the first whose hash is not the manifest's."""
    for shard in store.manifest["shards"]:
        file = store.folder / shard["file"]
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != shard["sha256"]:
            raise BadInput(
                f"{file} is damaged: its sha256 is {found}, not {shard['sha256']}; "
                f"delete {store.folder} to build it again"
            )


def check_sizes(folder: pathlib.Path, shards: list[dict], dtype: np.dtype) -> None:
    for index, shard in enumerate(shards):
        file, expected = folder / shard_name(index), shard["n_tokens"] * dtype.itemsize
        if shard["file"] != file.name:
            raise BadInput(f"{folder} is damaged: shard {index} is called {shard['file']!r}, not {file.name!r}")
        found = file.stat().st_size if file.is_file() else 0
        if found != expected:
            raise BadInput(
                f"{file} is damaged: {found} bytes, expected {expected} for {shard['n_tokens']} tokens; "
                f"delete {folder} to build it again"
            )


def shard_name(index: int) -> str:
    return f"tokens-{index:05d}.bin"


def tokenise(corpus: Corpus, split: str, tokenizer: Tokenizer, folder: pathlib.Path, progress: bool) -> None:
    """Writes the shards and then the manifest of a folder, going on from its journal if it has one."""
    dtype = np.min_scalar_type(tokenizer.vocab_size - 1)  # uint8, uint16 or uint32
    done = write_shards(corpus, split, tokenizer, folder, dtype, progress)
    if done["n_bytes"] == 0:
        raise BadInput(f"corpus {corpus.name}: its {split} split holds no text")
    manifest = {
        "format": FORMAT,
        "corpus": corpus.name,
        "split": split,
        "tokenizer": tokenizer.name,
        "fingerprint": {"corpus": corpus.fingerprint(split), "tokenizer": tokenizer.fingerprint},
        "dtype": dtype.name,
        "n_tokens": sum(shard["n_tokens"] for shard in done["shards"]),
        "n_documents": done["n_documents"],
        "n_bytes": done["n_bytes"],
        "end_of_text": tokenizer.end_of_text,
        "shards": done["shards"],
    }
    write_json(folder / "manifest.json", manifest)
    (folder / "journal.json").unlink(missing_ok=True)


def write_shards(
    corpus: Corpus, split: str, tokenizer: Tokenizer, folder: pathlib.Path, dtype: np.dtype, progress: bool
) -> dict:
    """Writes the shards that are not finished yet; returns the counts and the list of all shards.

    At each finished shard the journal says how much text came before the group being written, and how many tokens of
    that group (`n_extra`) the finished shards hold: a restart skips the text and drops the tokens.
    """
    journal = folder / "journal.json"
    done = {"n_pieces": 0, "n_documents": 0, "n_bytes": 0, "n_extra": 0, "shards": []}
    if journal.exists():
        done = json.loads(journal.read_bytes())
        check_sizes(folder, done["shards"], dtype)
    shards, to_drop = done["shards"], done["n_extra"]
    shard = OpenShard(folder, len(shards), dtype)
    with progress_line(f"tokenising {corpus.name}/{split}", progress) as show:
        for pieces, ids in encoded(corpus, split, tokenizer, done["n_pieces"]):
            start = min(to_drop, len(ids))
            to_drop -= start
            while len(ids) - start >= SHARD_TOKENS - shard.n_tokens:
                stop = start + SHARD_TOKENS - shard.n_tokens
                shard.write(ids[start:stop])
                shards.append(shard.finish())
                write_json(journal, done | {"n_extra": stop})
                shard, start = OpenShard(folder, len(shards), dtype), stop
            shard.write(ids[start:])
            done["n_pieces"] += len(pieces)
            done["n_documents"] += sum(piece.first for piece in pieces)
            done["n_bytes"] += sum(len(piece.text.encode()) for piece in pieces)
            show(f"{done['n_bytes'] / 1e6:,.1f} MB of text")
    shards += [shard.finish()] if shard.n_tokens else []
    return done


def encoded(
    corpus: Corpus, split: str, tokenizer: Tokenizer, n_pieces: int
) -> Iterator[tuple[list[Piece], Int32[np.ndarray, " n"]]]:
    """Groups of pieces, from the piece numbered `n_pieces` on, and the tokens they become.

    The last group has no pieces: it is the end_of_text that closes the stream.
    """
    end_of_text = np.array([tokenizer.end_of_text], np.int32)
    for pieces in groups(itertools.islice(corpus.documents(split), n_pieces, None)):
        parts = []
        for piece, ids in zip(pieces, tokenizer.encode_batch([piece.text for piece in pieces]), strict=True):
            parts += [end_of_text, ids] if piece.first else [ids]
        ids = np.concatenate(parts)
        if len(wrong := ids[(ids < 0) | (ids >= tokenizer.vocab_size)]):
            raise BadInput(
                f"corpus {corpus.name}: tokenizer {tokenizer.name} gives id {wrong[0]}; "
                f"its vocab_size is {tokenizer.vocab_size}"
            )
        if np.count_nonzero(ids == end_of_text) != sum(piece.first for piece in pieces):
            raise BadInput(
                f"corpus {corpus.name}: {split} text near document {pieces[0].document!r} spells the end_of_text "
                f"({tokenizer.end_of_text}) of tokenizer {tokenizer.name}, which only documents' borders may hold"
            )
        yield pieces, ids
    yield [], end_of_text


def groups(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Runs of pieces, each of about GROUP_CHARS characters."""
    group, n_chars = [], 0
    for piece in pieces:
        group.append(piece)
        n_chars += len(piece.text)
        if n_chars >= GROUP_CHARS:
            yield group
            group, n_chars = [], 0
    if group:
        yield group


class OpenShard:
    """A shard being written. It counts as finished when the journal or the manifest names it, and not before."""

    def __init__(self, folder: pathlib.Path, index: int, dtype: np.dtype):
        self.file, self.dtype = folder / shard_name(index), dtype.newbyteorder("<")
        self.file.unlink(missing_ok=True)  # what a process wrote before it was killed
        self.hash, self.n_tokens = hashlib.sha256(), 0

    def write(self, ids: Int32[np.ndarray, " n"]) -> None:
        data = ids.astype(self.dtype).tobytes()
        with self.file.open("ab") as stream:
            stream.write(data)
        self.hash.update(data)
        self.n_tokens += len(ids)

    def finish(self) -> dict:
        with self.file.open("rb+") as stream:
            os.fsync(stream.fileno())
        return {"file": self.file.name, "n_tokens": self.n_tokens, "sha256": self.hash.hexdigest()}


def write_json(file: pathlib.Path, value: dict) -> None:
    """Replaces the file at once: a reader, or a restart after a crash, sees the old text or the new."""
    part = file.with_suffix(".part")
    with part.open("w") as stream:
        json.dump(value, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    part.rename(file)


@contextlib.contextmanager
def progress_line(title: str, shown: bool) -> Iterator[Callable[[str], None]]:
    """`show(text)` moves a bar on a terminal and prints a plain line now and then elsewhere; silent for 2 seconds."""
    columns = "{task.description}", BarColumn(), "{task.fields[text]}", TimeElapsedColumn()
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(title, total=None, text="")
    started, next_line = time.monotonic(), 2.0

    def show(text: str) -> None:
        nonlocal next_line
        seconds = time.monotonic() - started
        if shown and seconds >= 2 and bar.console.is_terminal:
            bar.start()
            bar.update(task, text=text)
        elif shown and seconds >= next_line:
            print(f"{title}: {text} in {seconds:.0f} s", file=sys.stderr)
            next_line = seconds + 30

    try:
        yield show
    finally:
        if bar.live.is_started:
            bar.stop()
