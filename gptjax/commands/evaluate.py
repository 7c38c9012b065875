"""`gptjax evaluate`: a model's scores on tasks, with intervals, beside trivial answers and beside another model."""

import contextlib
import json
import pathlib
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
from jax.sharding import Mesh

from gptjax import mesh
from gptjax.commands import evaluate_harness, evaluate_text
from gptjax.config import BadInput, Config, MeshConfig, ModelConfig
from gptjax.evaluation import heldout, measures, report, task, trained_on
from gptjax.evaluation.answering import Answerer, Answers
from gptjax.evaluation.scores import Measure
from gptjax.evaluation.task import Question, Task
from gptjax.model import gpt
from gptjax.progress import progress_line
from gptjax.training import sharding, source
from gptjax.training.source import Source

HELDOUT = "heldout"  # the run's own held-out text, which is no file of tasks


class Asked(NamedTuple):
    """The flags of the command, by their names."""

    folder: str
    tasks: str | None
    harness: str | None
    harness_tasks: str | None
    apply_chat_template: bool
    against: str | None
    shots: int | None
    limit: int
    json: str | None
    samples: str | None

    @property
    def command(self) -> str:
        """What gives the same scores again."""
        names = ("tasks", "harness", "harness_tasks", "against", "shots")
        named = {"from": self.folder, **{name: getattr(self, name) for name in names}}
        words = [f"--{name}={value}" for name, value in named.items() if value is not None]
        words += ["--apply_chat_template"] if self.apply_chat_template else []
        return shlex.join(["gptjax", "evaluate", *words, *([f"--limit={self.limit}"] if self.limit else [])])

    @property
    def folders(self) -> list[str]:
        """Of the models."""
        return [self.folder] if self.against is None else [self.folder, self.against]


class Opened(NamedTuple):
    """A task with all that is asked, and what is shown before each question."""

    task: Task
    questions: list[Question]
    shots: list[Question]


class Found(NamedTuple):
    """What a model did."""

    given: Source
    measured: dict[str, dict[str, Measure]]  # of each task, by metric
    answers: dict[str, Answers]
    questions: dict[str, list[str]]  # of each task, each with its right answer


def run(asked: Asked) -> int:
    """Prints the table, and writes it and every answer where that is asked; returns the exit code. Raises BadInput."""
    check(asked)
    whole, lines = of_tasks(asked) if asked.harness is None else of_harness(asked)
    evaluate_text.show(whole)
    if asked.json is not None:
        write("--json", asked.json, json.dumps(whole, indent=1) + "\n")
    if asked.samples is not None:
        write("--samples", asked.samples, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return 0


def of_tasks(asked: Asked) -> tuple[dict, Iterator[dict]]:
    """What is reported of the tasks of gptjax, and a line of every answer."""
    names = names_of(asked.tasks)
    opened = [open_task(one, asked) for one in task.load([name for name in names if name != HELDOUT])]
    described = [source.described(folder) for folder in asked.folders]
    if HELDOUT in names and len({fingerprint for _, fingerprint in described}) > 1:
        raise BadInput(f"--against={asked.against}: its tokenizer is another, so it cannot be scored on {HELDOUT} text")
    models: list[Found] = []
    for folder in asked.folders:
        models.append(answered(folder, opened, asked.limit, HELDOUT in names, models[0].given.cfg if models else None))
    found, other = models[0], models[1] if len(models) > 1 else None
    tasks = {name: told(name, found, other, opened, asked.command) for name in found.measured}
    return reported(asked, models, tasks), samples(opened, models)


def of_harness(asked: Asked) -> tuple[dict, Iterator[dict]]:
    """The same of lm-evaluation-harness's tasks, with what the harness says itself under `harness`."""
    tasks, models = evaluate_harness.Tasks(asked.harness or "", asked.harness_tasks), []
    described = [source.described(folder)[0] for folder in asked.folders]
    for folder, cfg in zip(asked.folders, described, strict=True):
        on = mesh_for(cfg)
        given = source.open_run(folder, on)
        models.append(tasks.answered(given, on, asked.shots, asked.limit, asked.apply_chat_template))
    found, other = models[0], models[1] if len(models) > 1 else None
    reports = {name: evaluate_harness.told(name, found, other, asked.command) for name in found.measured}
    lines = (line for model in models for line in evaluate_harness.samples(model))
    return reported(asked, models, reports) | {"harness": [model.said for model in models]}, lines


def reported(asked: Asked, models: Sequence[Found] | Sequence[evaluate_harness.Found], tasks: dict[str, dict]) -> dict:
    """The report: which models, each with what is known of its training text, and of every task the scores."""
    described = []
    for path, model in zip(asked.folders, models, strict=True):
        overlaps = trained_on.overlaps(model.given, model.questions)
        described.append(
            {
                "path": path,
                "run": model.given.run,
                "step": model.given.step,
                "contamination_unknown": overlaps.unknown or None,
                "contaminated": report.contaminated(model.measured, overlaps.overlaps, asked.command),
            }
        )
    first = described[0]["contaminated"]
    reports = {name: {**of_task, "contaminated": first.get(name)} for name, of_task in tasks.items()}
    against = described[1] if len(described) > 1 else None
    return {"command": asked.command, "from": described[0], "against": against, "tasks": reports}


def check(asked: Asked) -> None:
    """Raises BadInput for flags that cannot be, before anything is opened."""
    named = {"from": asked.folder, "tasks": asked.tasks, "harness": asked.harness, "against": asked.against}
    for name, text in named.items():
        if text == "":
            raise BadInput(f"--{name}: is empty; give at least one character")
    if asked.tasks is not None and asked.harness is not None:
        raise BadInput("--tasks and --harness: one of the two at a time")
    if asked.harness is not None and not all(asked.harness.split(",")):
        raise BadInput(f"--harness={asked.harness}: a name between the commas is empty")
    if asked.harness is None and (asked.harness_tasks is not None or asked.apply_chat_template):
        flag = "harness_tasks" if asked.harness_tasks is not None else "apply_chat_template"
        raise BadInput(f"--{flag}: is for --harness; leave it out")
    for name, number in (("shots", asked.shots), ("limit", asked.limit)):
        if number is not None and not 0 <= number < 2**31:
            raise BadInput(f"--{name}={number}: must be at {'least 0' if number < 0 else f'most {2**31 - 1}'}")
    for name in ("json", "samples"):
        file = getattr(asked, name)
        if file is not None and (not file or pathlib.Path(file).is_dir() or not pathlib.Path(file).parent.is_dir()):
            raise BadInput(f"--{name}={file}: name a file in a folder that exists")


def names_of(tasks: str | None) -> list[str]:
    if tasks is None:
        raise BadInput(f"--tasks: name at least one; it is {HELDOUT}, {', '.join(task.shipped())}, or a FILE.py")
    if not all(tasks.split(",")):
        raise BadInput(f"--tasks={tasks}: a name between the commas is empty")
    return tasks.split(",")


def open_task(one: Task, asked: Asked) -> Opened:
    questions = task.opened(one, asked.limit)
    n_shots = one.n_shots if asked.shots is None else asked.shots
    return Opened(one, questions, task.drawn_shots(one, questions, n_shots))


def answered(folder: str, opened: Sequence[Opened], limit: int, with_heldout: bool, cfg: Config | None) -> Found:
    """What the model of a folder does on every task; the held-out text is that of `cfg`, without one its own."""
    on = mesh_for(source.described(folder)[0])
    given = source.open_run(folder, on)
    answerer, measured, answers, texts = Answerer(given, on), {}, {}, {}
    if with_heldout:
        windows = heldout.opened(given.cfg if cfg is None else cfg, on, folder)
        with telling(f"{folder}: {HELDOUT}", windows.n_rows, "windows") as tell:
            measured[HELDOUT] = heldout.measure(given.params, given.cfg.model, windows, on, limit, tell)
        texts[HELDOUT] = heldout.texts(windows, given.tokenizer, limit)
    for one, questions, shots in opened:
        with telling(f"{folder}: {one.name}", len(questions), "questions") as tell:
            answers[one.name] = answerer.answer(one, questions, shots, tell)
        measured[one.name] = measures.of_answers(one, questions, answers[one.name])
        texts[one.name] = [as_text(one, question) for question in questions]
    return Found(given, measured, answers, texts)


def as_text(one: Task, question: Question) -> str:
    """What is asked, and what would be right."""
    right = [question.answers[question.right]] if one.kind == "choice" else question.answers
    return " ".join([question.prompt, *right])


@contextlib.contextmanager
def telling(title: str, n: int, what: str) -> Iterator[Callable[[int], None]]:
    """Gives a function that takes how many of the `n` are done, and shows it on stderr."""
    with progress_line(title, shown=True) as show:
        yield lambda done: show(f"{done:,} of {n:,} {what}")


def mesh_for(cfg: ModelConfig) -> Mesh | None:
    """All devices: the parameters divided among them where that goes, else a copy on each. None for one device."""
    if len(jax.devices()) == 1:
        return None
    divided, copied = (mesh.make(MeshConfig(*sizes)) for sizes in ((1, -1, 1, 1), (-1, 1, 1, 1)))
    try:
        sharding.of_params(jax.eval_shape(lambda: gpt.init(jax.random.key(0), cfg)), divided)
    except BadInput:
        return copied
    return divided


def told(name: str, found: Found, other: Found | None, opened: Sequence[Opened], command: str) -> dict:
    """What is reported of a task."""
    of_other = None if other is None else other.measured[name]
    same_tokens = other is not None and other.given.tokenizer.fingerprint == found.given.tokenizer.fingerprint
    compared = report.compared(found.measured[name], of_other, same_tokens, command)
    if name == HELDOUT:
        return compared
    one, questions, shots = next(entry for entry in opened if entry.task.name == name)
    answers = found.answers[name]
    baselines = {
        title: measures.of_baseline(one, baseline(questions), questions, answers, f"task {name}, baseline {title}")
        for title, baseline in one.baselines.items()
    }
    beside = {title: report.compared_with(found.measured[name], of, command) for title, of in baselines.items()}
    return compared | {"shots": len(shots), "cut": answers.n_cut, "baselines": beside}


def samples(opened: Sequence[Opened], models: Sequence[Found]) -> Iterator[dict]:
    """A line for each question and model: what was asked, what would be right, and what the model said."""
    for one, questions, shots in opened:
        for number, question in enumerate(questions):
            for found in models:
                yield {
                    "task": one.name,
                    "number": number,
                    "run": found.given.run,
                    "step": found.given.step,
                    "prompt": task.with_shots(question, shots),
                    "answers": question.answers,
                    **found.answers[one.name].of(number, question, one.kind),
                }


def write(flag: str, file: str, text: str) -> None:
    """Writes a text file and says so; BadInput, which names the flag, where it cannot be written."""
    try:
        pathlib.Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{flag}={file}: {error.strerror}; name a file that can be written") from error
    print(f"wrote {file}")
