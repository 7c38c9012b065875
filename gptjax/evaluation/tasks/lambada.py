"""LAMBADA (Paperno et al. 2016): the last word of a passage. Never run here: the set could not be had."""

from gptjax.evaluation import known
from gptjax.evaluation.task import Question, Task


def questions(split: str) -> list[Question]:
    found = []
    for row in known.rows("lambada", split, ["passage"]):
        before, _, last = row["passage"].strip().rpartition(" ")
        found.append(Question(before, (f" {last}",)))
    return found


TASK = Task("lambada", "cloze", lambda: questions("test"), lambda: questions("train"))
