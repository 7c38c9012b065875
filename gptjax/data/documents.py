"""What every corpus gives: documents in pieces, in two splits, with a fingerprint; and how text is held out."""

import hashlib
import json
import os
import pathlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from io import BufferedIOBase
from typing import NamedTuple

from gptjax.config import BadInput

PIECE_BYTES = 2**20  # of text in memory at once; a longer document comes in several pieces
MANY = 200  # from so many documents on, whole ones are held out
RULES = 1  # of cutting and holding out; raise it when they change, so that no remembered fingerprint is used
BOM = b"\xef\xbb\xbf"
UTF16 = (b"\xff\xfe", b"\xfe\xff")  # its byte order marks, which no UTF-8 begins with


class Piece(NamedTuple):
    """A document, or a part of one; the texts of its pieces, joined, are the document."""

    document: str
    text: str
    first: bool  # it opens a new document


class Source(NamedTuple):
    """A document not yet read; `where` names it in errors."""

    document: str
    where: str
    open: Callable[[], BufferedIOBase]


class Corpus:
    """Text in two splits, "train" and "valid". Nothing is read before it is asked for, and never all at once."""

    splits = ("train", "valid")
    files: tuple[pathlib.Path, ...] = ()  # where these stand unchanged, so does a fingerprint that was remembered

    def __init__(self, name: str, cache: pathlib.Path | None, provenance: dict):
        self.name, self.cache, self.provenance = name, cache, provenance

    def documents(self, split: str) -> Iterator[Piece]:
        """The pieces of every document, always in the same order. No piece is empty and none holds U+0000."""
        raise NotImplementedError

    def fingerprint(self, split: str) -> str:
        """Sha256 of the documents' names and texts in order. Raises BadInput where the split holds no text.

        Of a corpus in files it is remembered in the cache folder, by the path, size and modification time of each.
        """
        stamps = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in self.files]
        key = hashlib.sha256(json.dumps([RULES, self.name, split, stamps]).encode()).hexdigest()
        memory = self.cache / "fingerprints" / f"{key}.json" if self.cache and stamps else None
        if memory and (found := remembered(memory)):
            return found
        digest = hashlib.sha256()
        n_bytes = 0
        for piece in self.documents(split):
            text = piece.text.encode()
            digest.update(f"\0{piece.document}\0".encode() * piece.first + text)  # no text holds a NUL
            n_bytes += len(text)
        if not n_bytes:
            rest = "" if split == "train" else "; there is too little text to hold any out"
            raise BadInput(f"corpus {self.name}: its {split} split is empty{rest}")
        if memory:
            memory.parent.mkdir(parents=True, exist_ok=True)
            part = memory.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
            part.write_text(json.dumps({"corpus": self.name, "split": split, "sha256": digest.hexdigest()}))
            part.replace(memory)
        return digest.hexdigest()


def remembered(memory: pathlib.Path) -> str:
    """The fingerprint that was written there; empty where there is none, or not a whole one."""
    try:
        found = json.loads(memory.read_bytes())["sha256"]
        return found if re.fullmatch("[0-9a-f]{64}", found) else ""
    except (OSError, KeyError, TypeError, ValueError, RecursionError):
        return ""


def pieces(source: Source, stream: BufferedIOBase, start: int, stop: int) -> Iterator[Piece]:
    """The text between two byte offsets; raises BadInput, with the offset, for what is not UTF-8 and for U+0000.

    Every byte is kept, but for a byte order mark at the start.
    """
    stream.seek(0)
    if start == 0 and stream.read(3) == BOM:
        start = 3
    at, rest, first = stream.seek(start), b"", True
    while at + len(rest) < stop:
        read = stream.read(min(PIECE_BYTES, stop - at - len(rest)))
        block = rest + read
        cut = end_of_piece(block) if read and at + len(block) < stop else len(block)
        yield Piece(source.document, decoded(block[:cut], source.where, at), first)
        at, rest, first = at + cut, block[cut:], False
        if not read:  # the file was longer when its size was asked
            return


def end_of_piece(block: bytes) -> int:
    """After the last line end between two characters that are not blank, else the last line end, else a character.

    At the first kind GPT-2's words end too, so the pieces' tokens are the document's.
    """
    at = len(block) - 1
    while (at := block.rfind(b"\n", 0, at)) > 0:
        if not block[at - 1 : at].isspace() and not block[at + 1 : at + 2].isspace():
            return at + 1
    if line_end := block.rfind(b"\n") + 1:
        return line_end
    at = len(block) - 1
    while at > 0 and block[at] & 0xC0 == 0x80:  # inside a character
        at -= 1
    return at or len(block)


class NotUtf8(BadInput):
    """Text in another encoding."""


def decoded(block: bytes, where: str, at: int) -> str:
    if at == 0 and block.startswith(UTF16):
        raise NotUtf8(f"{where}: UTF-16; save it as UTF-8, as `iconv -f UTF-16 -t UTF-8` does")
    if (nul := block.find(b"\0")) >= 0:
        raise BadInput(
            f"{where}: U+0000 at byte {at + nul}; it is the end_of_text of byte models, so no text may hold it"
        )
    try:
        return block.decode()
    except UnicodeDecodeError as error:
        raise NotUtf8(
            f"{where}: not UTF-8 at byte {at + error.start}; save it as UTF-8, as `iconv -f WINDOWS-1252 -t UTF-8` "
            "does with text of older programs"
        ) from error


def whole(sources: Iterable[Source]) -> Iterator[Piece]:
    """Every document, all of it."""
    for source in sources:
        with source.open() as stream:
            yield from pieces(source, stream, 0, stream.seek(0, os.SEEK_END))


def divided(sources: Callable[[], Iterator[Source]], split: str) -> Iterator[Piece]:
    """One side of a corpus that has no splits of its own.

    Of 200 documents or more, those are held out whose first piece has a hash that 20 divides: documents that start
    alike stand on one side, and adding others moves none. Of fewer, the last tenth of each (by bytes, from the first
    line that starts in it, else the first word) is held out.
    """
    many = sum(1 for _, _ in zip(range(MANY), sources(), strict=False)) == MANY
    for source in sources():
        with source.open() as stream:
            size = stream.seek(0, os.SEEK_END)
            if not many:
                cut = start_of_last_tenth(stream, size)
                yield from pieces(source, stream, *((0, cut) if split == "train" else (cut, size)))
                continue
            found = pieces(source, stream, 0, size)
            for first in found:
                held_out = int.from_bytes(hashlib.sha256(first.text.encode()).digest()) % 20 == 0
                if held_out == (split == "valid"):
                    yield first
                    yield from found
                break


def start_of_last_tenth(stream: BufferedIOBase, size: int) -> int:
    at = stream.seek(size * 9 // 10)
    block = stream.read(PIECE_BYTES)
    for end in (b"\n", b" "):
        if 0 < (cut := block.find(end) + 1) < len(block):
            return at + cut
    return size
