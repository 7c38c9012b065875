"""Functions and prose of Python's standard library, held out as the corpus `python` holds out: for tasks and shots."""

import ast
import functools
import inspect
import textwrap
from collections.abc import Iterator
from typing import NamedTuple

from gptjax.data.corpora import open_corpus


class Function(NamedTuple):
    """A function with its docstring's first line, as source text."""

    where: str  # "calendar.py:monthrange"
    signature: str  # from "def" to its colon
    summary: str  # the first line of its docstring
    body: tuple[str, ...]  # its lines behind the docstring, without the function's own indentation


@functools.cache
def documents(split: str) -> tuple[tuple[str, str], ...]:
    """(name, text), of "train" or "valid"; a model that was trained on the corpus has seen none of "valid"."""
    return tuple((piece.document, piece.text) for piece in open_corpus("python").documents(split))


@functools.cache
def functions(split: str, most: int) -> tuple[Function, ...]:
    """The first so many with a docstring and with something behind it, each summary and each body once."""
    found: dict[tuple[str, ...], Function] = {}
    summaries: set[str] = set()
    for function in (
        function for name, text in documents(split) if name.endswith(".py") for function in of(name, text)
    ):
        if len(found) < most and function.summary not in summaries and function.body not in found:
            summaries.add(function.summary)
            found[function.body] = function
        if len(found) == most:
            break
    return tuple(found.values())


def of(name: str, text: str) -> Iterator[Function]:
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or len(node.body) < 2:
            continue
        summary, first = inspect.cleandoc(ast.get_docstring(node) or "").partition("\n")[0].strip(), node.body[0]
        signature = textwrap.dedent("\n".join(lines[node.lineno - 1 : first.lineno - 1])).strip()
        body = textwrap.dedent("\n".join(lines[first.end_lineno or 0 : node.end_lineno]))
        kept = tuple(line.rstrip() for line in body.splitlines() if line.strip())
        if summary and kept and signature.endswith(":"):
            yield Function(f"{name}:{node.name}", signature, summary, kept)


@functools.cache
def paragraphs(split: str, most: int) -> tuple[str, ...]:
    """Prose of the manual's topics and of docstrings, one line a paragraph, each once: the first so many."""
    found: dict[str, None] = {}
    for text in (text for name, whole in documents(split) for text in prose(name, whole)):
        for block in (" ".join(block.split()) for block in text.split("\n\n")):
            if block[:1].isupper() and block.endswith("."):
                found[block] = None
        if len(found) >= most:
            break
    return tuple(found)[:most]


def prose(name: str, text: str) -> list[str]:
    if not name.endswith(".py"):
        return [text]
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef)
    return [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(text)) if isinstance(node, nodes)]
