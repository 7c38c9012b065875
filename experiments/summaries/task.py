"""Summaries of functions of the test half: gptjax evaluate --from=runs/summaries --tasks=experiments/summaries/task.py

All was chosen on the development half (development.py).
"""

import collections
import functools
import re
from collections.abc import Sequence

from experiments import halves
from experiments.nearest import Nearest
from experiments.summaries.examples import examples
from gptjax.evaluation.task import Question, Task


def name(asked: Sequence[Question]) -> list[str]:
    """The words of the function's name."""
    return [" ".join(words_of(question.prompt)).capitalize() + "." for question in asked]


def words_of(prompt: str) -> list[str]:
    found = re.search(r"def (\w+)", prompt)
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", found[1])] if found else []


def most_frequent(asked: Sequence[Question]) -> list[str]:
    """The first line that most functions of the training files have."""
    counts = collections.Counter(summary for _, summary in examples("train"))
    ((best, _),) = counts.most_common(1)
    return [best] * len(asked)


def nearest(asked: Sequence[Question]) -> list[str]:
    """The first line of the training function whose source is most like this one."""
    return [examples("train")[functions_read().of(question.prompt)[0]][1] for question in asked]


@functools.cache
def functions_read() -> Nearest:
    return Nearest([prompt for prompt, _ in examples("train")])


def made(split: str) -> Task:
    """The task on one half: "valid" to choose by, "test" to judge by."""
    return Task(
        name=halves.title("summaries", split),
        kind="generate",
        questions=lambda: [Question(prompt, (summary,)) for prompt, summary in examples(split)],
        metrics=("chrf", "rougeL"),
        max_tokens=40,
        stops=("\n", '"""'),
        baselines={"name": name, "nearest": nearest, "most_frequent": most_frequent},
    )


TASK = made(halves.TEST)
