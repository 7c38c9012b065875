"""A function without its docstring -> the docstring's first line."""

from experiments import functions
from experiments.functions import INDENT, Function

LONGEST = 420  # characters of a body that are shown, in whole lines: with all else they fit a context of 256 tokens


def examples(split: str) -> list[tuple[str, str]]:
    """Pairs to train on ("train"), to choose by ("valid") and to judge by ("test")."""
    return functions.pairs(split, wanted, lambda function: (prompt(function), function.summary))


def wanted(function: Function) -> bool:
    """Whether the first line says something, in one sentence that is short enough."""
    one = "\n" not in function.docstring or function.docstring.split("\n")[1].strip() == ""
    return one and 3 <= len(function.summary.split()) <= 20 and len(function.signature) <= 120


def prompt(function: Function) -> str:
    """The function, and then its head again with the docstring begun: what a model of code goes on with by itself."""
    return f'{function.signature}\n{shown(function.body)}\n\n\n{function.signature}\n{INDENT}"""'


def shown(body: str) -> str:
    """The body's first lines."""
    kept = body[: LONGEST + 1]
    return body if len(body) <= LONGEST else kept[: max(kept.rfind("\n"), 0)] or body[:LONGEST]
