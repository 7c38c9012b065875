"""Answers to held-out openings: gptjax evaluate --from=runs/dialogue --tasks=experiments/dialogue/task.py"""

import collections
from collections.abc import Sequence

from experiments.dialogue.examples import asked, examples
from gptjax.evaluation.task import Question, Task


def questions() -> list[Question]:
    return [Question(opening, answers) for opening, answers in asked()]


def copy(asked: Sequence[Question]) -> list[str]:
    """What was said, said again."""
    return [question.prompt for question in asked]


def most_frequent(asked: Sequence[Question]) -> list[str]:
    """The first answer that most training conversations have."""
    counts = collections.Counter(messages[1]["content"] for messages in examples("train"))
    ((best, _),) = counts.most_common(1)
    return [best] * len(asked)


TASK = Task(
    name="dialogue",
    kind="generate",
    questions=questions,
    metrics=("chrf", "rougeL"),
    max_tokens=48,
    stops=("\n",),
    chat=True,
    baselines={"copy": copy, "most_frequent": most_frequent},
)
