"""Sums, differences and products of small whole numbers, beside three wrong answers that are near."""

import random

from gptjax.evaluation.task import Question, Task

SIGNS = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}


def made(kind: str, n: int) -> list[Question]:
    rng, found = random.Random(f"gptjax arithmetic {kind}"), {}
    while len(found) < n:
        a, b, sign = rng.randrange(2, 50), rng.randrange(2, 50), rng.choice("+-*")
        if (a + b) % 7 == (kind == "shots"):  # so that no sum is both
            continue
        true = SIGNS[sign](a, b)
        near = rng.sample([true + by for by in (-10, -2, -1, 1, 2, 10)], 3)
        choices = rng.sample([true, *near], 4)
        found[f"{a} {sign} {b} ="] = [f" {choice}" for choice in choices], choices.index(true)
    return [Question(prompt, tuple(choices), right) for prompt, (choices, right) in found.items()]


def shots() -> list[Question]:
    wanted = made("shots", 60)
    asked = {question.prompt for question in made("questions", 300)}
    return [shot for shot in wanted if shot.prompt not in asked]


TASK = Task("arithmetic", "choice", lambda: made("questions", 300), shots, n_shots=4, metrics=("accuracy",))
