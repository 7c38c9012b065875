"""The character of an HTML entity."""

import hashlib
import html.entities
from collections.abc import Sequence

from gptjax.evaluation.task import Question, Task


def entities(held_out: bool) -> list[Question]:
    found = []
    for name, code in sorted(html.entities.name2codepoint.items()):
        if (hashlib.sha256(name.encode()).digest()[0] % 3 == 0) == held_out:
            found.append(Question(f"&{name}; =", (f" {chr(code)}",)))
    return found


def copied(questions: Sequence[Question]) -> list[str]:
    """The letter that the name begins with."""
    return [f" {question.prompt[1]}" for question in questions]


TASK = Task(
    "html_entities",
    "generate",
    lambda: entities(True),
    lambda: entities(False),
    n_shots=4,
    metrics=("exact_match",),
    max_tokens=8,
    stops=("\n",),
    baselines={"copy": copied},
)
