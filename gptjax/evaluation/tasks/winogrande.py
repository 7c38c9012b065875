"""WinoGrande (Sakaguchi et al. 2020): which of two names fills the blank. Never run here: the set could not be had.

A choice is the name with all that comes behind it; elsewhere that may be scored without the name.
"""

from gptjax.evaluation import known
from gptjax.evaluation.task import Question, Task

FIELDS = ("sentence", "option1", "option2", "label")


def questions(split: str) -> list[Question]:
    found = []
    for row in known.rows("winogrande", split, FIELDS):
        before, _, behind = row["sentence"].partition("_")
        space = " " if before.endswith(" ") else ""
        choices = tuple(f"{space}{row[option]}{behind}" for option in ("option1", "option2"))
        found.append(Question(before.rstrip(), choices, int(row["label"])))
    return found


TASK = Task("winogrande", "choice", lambda: questions("validation"), lambda: questions("train_xl"))
