"""HellaSwag (Zellers et al. 2019): the right one of four endings. Never run here: the set could not be had."""

import re

from gptjax.evaluation import known
from gptjax.evaluation.task import Question, Task

FIELDS = ("activity_label", "context", "endings", "label")


def questions(split: str) -> list[Question]:
    found = []
    for row in known.rows("hellaswag", split, FIELDS):
        endings = tuple(f" {plain(ending)}" for ending in row["endings"])
        found.append(Question(plain(f"{row['activity_label']}: {row['context']}"), endings, int(row["label"])))
    return found


def plain(text: str) -> str:
    """WikiHow's marks, such as [title] and [step], are no words of the text."""
    return " ".join(re.sub(r"\[.*?\]", " ", text.replace(" [title]", ". ")).split())


TASK = Task("hellaswag", "choice", lambda: questions("validation"), lambda: questions("train"))
