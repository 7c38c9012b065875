"""What a function of the standard library does: its own first docstring line, among those of three other functions."""

import random
from collections.abc import Sequence

from gptjax.evaluation import library
from gptjax.evaluation.library import Function
from gptjax.evaluation.task import Question, Task

LINES = 12  # of a body


def asked(function: Function, others: Sequence[Function]) -> Question:
    rng = random.Random(function.where)
    wrong = rng.sample([other.summary for other in others if other.summary != function.summary], 3)
    choices = rng.sample([function.summary, *wrong], 4)
    code = "\n".join([function.signature, *(f"    {line}" for line in function.body[:LINES])])
    answers = tuple(f" {choice}" for choice in choices)
    return Question(f"{code}\n# What it does:", answers, choices.index(function.summary))


def questions(split: str) -> list[Question]:
    functions = library.functions(split, 200)
    return [asked(function, functions) for function in functions]


def longest(questions: Sequence[Question]) -> list[str]:
    return [max(question.answers, key=len) for question in questions]


TASK = Task(
    "docstrings", "choice", lambda: questions("valid"), lambda: questions("train"), baselines={"longest": longest}
)
