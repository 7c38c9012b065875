"""Bodies of held-out functions: gptjax evaluate --from=runs/code --tasks=experiments/code/task.py"""

import collections
import functools
import re
from collections.abc import Sequence

from experiments.code.examples import examples
from experiments.ngrams import NGrams
from gptjax.evaluation.task import Question, Task

PIECE = re.compile(r"\w+|\s+|[^\w\s]")
MOST_PIECES = 120  # of the n-grams' body
END = ("",)


def questions() -> list[Question]:
    return [Question(prompt, (body,)) for prompt, body in examples("valid")]


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


TASK = Task(
    name="code",
    kind="generate",
    questions=questions,
    metrics=("edit_similarity", "first_line_exact_match"),
    max_tokens=128,
    stops=("\ndef ", "\nclass ", "\n@", "\n#", "\nif ", "\n\n\n"),
    baselines={"most_frequent": most_frequent, "ngram": ngram},
)
