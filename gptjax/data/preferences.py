"""Pairs of answers of which one is preferred, as DPO learns from them.

An entry `preferences:GLOB` of `data.corpora` names JSON lines: objects with `chosen` and `rejected`, and `prompt` where
these do not begin with it. Each is a text, or a list of messages {"role", "content"}; a text as `prompt` is the user's,
as an answer the assistant's. In a store each pair is two dialogs, the chosen one first. What is held out is divided by
pairs, as dialogs are (dialogs.py).
"""

import itertools
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from gptjax.config import BadInput
from gptjax.data.dialogs import Dialogs, Example, any_messages, divided, sound
from gptjax.data.templates import Message
from gptjax.data.text_files import checked, json_rows, matches, nearest

KIND = "preferences:"
FIELDS = ("chosen", "rejected")


class Pair(NamedTuple):
    name: str
    messages: list[Message]  # with the chosen answer
    rejected: list[Message]


class Preferences(Dialogs):
    """JSON lines. Its examples are both dialogs of each pair."""

    def __init__(self, spec: str, cache: pathlib.Path | None):
        pattern = spec.removeprefix(KIND)
        self.files = matches(pattern) if pattern else ()
        if not self.files:
            raise BadInput(f"data.corpora: {spec} matches no file{nearest(pattern) if pattern else ''}")
        if wrong := [file for file in self.files if file.suffix != ".jsonl"]:
            raise BadInput(f"{wrong[0]}: pairs are read from .jsonl files, not {wrong[0].suffix or wrong[0].name}")
        super().__init__(spec, cache, {"files": len(self.files)})

    def pairs(self, split: str) -> Iterator[Pair]:
        return divided(self.all, split)

    def examples(self, split: str) -> Iterator[Example]:
        for pair in self.pairs(split):
            yield from (Example(f"{pair.name}:{field}", said) for field, said in zip(FIELDS, pair[1:], strict=True))

    def all(self) -> Iterator[Pair]:
        for file in self.files:
            for number, where, row in json_rows(file, "pair"):
                yield pair_of(row, f"{file.name}:{number}", where)


def pair_of(row: Any, name: str, where: str) -> Pair:
    """The pair of a line; raises BadInput for anything else."""
    if not isinstance(row, dict):
        raise BadInput(f"{where}: is no object; it has 'prompt', 'chosen' and 'rejected'")
    for field in FIELDS:
        if field not in row:
            raise BadInput(f"{where}: no field {field!r}; it has {', '.join(row) or 'none'}")
    asked = said_by("user", row["prompt"], where, "prompt") if "prompt" in row else []
    chosen, rejected = (sound(asked + said_by("assistant", row[field], where, field), where) for field in FIELDS)
    if chosen == rejected:
        raise BadInput(f"{where}: 'chosen' and 'rejected' are the same; leave the line out")
    if shared(chosen, rejected) == 0:
        raise BadInput(f"{where}: 'chosen' and 'rejected' answer no prompt that both have; give it as 'prompt'")
    return Pair(name, chosen, rejected)


def said_by(role: str, value: Any, where: str, field: str) -> list[Message]:
    if isinstance(value, list):
        return any_messages(value, where)
    return [Message(role, checked(value, where, field))]


def shared(chosen: list[Message], rejected: list[Message]) -> int:
    """Messages with which both begin."""
    return sum(1 for _ in itertools.takewhile(lambda two: two[0] == two[1], zip(chosen, rejected, strict=False)))
