"""The next line of a function of the standard library, after its signature, docstring and the lines before."""

from collections.abc import Sequence

from gptjax.evaluation import library
from gptjax.evaluation.task import Question, Task


def questions(split: str) -> list[Question]:
    found = []
    for function in library.functions(split, 400):
        if not 3 <= len(function.body) <= 30:
            continue
        at = len(function.body) // 2
        before = [f"    {line}" for line in function.body[:at]]
        indent = len(function.body[at]) - len(function.body[at].lstrip()) + 4
        code = "\n".join([function.signature, f'    """{function.summary}"""', *before, " " * indent])
        found.append(Question(code.rstrip(" "), (" " * indent + function.body[at].strip(),)))
    return found[:200]


def copied(questions: Sequence[Question]) -> list[str]:
    """The line before, again."""
    return [question.prompt.rstrip("\n").rpartition("\n")[2] for question in questions]


TASK = Task(
    "code_lines",
    "generate",
    lambda: questions("valid"),
    lambda: questions("train"),
    metrics=("edit_similarity", "first_line_exact_match"),
    max_tokens=64,
    stops=("\n",),
    baselines={"copy": copied},
)
