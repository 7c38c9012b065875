"""Bodies of functions of pip: gptjax evaluate --from=runs/code --tasks=experiments/code/task.py

`code_foreseen` asks how well the model foresees a body, in bits a byte, `code` what it writes. All was chosen on the
development half of the library's held-out functions (development.py). The other half had been scored when rate and
steps were chosen anew, so functions of another source are asked for: of pip, which no model had been asked about.
"""

import collections
import functools
import re
from collections.abc import Sequence

from experiments import halves, ngrams
from experiments.code.examples import examples
from experiments.nearest import Nearest
from experiments.ngrams import NGrams
from gptjax.evaluation.task import Question, Task

PIECE = re.compile(r"\w+|\s+|[^\w\s]")
MOST_TOKENS = 40  # of the model's body
MOST_PIECES = 45  # of the n-grams' body
END = ("",)
ORDER = 6  # characters
SHARE = 0.2  # of `lookup` that goes by the function's head and the most similar training function


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


def foreseen(asked: Sequence[Question]) -> list[float]:
    """The log-probability of each body by 6-grams of characters."""
    return [-characters().nats(question.prompt, question.answers[0]) for question in asked]


def lookup(asked: Sequence[Question]) -> list[float]:
    """By those mixed with 6-grams of the function's head and docstring (copy) and the most similar body."""
    found = []
    for question, body in zip(asked, nearest(asked), strict=True):
        shares = [(1 - SHARE, characters()), (SHARE, NGrams(ORDER, 256, [question.prompt, body]))]
        found.append(-ngrams.nats(shares, question.prompt, question.answers[0]))
    return found


@functools.cache
def characters() -> NGrams:
    return NGrams(ORDER, 256, [prompt + body for prompt, body in examples("train")])


def made(split: str) -> tuple[Task, ...]:
    """The tasks on "valid", to choose by, or "test", to judge by."""
    questions = lambda: [Question(prompt, (body,)) for prompt, body in examples(split)]
    return (
        Task(
            name=halves.title("code_foreseen", split),
            kind="cloze",
            questions=questions,
            metrics=("bits_per_byte",),
            baselines={"lookup": lookup, "ngram": foreseen},
        ),
        Task(
            name=halves.title("code", split),
            kind="generate",
            questions=questions,
            metrics=("edit_similarity", "first_line_exact_match"),
            max_tokens=MOST_TOKENS,
            stops=("\ndef ", "\nclass ", "\n@", "\n#", "\nif ", "\n\n\n"),
            baselines={"ngram": ngram, "nearest": nearest, "most_frequent": most_frequent},
        ),
    )


TASKS = made(halves.TEST)
