"""Summaries of held-out functions: gptjax evaluate --from=runs/summaries --tasks=experiments/summaries/task.py"""

import collections
import re
from collections.abc import Sequence

from experiments.summaries.examples import examples
from gptjax.evaluation.task import Question, Task


def questions() -> list[Question]:
    return [Question(prompt, (summary,)) for prompt, summary in examples("valid")]


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


TASK = Task(
    name="summaries",
    kind="generate",
    questions=questions,
    metrics=("chrf", "rougeL"),
    max_tokens=40,
    stops=("\n", '"""'),
    baselines={"name": name, "most_frequent": most_frequent},
)
