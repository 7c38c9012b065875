"""A function's head and docstring -> its body."""

import functools
import itertools

from experiments import functions, halves, leaks
from experiments.code import elsewhere
from experiments.functions import Function, Pair

LONGEST = 400  # characters of head and docstring, and of a body: together they fit a context of 256 tokens
ONE_IN = 3  # functions of pip is asked for, by the hash of the prompt's words


def examples(split: str) -> list[Pair]:
    """Pairs to train on ("train"), to choose by ("valid"), both of Python's library, and to judge by ("test"), of pip.

    Raises BadInput for "test" where pip is not installed.
    """
    return judged() if split == halves.TEST else functions.pairs(split, wanted, pair)


@functools.cache
def judged() -> list[Pair]:
    """Of no function does a run of words stand anywhere in the library, held out or not, and no prompt is there."""
    found = {functions.words(function.documented): function for function in elsewhere.of_pip() if wanted(function)}
    library = [*functions.of_split("train"), *functions.of_split("valid")]
    known = {functions.words(function.documented) for function in library}
    asked = [function for key, function in found.items() if key not in known and halves.hash_of(key) % ONE_IN == 0]
    texts = (functions.sources("train"), functions.sources("valid"), (function.text for function in library))
    return list(map(pair, leaks.unseen(asked, [one.text for one in asked], itertools.chain(*texts))))


def wanted(function: Function) -> bool:
    return len(function.documented) <= LONGEST and len(function.body) <= LONGEST


def pair(function: Function) -> Pair:
    return function.documented, f"\n{function.body}\n"
