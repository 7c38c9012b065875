"""The corpus `splits:FOLDER`: FOLDER/train.jsonl and FOLDER/valid.jsonl, which say themselves what is held out.

`gptjax audit --to=FOLDER` writes such a folder: a corpus with canaries, or without duplicates and personal data. A line
is an object with `document`, a name, and `text`.
"""

import functools
import io
import json
import pathlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TextIO

from gptjax.config import BadInput
from gptjax.data.documents import Corpus, Piece, Source, whole
from gptjax.data.text_files import checked, json_rows


class Document(NamedTuple):
    """A line of a split's file."""

    name: str
    text: str


class SplitFiles(Corpus):
    """A folder of two JSON lines files. Empty documents are left out."""

    def __init__(self, spec: str, folder: str, cache: pathlib.Path | None):
        root = pathlib.Path(folder).expanduser()
        self.files = tuple(root / f"{split}.jsonl" for split in self.splits)
        for file in self.files:
            if not file.is_file():
                raise BadInput(f"data.corpora: {spec}: {file} is not there; gptjax audit --to={folder} writes both")
        super().__init__(spec, cache, {"bytes": sum(file.stat().st_size for file in self.files)})

    def documents(self, split: str) -> Iterator[Piece]:
        return whole(sources(self.files[self.splits.index(split)]))


def sources(file: pathlib.Path) -> Iterator[Source]:
    for number, where, row in json_rows(file, "document"):
        if not isinstance(row, dict) or not {"document", "text"} <= set(row):
            raise BadInput(f"{where}: a line is an object with `document` and `text`")
        text, name = checked(row["text"], where, "text"), checked(row["document"], where, "document")
        yield Source(name or str(number), where, functools.partial(io.BytesIO, text.encode()))


def documents(corpus: Corpus, split: str) -> Iterator[Document]:
    """The documents of a split, each whole."""
    return joined(corpus.documents(split))


def joined(pieces: Iterable[Piece]) -> Iterator[Document]:
    """Whole documents, each in memory at once, from the pieces of a corpus."""
    name, parts = "", []
    for piece in pieces:
        if piece.first and parts:
            yield Document(name, "".join(parts))
            parts = []
        name = piece.document
        parts.append(piece.text)
    if parts:
        yield Document(name, "".join(parts))


def write(folder: pathlib.Path, split: str, found: Iterable[Document]) -> int:
    """Writes one of the two files; returns how many documents it holds. Raises OSError."""
    n = 0
    with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as stream:
        for one in found:
            write_one(stream, one)
            n += 1
    return n


def write_one(stream: TextIO, one: Document) -> None:
    """Writes the line that `SplitFiles` reads."""
    stream.write(json.dumps({"document": one.name, "text": one.text}, ensure_ascii=False) + "\n")
