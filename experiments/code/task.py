"""Bodies of functions of the test half: gptjax evaluate --from=runs/code --tasks=experiments/code/task.py

All was chosen on the development half (development.py).
"""

import collections
import functools
import re
from collections.abc import Sequence

from experiments import halves
from experiments.code.examples import examples
from experiments.nearest import Nearest
from experiments.ngrams import NGrams
from gptjax.evaluation.task import Question, Task

PIECE = re.compile(r"\w+|\s+|[^\w\s]")
MOST_PIECES = 120  # of the n-grams' body
END = ("",)


def most_frequent(asked: Sequence[Question]) -> list[str]:
    """The body that most functions of the training files begin with: its first line."""
    counts = collections.Counter(body.split("\n")[1] for _, body in examples("train"))
    ((best, _),) = counts.most_common(1)
    return [f"\n{best}\n"] * len(asked)


def ngram(asked: Sequence[Question]) -> list[str]:
    """What 5-grams of words and signs write, learnt from the same functions."""
    model = pieces()
    return ["".join(model.greedy(tuple(PIECE.findall(question.prompt)), MOST_PIECES, END)) for question in asked]


@functools.cache
def pieces() -> NGrams:
    return NGrams(5, 2**16, ((*PIECE.findall(prompt + body), *END) for prompt, body in examples("train")))


def nearest(asked: Sequence[Question]) -> list[str]:
    """The body of the training function whose head and docstring are most like this one's."""
    return [examples("train")[heads().of(question.prompt)[0]][1] for question in asked]


@functools.cache
def heads() -> Nearest:
    return Nearest([prompt for prompt, _ in examples("train")])


def made(split: str) -> Task:
    """The task on one half: "valid" to choose by, "test" to judge by."""
    return Task(
        name=halves.title("code", split),
        kind="generate",
        questions=lambda: [Question(prompt, (body,)) for prompt, body in examples(split)],
        metrics=("edit_similarity", "first_line_exact_match"),
        max_tokens=128,
        stops=("\ndef ", "\nclass ", "\n@", "\n#", "\nif ", "\n\n\n"),
        baselines={"ngram": ngram, "nearest": nearest, "most_frequent": most_frequent},
    )


TASK = made(halves.TEST)
