"""The corpus `text:GLOB[:FIELD]`: text, JSON lines and Parquet files of one's own."""

import codecs
import difflib
import functools
import glob
import io
import json
import pathlib
from collections.abc import Iterator
from typing import Any

from gptjax.config import BadInput
from gptjax.data.documents import PIECE_BYTES, Corpus, NotUtf8, Piece, Source, divided

AS_TEXT = (".txt", ".md", ".py")
WITH_FIELD = (".jsonl", ".parquet")
READ = (*AS_TEXT, *WITH_FIELD)
LINE_BYTES = 2**28  # of JSON lines, which are read whole


class TextFiles(Corpus):
    """Files in the order of their names: .txt, .md and .py are a document each; .jsonl and .parquet one a row.

    A row's text is its FIELD, or `text`. A folder stands for all such files below it; what else lies there is counted
    in `provenance`. `**` in a pattern stands for any folders and `~` for one's own. What
    follows the last colon is a field only where the whole pattern matches no file. Empty documents are left out.
    Documents are named by their path below the pattern's first wildcard, so moving the folder changes nothing but
    the spec. How text is held out: `documents.divided`.
    """

    def __init__(self, spec: str, pattern: str, cache: pathlib.Path | None):
        self.field = ""
        self.files = matches(pattern)
        if not self.files and ":" in pattern:
            whole_pattern, (pattern, self.field) = pattern, pattern.rsplit(":", 1)
            self.files = matches(pattern)
            pattern = pattern if self.files else whole_pattern
        if not self.files:
            raise BadInput(f"data.corpora: text:{pattern} matches no file{nearest(pattern)}")
        for file in self.files:
            if not is_read(file):
                raise BadInput(f"{file}: gptjax reads {', '.join(READ)}, not {file.suffix or file.name}")
            if self.field and suffix(file) in AS_TEXT:
                raise BadInput(
                    f"{file}: has no field {self.field!r}; only {' and '.join(WITH_FIELD)} files have fields"
                )
        n_bytes = sum(file.stat().st_size for file in self.files)
        if not n_bytes:
            raise BadInput(f"{self.files[0]}: empty" + (", like all that match" if len(self.files) > 1 else ""))
        self.root, others = fixed_part(pattern), len(below(pattern)) - len(self.files)
        left_out = {"other_files": others} if others > 0 else {}
        super().__init__(spec, cache, {"files": len(self.files), "bytes": n_bytes} | left_out)

    def documents(self, split: str) -> Iterator[Piece]:
        try:
            yield from divided(self.sources, split)
        except NotUtf8 as error:  # who has one such file has several: all are named at once
            wrong = [str(file) for file in self.files if suffix(file) in AS_TEXT and not is_utf8(file)]
            named = ", ".join(wrong[1:8]) + (f" and {len(wrong) - 8:,} more" if len(wrong) > 8 else "")
            raise BadInput(f"{error}; so with {named}" if named else str(error)) from error

    def sources(self) -> Iterator[Source]:
        """Each text file, and each line or row of the others, in the order of names."""
        field = self.field or "text"
        for file in self.files:
            name = file.relative_to(self.root).as_posix()
            if suffix(file) in AS_TEXT:
                yield Source(name, str(file), functools.partial(file.open, "rb"))
                continue
            rows = json_lines(file, field) if suffix(file) == ".jsonl" else parquet_rows(file, field)
            for number, where, text in rows:
                yield Source(f"{name}:{number}", where, functools.partial(io.BytesIO, text.encode()))


def suffix(file: pathlib.Path) -> str:
    return file.suffix.lower()


def is_read(file: pathlib.Path) -> bool:
    return suffix(file) in READ


def is_utf8(file: pathlib.Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with file.open("rb") as stream:
            while block := stream.read(PIECE_BYTES):
                decoder.decode(block)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def below(folder: str) -> list[pathlib.Path]:
    """Every file below a folder that is not hidden; none where the name is no folder's."""
    path = pathlib.Path(folder).expanduser()
    found = glob.glob(f"{glob.escape(str(path))}/**/*", recursive=True) if path.is_dir() else []
    return sorted(file for file in map(pathlib.Path, found) if file.is_file())


def matches(pattern: str) -> tuple[pathlib.Path, ...]:
    """The files of a pattern, sorted; a folder's are those that gptjax reads. Empty where there are none."""
    literal = pathlib.Path(pattern).expanduser()
    if literal.is_file():  # its name may hold brackets
        return (literal,)
    if literal.is_dir():
        return tuple(filter(is_read, below(pattern)))
    found = map(pathlib.Path, glob.glob(str(literal), recursive=True))
    return tuple(sorted(file for file in found if file.is_file()))


def fixed_part(pattern: str) -> pathlib.Path:
    """The folder above the first wildcard of a pattern."""
    path = pathlib.Path(pattern).expanduser()
    if path.is_file():
        return path.parent
    while not path.is_dir() and glob.has_magic(str(path)):
        path = path.parent
    return path


def nearest(pattern: str) -> str:
    """Words that end a "matches no file": what does exist there."""
    path = pathlib.Path(pattern).expanduser()
    if path.is_dir():
        return f"; nothing in that folder is a {', '.join(READ)} file"
    if "{" in pattern or "}" in pattern:
        return "; braces stand for nothing here: name a folder for all texts below it, such as text:notes"
    while not path.parent.is_dir():
        path = path.parent
    near = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1)
    return f"; did you mean {path.parent / near[0]}?" if near else f"; the nearest folder that exists is {path.parent}"


def json_rows(file: pathlib.Path, of: str) -> Iterator[tuple[int, str, Any]]:
    """(line number, its name in errors, value) of each line that is not blank; `of` is what a line is one of."""
    with file.open("rb") as stream:
        for number, line in enumerate(iter(lambda: stream.readline(LINE_BYTES + 1), b""), 1):
            where = f"{file}, line {number}"
            if len(line) > LINE_BYTES:
                raise BadInput(f"{where}: longer than {LINE_BYTES:,} bytes; a line is one {of}")
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise BadInput(f"{where}: not JSON ({error})") from error
            yield number, where, row


def json_lines(file: pathlib.Path, field: str) -> Iterator[tuple[int, str, str]]:
    """(line number, its name in errors, text) of each line that is not blank."""
    for number, where, row in json_rows(file, "document"):
        if not isinstance(row, dict) or field not in row:
            has = f"it has {', '.join(row)}" if isinstance(row, dict) else "it is no object"
            raise BadInput(f"{where}: no field {field!r}; {has}")
        yield number, where, checked(row[field], where, field)


def parquet_rows(file: pathlib.Path, field: str) -> Iterator[tuple[int, str, str]]:
    """(row number, its name in errors, text) of each row."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise BadInput(f"{file}: reading Parquet needs pyarrow; pip install 'gptjax[parquet]'") from error
    try:
        table = pyarrow.parquet.ParquetFile(file)
    except pyarrow.ArrowInvalid as error:
        raise BadInput(f"{file}: not Parquet ({error})") from error
    with table:
        if field not in table.schema_arrow.names:
            raise BadInput(f"{file}: no column {field!r}; it has {', '.join(table.schema_arrow.names)}")
        number = 0
        for batch in table.iter_batches(batch_size=1024, columns=[field]):
            for text in batch.column(0).to_pylist():
                number += 1
                where = f"{file}, row {number}"
                yield number, where, checked(text, where, field)


def checked(text: object, where: str, field: str) -> str:
    """A field's text, "" of null; BadInput, with its place, for another type and for half a surrogate pair."""
    if text is None:
        return ""
    if not isinstance(text, str):
        raise BadInput(f"{where}: the field {field!r} is {type(text).__name__}, not text")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise BadInput(f"{where}: the field {field!r} holds half of a surrogate pair, which is no character")
    return text
