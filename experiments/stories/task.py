"""Held-out Shakespeare: gptjax evaluate --from=runs/stories --tasks=experiments/stories/task.py

`stories` asks how well a passage is foreseen, in bits a byte; `stories_choice` which of four passages goes on.
"""

import functools
from collections.abc import Sequence

from experiments.ngrams import NGrams
from experiments.stories import text
from gptjax.evaluation.task import Question, Task

ORDER = 6  # characters of the baseline


def continued() -> list[Question]:
    return [Question(before, (after,)) for before, after in text.passages()]


def chosen() -> list[Question]:
    """The passage that goes on, beside three from as far away in the held-out text as can be."""
    found = text.passages()
    asked = []
    for number, (before, _) in enumerate(found):
        others = [found[(number + turn * len(found) // 4) % len(found)][1] for turn in range(4)]
        right = number % 4  # its place among the four
        asked.append(Question(before, (*others[1 : right + 1], others[0], *others[right + 1 :]), right))
    return asked


def foreseen(asked: Sequence[Question]) -> list[float]:
    """The log-probability of each passage by 6-grams of characters."""
    model = characters()
    return [-model.nats(question.prompt[-ORDER:], question.answers[0]) for question in asked]


def likeliest(asked: Sequence[Question]) -> list[str]:
    """The passage that 6-grams of characters find likeliest, by character."""
    model = characters()
    cost = lambda before, after: model.nats(before[-ORDER:], after) / len(after)
    return [min(question.answers, key=lambda after: cost(question.prompt, after)) for question in asked]


@functools.cache
def characters() -> NGrams:
    """Of the training text."""
    return NGrams(ORDER, 256, [text.text("train")])


TASKS = (
    Task(
        name="stories",
        kind="cloze",
        questions=continued,
        metrics=("bits_per_byte",),
        baselines={"ngram": foreseen},
    ),
    Task(
        name="stories_choice",
        kind="choice",
        questions=chosen,
        metrics=("accuracy_norm",),
        baselines={"ngram": likeliest},
    ),
)
