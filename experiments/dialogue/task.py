"""Answers to openings of the test half: gptjax evaluate --from=runs/dialogue --tasks=experiments/dialogue/task.py

`dialogue` asks how well the answer is foreseen, in bits a byte, `dialogue_choice` which of ten answers is the right
one, `dialogue_written` what the model says itself. All three were chosen on the development half (development.py).
"""

import collections
import functools
from collections.abc import Sequence

from experiments import halves, ngrams
from experiments.dialogue.examples import asked, examples
from experiments.nearest import Nearest
from experiments.ngrams import NGrams
from gptjax.data import templates
from gptjax.data.templates import Message
from gptjax.evaluation.task import Question, Task

ORDER = 6  # characters
N_CHOICES = 10
N_NEAREST = 5  # training conversations whose answers `lookup` expects to come again
SHARE = 0.3  # of `lookup` that goes by those


def foreseeable(split: str) -> list[Question]:
    return [Question(opening, answers[:1]) for opening, answers in asked(split)]


def chosen(split: str) -> list[Question]:
    """The answer beside nine of other openings, from as far away as can be."""
    firsts = list(dict.fromkeys(answers[0] for _, answers in asked(split)))
    found = []
    for number, (opening, answers) in enumerate(asked(split)):
        at = firsts.index(answers[0])
        others = [firsts[(at + turn * len(firsts) // N_CHOICES) % len(firsts)] for turn in range(1, N_CHOICES)]
        right = number % N_CHOICES  # its place
        found.append(Question(opening, (*others[:right], answers[0], *others[right:]), right))
    return found


def written(split: str) -> list[Question]:
    return [Question(opening, answers) for opening, answers in asked(split)]


@functools.cache
def trained() -> list[tuple[str, str]]:
    """(opening, answer) of every training conversation."""
    return [(messages[0]["content"], messages[1]["content"]) for messages in examples("train")]


@functools.cache
def openings() -> Nearest:
    return Nearest([opening for opening, _ in trained()])


@functools.cache
def characters() -> NGrams:
    """Of the training conversations as the model reads them."""
    dialogs = ([Message(**message) for message in messages] for messages in examples("train"))
    return NGrams(ORDER, 256, [templates.plain(messages, ask=False) for messages in dialogs])


def as_read(question: Question) -> tuple[str, str]:
    """What is given, and the answer with what ends it, which the model must foresee too."""
    given = templates.plain([Message("user", question.prompt)], ask=True)
    return given, f" {question.answers[0]}\n"


def ngram(asked: Sequence[Question]) -> list[float]:
    """The log-probability of each answer by 6-grams of characters."""
    return [-characters().nats(*as_read(question)) for question in asked]


def lookup(asked: Sequence[Question]) -> list[float]:
    """By those mixed with 6-grams of what was said (copy) and of the answers to the openings most like it."""
    found = []
    for question in asked:
        answers = [f" {trained()[number][1]}\n" for number in openings().of(question.prompt, N_NEAREST)]
        near = NGrams(ORDER, 256, [f" {question.prompt}\n", *answers])
        found.append(-ngrams.nats([(1 - SHARE, characters()), (SHARE, near)], *as_read(question)))
    return found


def overlap(asked: Sequence[Question]) -> list[str]:
    """The choice that shares most words with the opening."""
    return [most_like(question.prompt, question.answers) for question in asked]


def overlap_nearest(asked: Sequence[Question]) -> list[str]:
    """The choice that shares most words with the opening and the answer to the training opening most like it."""
    texts = [f"{question.prompt}\n{answer}" for question, answer in zip(asked, nearest(asked), strict=True)]
    return [most_like(text, question.answers) for text, question in zip(texts, asked, strict=True)]


def most_like(text: str, choices: Sequence[str]) -> str:
    return choices[Nearest(choices).of(text)[0]]


def copy(asked: Sequence[Question]) -> list[str]:
    """What was said, said again."""
    return [question.prompt for question in asked]


def nearest(asked: Sequence[Question]) -> list[str]:
    """The answer to the training opening most like it."""
    return [trained()[openings().of(question.prompt)[0]][1] for question in asked]


def most_frequent(asked: Sequence[Question]) -> list[str]:
    """The first answer that most training conversations have."""
    ((best, _),) = collections.Counter(answer for _, answer in trained()).most_common(1)
    return [best] * len(asked)


def made(split: str) -> tuple[Task, ...]:
    """The tasks on one half: "valid" to choose by, "test" to judge by."""
    return (
        Task(
            name=halves.title("dialogue", split),
            kind="cloze",
            questions=lambda: foreseeable(split),
            metrics=("bits_per_byte",),
            chat=True,
            baselines={"lookup": lookup, "ngram": ngram},
        ),
        Task(
            name=halves.title("dialogue_choice", split),
            kind="choice",
            questions=lambda: chosen(split),
            metrics=("accuracy_norm",),
            chat=True,
            baselines={"overlap": overlap, "overlap_nearest": overlap_nearest},
        ),
        Task(
            name=halves.title("dialogue_written", split),
            kind="generate",
            questions=lambda: written(split),
            metrics=("chrf", "rougeL"),
            max_tokens=48,
            stops=("\n",),
            chat=True,
            baselines={"copy": copy, "nearest": nearest, "most_frequent": most_frequent},
        ),
    )


TASKS = made(halves.TEST)
