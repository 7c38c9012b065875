"""ARC Easy (Clark et al. 2018): school questions with three to five choices. Never run here: the set could not be had.

Fields as TFDS has them: `choices` is {"text": [...], "label": [...]}, with labels and `answerKey` numbers or letters.
"""

from gptjax.evaluation import known
from gptjax.evaluation.task import Question, Task

FIELDS = ("question", "choices", "answerKey")


def questions(split: str) -> list[Question]:
    found = []
    for row in known.rows("ai2_arc/ARC-Easy", split, FIELDS):
        texts, labels = row["choices"]["text"], list(row["choices"]["label"])
        right = labels.index(row["answerKey"])
        found.append(Question(f"Question: {row['question']}\nAnswer:", tuple(f" {text}" for text in texts), right))
    return found


TASK = Task("arc_easy", "choice", lambda: questions("test"), lambda: questions("train"))
