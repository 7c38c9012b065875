"""SAMSum (Gliwa et al. 2019): the summary of a chat. Never run here: the set could not be had."""

from collections.abc import Sequence

from gptjax.evaluation import known
from gptjax.evaluation.task import Question, Task


def questions(split: str) -> list[Question]:
    rows = known.rows("samsum", split, ["dialogue", "summary"])
    return [Question(f"{row['dialogue'].strip()}\n\nSummary:", (f" {row['summary'].strip()}",)) for row in rows]


def lead(questions: Sequence[Question]) -> list[str]:
    """The longest turn (the baseline of Gliwa et al. 2019, table 2, takes the three longest)."""
    return [" " + max(question.prompt.split("\n\nSummary:")[0].splitlines(), key=len) for question in questions]


TASK = Task(
    "samsum",
    "generate",
    lambda: questions("test"),
    lambda: questions("train"),
    metrics=("rouge1", "rouge2", "rougeL", "bleu", "chrf"),
    stops=("\n",),
    baselines={"longest_turn": lead},
)
