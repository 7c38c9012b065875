"""The functions of the Python library that have a docstring: what `summaries` and `code` are made of.

A function is held out where its file is: the corpus `python` holds out whole packages, and the base model has read none
of them. Of those, `held_out` keeps the functions that share no run of words with anything that was trained on, and
`pairs` divides them by the hash of the prompt's words.
"""

import ast
import functools
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from experiments import halves, leaks
from gptjax.data import corpora

INDENT = "    "
Pair = tuple[str, str]


class Function(NamedTuple):
    """A function at the left margin, without its decorators."""

    name: str
    signature: str  # its lines from `def` to the colon
    docstring: str  # without quotes and margin
    body: str  # what comes after the docstring, indented

    @property
    def summary(self) -> str:
        return self.docstring.split("\n")[0].strip()

    @property
    def documented(self) -> str:
        """The source up to the end of the docstring."""
        lines = self.docstring.split("\n")
        said = "\n".join([lines[0], *(INDENT + line if line else "" for line in lines[1:])])
        return f'{self.signature}\n{INDENT}"""{said}"""'

    @property
    def text(self) -> str:
        return f"{self.documented}\n{self.body}"


@functools.cache
def of_split(split: str) -> list[Function]:
    """Every function of the corpus's split, each body once."""
    return distinct(sources(split))


def distinct(texts: Iterable[str]) -> list[Function]:
    """Every function of modules, each body once."""
    return list({function.body: function for text in texts for function in of_source(text)}.values())


@functools.cache
def held_out() -> list[Function]:
    """The functions of held-out files of which no run of words stands in a training file."""
    found = of_split("valid")
    return leaks.unseen(found, [function.text for function in found], sources("train"))


def pairs(split: str, wanted: Callable[[Function], bool], pair: Callable[[Function], Pair]) -> list[Pair]:
    """Prompts and answers to train on ("train"), to choose by ("valid") or to judge by ("test"): each prompt once, and
    none of those that are trained on, whatever stands between the words. What is asked shares no run of words with a
    pair of those."""
    train = {words(prompt): (prompt, answer) for prompt, answer in map(pair, filter(wanted, of_split("train")))}
    if split == "train":
        return list(train.values())
    others = {words(prompt): (prompt, answer) for prompt, answer in map(pair, filter(wanted, held_out()))}
    asked = [found for key, found in others.items() if key not in train and halves.half(key) == split]
    return leaks.unseen(asked, ["\n".join(found) for found in asked], map("\n".join, train.values()))


def words(text: str) -> str:
    return " ".join(leaks.WORD.findall(text.lower()))


@functools.cache
def library() -> corpora.PythonLibrary:
    return corpora.PythonLibrary(None)


def sources(split: str) -> Iterator[str]:
    """Modules and topics of the manual."""
    return (piece.text for piece in library().documents(split))


def of_source(text: str) -> Iterator[Function]:
    """The functions of a module, in order; none of what is no Python."""
    with warnings.catch_warnings(action="ignore"):
        try:
            tree = ast.parse(text)
        except SyntaxError:  # a topic
            return
    lines = text.split("\n")
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    for node in sorted(nodes, key=lambda node: node.lineno):
        if (function := made(node, lines)) is not None:
            yield function


def made(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> Function | None:
    """None where it has no docstring or nothing behind it, or is laid out in a way of its own."""
    docstring = ast.get_docstring(node)
    if not docstring or '"""' in docstring or "\\" in docstring or len(node.body) < 2:
        return None
    said, first = node.body[:2]
    margin, end = node.col_offset, said.end_lineno or said.lineno
    apart = node.lineno < said.lineno and end < first.lineno
    if not apart or first.col_offset != margin + len(INDENT):
        return None
    cut = lambda start, stop: "\n".join(dedented(line, margin) for line in lines[start:stop])
    signature = cut(node.lineno - 1, said.lineno - 1)
    body = cut(end, node.end_lineno or end).strip("\n").rstrip()
    return Function(node.name, signature, docstring.strip(), body)


def dedented(line: str, margin: int) -> str:
    return line[margin:] if not line[:margin].strip() else line
