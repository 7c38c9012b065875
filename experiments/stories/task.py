"""Shakespeare of the test half: gptjax evaluate --from=runs/stories --tasks=experiments/stories/task.py

`stories` asks how well a passage is foreseen, in bits a byte; `stories_choice` which of four passages goes on. All was
chosen on the development half (development.py).
"""

import functools
from collections.abc import Sequence

from experiments import halves, ngrams
from experiments.ngrams import NGrams
from experiments.stories import text
from gptjax.evaluation.task import Question, Task

ORDER = 6  # characters of the baselines
SHARE = 0.1  # of `ngram_copy` that goes by what stands before


def continued(split: str) -> list[Question]:
    return [Question(before, (after,)) for before, after in text.passages(split)]


def chosen(split: str) -> list[Question]:
    """The passage that goes on, beside three from as far away in the held-out text as can be."""
    found = text.passages(split)
    asked = []
    for number, (before, _) in enumerate(found):
        others = [found[(number + turn * len(found) // 4) % len(found)][1] for turn in range(4)]
        right = number % 4  # its place among the four
        asked.append(Question(before, (*others[1 : right + 1], others[0], *others[right + 1 :]), right))
    return asked


def foreseen(asked: Sequence[Question]) -> list[float]:
    """The log-probability of each passage by 6-grams of characters."""
    return [-characters().nats(question.prompt, question.answers[0]) for question in asked]


def foreseen_with_copy(asked: Sequence[Question]) -> list[float]:
    """By those mixed with 6-grams of what stands before, whose words and names come again."""
    found = []
    for question in asked:
        shares = [(1 - SHARE, characters()), (SHARE, NGrams(ORDER, 256, [question.prompt]))]
        found.append(-ngrams.nats(shares, question.prompt, question.answers[0]))
    return found


def likeliest(asked: Sequence[Question]) -> list[str]:
    """The passage that 6-grams of characters find likeliest, by character."""
    model = characters()
    cost = lambda before, after: model.nats(before[-ORDER:], after) / len(after)
    return [min(question.answers, key=lambda after: cost(question.prompt, after)) for question in asked]


@functools.cache
def characters() -> NGrams:
    """Of the training text."""
    return NGrams(ORDER, 256, [text.text("train")])


def made(split: str) -> tuple[Task, ...]:
    """The tasks on one half: "valid" to choose by, "test" to judge by."""
    return (
        Task(
            name=halves.title("stories", split),
            kind="cloze",
            questions=lambda: continued(split),
            metrics=("bits_per_byte",),
            baselines={"ngram_copy": foreseen_with_copy, "ngram": foreseen},
        ),
        Task(
            name=halves.title("stories_choice", split),
            kind="choice",
            questions=lambda: chosen(split),
            metrics=("accuracy_norm",),
            baselines={"ngram": likeliest},
        ),
    )


TASKS = made(halves.TEST)
