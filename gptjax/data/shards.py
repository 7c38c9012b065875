"""Making a store: a corpus tokenised once into `E doc E doc ... E` (E = end_of_text), in shards that store.py reads.

A store is a folder named by the hash of what its tokens depend on: the text, the tokenizer and the format. Its manifest
is written last, so a folder with a manifest is complete.
"""

import fcntl
import hashlib
import itertools
import json
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Int32

from gptjax.config import BadInput
from gptjax.data import checks
from gptjax.data.alphabets import Tokenizer
from gptjax.data.checks import shard_name
from gptjax.data.documents import Corpus, Piece
from gptjax.data.store import FORMAT, Store, check_sizes, open_store, signed
from gptjax.progress import progress_line

SHARD_TOKENS = 2**26  # in each file but the last
GROUP_CHARS = 2**22  # of text tokenised at once: bounds memory; Rust tokenizers encode its pieces in parallel


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


def tokenise(corpus: Corpus, split: str, tokenizer: Tokenizer, folder: pathlib.Path, progress: bool) -> None:
    """Writes the shards and then the manifest of a folder, going on from its journal if it has one."""
    dtype = np.min_scalar_type(tokenizer.vocab_size - 1)  # uint8, uint16 or uint32
    done = write_shards(corpus, split, tokenizer, folder, dtype, progress)
    if done["n_bytes"] == 0:
        raise BadInput(f"corpus {corpus.name}: its {split} split holds no text")
    manifest = {
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
    write_manifest(folder, manifest)
    (folder / "journal.json").unlink(missing_ok=True)


def write_manifest(folder: pathlib.Path, manifest: dict) -> None:
    """Makes the shards that lie in a folder a store; the format and the hashes are added."""
    sums = hashlib.sha256((folder / checks.NAME).read_bytes()).hexdigest()
    write_json(folder / "manifest.json", signed({"format": FORMAT, **manifest, "checks_sha256": sums}))


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
    shard = OpenShard(folder, shards, dtype)
    with progress_line(f"tokenising {corpus.name}/{split}", progress) as show:
        for pieces, ids in encoded(corpus, split, tokenizer, done["n_pieces"]):
            start = min(to_drop, len(ids))
            to_drop -= start
            while len(ids) - start >= SHARD_TOKENS - shard.n_tokens:
                stop = start + SHARD_TOKENS - shard.n_tokens
                shard.write(ids[start:stop])
                shards.append(shard.finish())
                write_json(journal, done | {"n_extra": stop})
                shard, start = OpenShard(folder, shards, dtype), stop
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

    def __init__(self, folder: pathlib.Path, before: list[dict], dtype: np.dtype):
        self.file, self.dtype = folder / shard_name(len(before)), dtype.newbyteorder("<")
        self.checks_at = 4 * sum(checks.n_blocks(shard["n_tokens"] * dtype.itemsize) for shard in before)
        self.file.unlink(missing_ok=True)  # what a process wrote before it was killed
        self.hash, self.sums, self.n_tokens = hashlib.sha256(), checks.Sums(), 0

    def write(self, ids: Int32[np.ndarray, " n"]) -> None:
        data = ids.astype(self.dtype).tobytes()
        with self.file.open("ab") as stream:
            stream.write(data)
        self.hash.update(data)
        self.sums.add(data)
        self.n_tokens += len(ids)

    def finish(self) -> dict:
        with self.file.open("rb+") as stream:
            os.fsync(stream.fileno())
        checks.append(self.file.parent, self.checks_at, self.sums.packed())
        return {"file": self.file.name, "n_tokens": self.n_tokens, "sha256": self.hash.hexdigest()}


def write_json(file: pathlib.Path, value: dict) -> None:
    """Replaces the file at once: a reader, or a restart after a crash, sees the old text or the new."""
    part = file.with_suffix(".part")
    with part.open("w") as stream:
        json.dump(value, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    part.rename(file)
