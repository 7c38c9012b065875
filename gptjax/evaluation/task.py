"""What a task is: questions, the form of their answers, and where shots come from.

A task file, one of `tasks/` or a user's, defines TASK = Task(...) or TASKS, a tuple of them.
"""

import dataclasses
import difflib
import importlib.util
import pathlib
import random
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from gptjax.config import BadInput

KINDS = {  # of tasks, with the metrics of each
    "choice": ("accuracy", "accuracy_norm"),
    "cloze": ("accuracy", "loss", "perplexity", "bits_per_byte"),
    "generate": (
        "exact_match",
        "first_line_exact_match",
        "edit_similarity",
        "bleu",
        "chrf",
        "rouge1",
        "rouge2",
        "rougeL",
        "rougeLsum",
    ),
}
FOLDER = pathlib.Path(__file__).with_name("tasks")
BLANK = "\n\n"  # between shots, and before the question


class Question(NamedTuple):
    """One question of a task; what `answers` are depends on the task's kind."""

    prompt: str  # what stands before; may be ""
    answers: tuple[str, ...]  # "choice": the choices; "cloze": the one continuation; "generate": the references
    right: int = 0  # "choice" alone: which of the answers


# Trivial answers to the questions, as texts; of a cloze also the log-probability of each answer, in nats.
Baseline = Callable[[Sequence[Question]], Sequence[str] | Sequence[float]]


@dataclasses.dataclass(frozen=True)
class Task:
    """What is asked, how an answer is judged, and where its few-shot examples come from."""

    name: str
    kind: str  # a row of KINDS
    questions: Callable[[], Sequence[Question]]  # what is scored, held out; always the same, in the same order
    shots: Callable[[], Sequence[Question]] | None = None  # where few-shot examples come from; never of the questions
    n_shots: int = 0
    metrics: tuple[str, ...] = ()  # of KINDS; the first is the task's
    max_tokens: int = 64  # "generate"
    stops: tuple[str, ...] = ()  # "generate"
    chat: bool = False  # the prompt is a user's message, written as the model's chat template has it
    baselines: Mapping[str, Baseline] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises BadInput for what no task can be."""
        if self.kind not in KINDS:
            raise BadInput(
                f"task {self.name}: no kind {self.kind!r}{near(self.kind, KINDS)}; it is one of {', '.join(KINDS)}"
            )
        known = KINDS[self.kind]
        for metric in self.metrics:
            if metric not in known:
                raise BadInput(
                    f"task {self.name}: no metric {metric!r}{near(metric, known)}; it is one of {', '.join(known)}"
                )
        if self.n_shots and self.shots is None:
            raise BadInput(f"task {self.name}: n_shots={self.n_shots}, but the task has no shots")

    @property
    def measured(self) -> tuple[str, ...]:
        """The metrics that were asked for, or those of the kind that need no extra."""
        return self.metrics or KINDS[self.kind][:3]


def near(word: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def shipped() -> list[str]:
    """The names of the tasks of `tasks/`."""
    return sorted(file.stem for file in FOLDER.glob("*.py") if file.stem != "__init__")


def load(names: Sequence[str]) -> list[Task]:
    """The tasks of names of `tasks/` and of Python files, which are executed. Raises BadInput."""
    found = [task for name in names for task in load_file(file_of(name))]
    for number, task in enumerate(found):
        if any(task.name == other.name for other in found[:number]):
            raise BadInput(f"--tasks: two tasks are called {task.name!r}; scores are told apart by name")
    return found


def file_of(name: str) -> pathlib.Path:
    if name in shipped():
        return FOLDER / f"{name}.py"
    file = pathlib.Path(name)
    if file.suffix == ".py":
        if file.is_file():
            return file
        raise BadInput(f"--tasks={name}: no such file{near(file.name, [f.name for f in file.parent.glob('*.py')])}")
    raise BadInput(
        f"--tasks={name}: no such task{near(name, shipped())}; it is one of {', '.join(shipped())}, or a FILE.py"
    )


def load_file(file: pathlib.Path) -> list[Task]:
    made = importlib.util.spec_from_file_location(f"gptjax_task_{file.stem}", file)
    if made is None or made.loader is None:
        raise BadInput(f"--tasks={file}: not a Python file")
    module = importlib.util.module_from_spec(made)
    sys.path.insert(0, str(pathlib.Path.cwd()))  # so that it can import what lies below, as a config can
    try:
        made.loader.exec_module(module)
    except BadInput:
        raise
    except (Exception, SystemExit) as error:  # it is the user's code, and may fail in any way
        raise BadInput(f"--tasks={file}: {type(error).__name__}: {' '.join(str(error).split())}") from error
    finally:
        sys.path.pop(0)
    names = vars(module)
    tasks = list(names["TASKS"]) if "TASKS" in names else [names["TASK"]] if "TASK" in names else []
    if not tasks or not all(isinstance(task, Task) for task in tasks):
        raise BadInput(f"--tasks={file}: defines no TASK = Task(...), nor TASKS, a tuple of them")
    return tasks


def opened(task: Task, limit: int = 0) -> list[Question]:
    """The questions, the first `limit` of them where that is above 0. Raises BadInput for what no question can be."""
    try:
        questions = list(task.questions())
    except BadInput:
        raise
    except Exception as error:  # of the task's own code
        raise BadInput(f"task {task.name}: {type(error).__name__}: {' '.join(str(error).split())}") from error
    if not questions:
        raise BadInput(f"task {task.name}: has no questions")
    questions = questions[:limit] if limit else questions
    for number, question in enumerate(questions):
        check(task, question, f"task {task.name}, question {number}")
    return questions


def check(task: Task, question: Question, where: str) -> None:
    if not question.answers or not all(question.answers):
        raise BadInput(f"{where}: needs answers, none of them empty")
    if task.kind == "choice" and not (len(question.answers) > 1 and 0 <= question.right < len(question.answers)):
        raise BadInput(f"{where}: right={question.right}, of {len(question.answers)} choices")
    if task.kind == "cloze" and len(question.answers) != 1:
        raise BadInput(f"{where}: a cloze has one answer, not {len(question.answers)}")


def drawn_shots(task: Task, questions: Sequence[Question], n: int) -> list[Question]:
    """`n` examples of the task's pool, drawn by its name: the same before every question, and none of the questions.

    Raises BadInput where the pool has fewer."""
    if not n:
        return []
    if task.shots is None:
        raise BadInput(f"--shots={n}: task {task.name} has no examples to show; use --shots=0")
    asked = {question.prompt.strip() for question in questions}
    pool = [shot for shot in task.shots() if not shot.prompt.strip() or shot.prompt.strip() not in asked]
    if len(pool) < n:
        raise BadInput(f"--shots={n}: task {task.name} has {len(pool)} examples to show; try {len(pool)}")
    return random.Random(f"gptjax shots of {task.name}").sample(pool, n)


def with_shots(question: Question, shots: Sequence[Question]) -> str:
    """The prompt behind the examples, each with its right answer and a blank line."""
    shown = [shot.prompt + shot.answers[shot.right] for shot in shots]
    return BLANK.join([*shown, question.prompt])
