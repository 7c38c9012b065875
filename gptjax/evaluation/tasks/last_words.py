"""The last word of a paragraph of the library's documentation: LAMBADA's form (Paperno et al. 2016)."""

import re
from collections.abc import Sequence

from gptjax.evaluation import library
from gptjax.evaluation.task import Question, Task


def questions(split: str) -> list[Question]:
    found = []
    for paragraph in library.paragraphs(split, 2000):
        before, _, last = paragraph.rstrip(".").rpartition(" ")
        if re.fullmatch("[A-Za-z]{4,}", last) and 60 <= len(before) < 1000:
            found.append(Question(before, (f" {last}",)))
    return found[:300]


def most_frequent(questions: Sequence[Question]) -> list[str]:
    """The word of four letters or more that the paragraph has used most often."""
    words = [re.findall("[A-Za-z]{4,}", question.prompt) for question in questions]
    return [f" {max(found, key=found.count)}" if found else " " for found in words]


TASK = Task(
    "last_words",
    "cloze",
    lambda: questions("valid"),
    lambda: questions("train"),
    baselines={"most_frequent": most_frequent},
)
