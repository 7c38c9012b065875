"""PIQA (Bisk et al. 2020): the better of two ways to reach a goal. Never run here: the set could not be had."""

from gptjax.evaluation import known
from gptjax.evaluation.task import Question, Task

FIELDS = ("goal", "sol1", "sol2", "label")


def questions(split: str) -> list[Question]:
    return [
        Question(f"Question: {row['goal']}\nAnswer:", (f" {row['sol1']}", f" {row['sol2']}"), int(row["label"]))
        for row in known.rows("piqa", split, FIELDS)
    ]


TASK = Task("piqa", "choice", lambda: questions("validation"), lambda: questions("train"))
