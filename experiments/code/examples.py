"""A function's head and docstring -> its body."""

from experiments import functions
from experiments.functions import Function

LONGEST = 400  # characters of head and docstring, and of a body: together they fit a context of 256 tokens


def examples(split: str) -> list[tuple[str, str]]:
    """Pairs to train on ("train"), to choose by ("valid") and to judge by ("test")."""
    return functions.pairs(split, wanted, lambda function: (function.documented, f"\n{function.body}\n"))


def wanted(function: Function) -> bool:
    return len(function.documented) <= LONGEST and len(function.body) <= LONGEST
