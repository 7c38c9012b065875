"""Examples to fine-tune on: prompts with their answers, and chats of many turns.

An entry of `data.corpora` names them: `dialogs:GLOB[:PROMPT:ANSWER]` (JSON lines), `dialogs:tfds:NAME:PROMPT:ANSWER`
(TensorFlow Datasets) and `dialogs:FILE.py:FUNCTION`. A line is an object with `messages`, a list of {"role",
"content"}, or with the two fields PROMPT and ANSWER, which are `prompt` and `answer` where the entry names none. A
function is given "train" or "valid" and returns such lists or pairs (prompt, answer).

Files and sets without a held-out part of their own are divided: of 200 examples or more, those are held out whose first
message has a hash that 20 divides, so equal prompts stand on one side; of fewer, the last tenth.
"""

import hashlib
import importlib.util
import itertools
import json
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol, TypeVar

from gptjax.config import BadInput
from gptjax.data.corpora import Tfds
from gptjax.data.documents import MANY, Corpus, Piece
from gptjax.data.templates import ROLES, Message, plain
from gptjax.data.text_files import checked, json_rows, matches, nearest

KINDS = ("dialogs:GLOB[:PROMPT:ANSWER]", "dialogs:tfds:NAME[/CONFIG]:PROMPT:ANSWER", "dialogs:FILE.py:FUNCTION")
FIELDS = ("prompt", "answer")


class Example(NamedTuple):
    """One dialog to train on; `name` says where it stands."""

    name: str
    messages: list[Message]


class HasMessages(Protocol):
    @property
    def messages(self) -> list[Message]: ...


Told = TypeVar("Told", bound=HasMessages)


class Dialogs(Corpus):
    """Examples as documents: the text of each is the JSON of its messages."""

    def examples(self, split: str) -> Iterator[Example]:
        raise NotImplementedError

    def documents(self, split: str) -> Iterator[Piece]:
        for example in self.examples(split):
            yield Piece(example.name, json.dumps(example.messages, ensure_ascii=False), True)


def texts(corpus: Corpus) -> Iterator[str]:
    """The training text of a corpus, from which a tokenizer can be made; of dialogs in their plain form."""
    if isinstance(corpus, Dialogs):
        yield from (plain(example.messages, ask=False) for example in corpus.examples("train"))
    else:
        yield from (piece.text for piece in corpus.documents("train"))


def open_dialogs(spec: str, cache: pathlib.Path | None) -> Dialogs:
    """The examples of an entry `dialogs:...`; raises BadInput for what is not there."""
    rest = spec.removeprefix("dialogs:")
    file, _, function = rest.rpartition(":")
    if file.endswith(".py") and function.isidentifier():
        return OfFunction(spec, pathlib.Path(file), function)
    if rest.startswith("tfds:"):
        return OfTfds(spec, cache)
    if not rest:
        raise BadInput(f"data.corpora: {spec!r} names no examples; it is one of {', '.join(KINDS)}")
    return OfLines(spec, rest, cache)


class OfLines(Dialogs):
    """JSON lines."""

    def __init__(self, spec: str, pattern: str, cache: pathlib.Path | None):
        self.fields: list[str] = []
        self.files = matches(pattern)
        if not self.files and pattern.count(":") >= 2:
            pattern, *self.fields = pattern.rsplit(":", 2)
            self.files = matches(pattern)
        if not self.files:
            raise BadInput(f"data.corpora: dialogs:{pattern} matches no file{nearest(pattern)}")
        if wrong := [file for file in self.files if file.suffix != ".jsonl"]:
            raise BadInput(f"{wrong[0]}: dialogs are read from .jsonl files, not {wrong[0].suffix or wrong[0].name}")
        super().__init__(spec, cache, {"files": len(self.files)})

    def examples(self, split: str) -> Iterator[Example]:
        return divided(self.all, split)

    def all(self) -> Iterator[Example]:
        for file in self.files:
            for number, where, row in json_rows(file, "dialog"):
                yield Example(f"{file.name}:{number}", self.of_row(row, where))

    def of_row(self, row: Any, where: str) -> list[Message]:
        if not isinstance(row, dict):
            raise BadInput(f"{where}: is no object; it has 'messages', or 'prompt' and 'answer'")
        if not self.fields and "messages" in row:
            return messages_of(row["messages"], where)
        prompt, answer = self.fields or FIELDS
        for field in (prompt, answer):
            if field not in row:
                also = "" if self.fields else ", nor 'messages'"
                raise BadInput(f"{where}: no field {field!r}{also}; it has {', '.join(row) or 'none'}")
        return pair(checked(row[prompt], where, prompt), checked(row[answer], where, answer), where)


class OfTfds(Dialogs):
    """Two text fields of a set of TensorFlow Datasets, which are read as the corpora `tfds:NAME:FIELD`."""

    def __init__(self, spec: str, cache: pathlib.Path | None):
        words = spec.removeprefix("dialogs:tfds:").split(":")
        if len(words) != 3:
            raise BadInput(f"data.corpora: {spec}: say which fields: dialogs:tfds:{words[0]}:PROMPT:ANSWER")
        name, *fields = words
        self.sides = [Tfds(f"tfds:{name}:{field}", cache) for field in fields]
        self.files = self.sides[0].files
        super().__init__(spec, cache, self.sides[0].provenance)

    def examples(self, split: str) -> Iterator[Example]:
        held_out = [name for name in ("validation", "test") if name in self.sides[0].builder.info.splits]
        if not held_out:
            return divided(lambda: self.all(["train"]), split)
        return self.all(["train"] if split == "train" else held_out)

    def all(self, splits: list[str]) -> Iterator[Example]:
        for split in splits:
            for prompt, answer in zip(*(side.sources(split) for side in self.sides), strict=True):
                given, said = (text_of(source.open().read(), source.where) for source in (prompt, answer))
                yield Example(prompt.document, pair(given, said, prompt.where))


class OfFunction(Dialogs):
    """What a function of a Python file returns. Nothing of it is remembered: the file may read others."""

    def __init__(self, spec: str, file: pathlib.Path, function: str):
        if not file.is_file():
            raise BadInput(f"data.corpora: dialogs:{file} matches no file{nearest(str(file))}")
        made = importlib.util.spec_from_file_location(f"gptjax_dialogs_{file.stem}", file)
        if made is None or made.loader is None:
            raise BadInput(f"{file}: not a Python file")
        module = importlib.util.module_from_spec(made)
        self.where = f"{file}:{function}"
        sys.path.insert(0, str(pathlib.Path.cwd()))  # so that it can import what lies below, as a config can
        try:
            guarded(lambda: made.loader and made.loader.exec_module(module), self.where)
        finally:
            sys.path.pop(0)
        if not callable(vars(module).get(function)):
            raise BadInput(f"{file}: has no function {function}")
        self.function = vars(module)[function]
        super().__init__(spec, None, {"function": function})

    def examples(self, split: str) -> Iterator[Example]:
        rows = guarded(lambda: iter(self.function(split)), self.where)
        for number in itertools.count():
            where = f"{self.where}, {split} example {number}"
            row = guarded(lambda: next(rows, None), where)
            if row is None:
                return
            if isinstance(row, tuple) and len(row) == 2:
                prompt, answer = (checked(text, where, "text") for text in row)
                yield Example(f"{split}/{number}", pair(prompt, answer, where))
            else:
                yield Example(f"{split}/{number}", messages_of(row, where))


def guarded(call: Callable[[], Any], where: str) -> Any:
    try:
        return call()
    except BadInput:
        raise
    except (Exception, SystemExit) as error:  # it is the user's code, and may fail in any way
        raise BadInput(f"{where}: {type(error).__name__}: {' '.join(str(error).split())}") from error


def text_of(content: bytes, where: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"{where}: not UTF-8 at byte {error.start}") from error


def pair(prompt: str, answer: str, where: str) -> list[Message]:
    return sound([Message("user", prompt), Message("assistant", answer)], where)


def messages_of(given: Any, where: str) -> list[Message]:
    """The messages of a list of objects, which hold an answer; raises BadInput for anything else."""
    return sound(any_messages(given, where), where)


def any_messages(given: Any, where: str) -> list[Message]:
    """The messages of a list of objects; raises BadInput for anything else."""
    if not isinstance(given, list) or not given:
        raise BadInput(f"{where}: 'messages' must be a list of objects with 'role' and 'content'")
    found = []
    for number, message in enumerate(given):
        if not isinstance(message, dict) or not {"role", "content"} <= set(message):
            raise BadInput(f"{where}: message {number} is no object with 'role' and 'content'")
        if message["role"] not in ROLES:
            raise BadInput(
                f"{where}: message {number} has the role {message['role']!r}; it is one of {', '.join(ROLES)}"
            )
        found.append(Message(message["role"], checked(message["content"], where, "content")))
    return found


def sound(messages: list[Message], where: str) -> list[Message]:
    """Messages that hold an answer and no U+0000; raises BadInput."""
    if any("\0" in message.content for message in messages):
        raise BadInput(f"{where}: U+0000 in a message; it is the end_of_text of byte models, so no text may hold it")
    if not any(message.role == "assistant" and message.content.strip() for message in messages):
        raise BadInput(f"{where}: no answer; a message of the assistant must hold text")
    return messages


def divided(examples: Callable[[], Iterable[Told]], split: str) -> Iterator[Told]:
    """One side of examples that have no splits of their own."""
    n = sum(1 for _, _ in zip(range(MANY), examples(), strict=False))
    for number, example in enumerate(examples()):
        if n == MANY:
            held_out = int.from_bytes(hashlib.sha256(example.messages[0].content.encode()).digest()) % 20 == 0
        else:
            held_out = number >= n - max(1, n // 10)
        if held_out == (split == "valid"):
            yield example
