"""Tasks of lm-evaluation-harness: found, run, and their numbers measured once more, with intervals."""

import difflib
import importlib.metadata
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from lm_eval.api import metrics as theirs
from lm_eval.api.model import LM
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from gptjax.config import BadInput
from gptjax.evaluation import scores
from gptjax.evaluation.scores import Measure

Task = Any  # the harness's; what it makes of YAML files has more than its class of this name says
NO_FILTER = "none"  # the harness's name of answers as the model gave them

# How the harness makes one number of a metric's values, each a number or a pair (value, weight): as sums, and a
# function of the sums. Metrics that are made otherwise (F1, BLEU over a corpus) have its number and no interval.
OF_SUMS: dict[Callable, Callable[[np.ndarray], float]] = {
    theirs.mean: lambda sums_K: sums_K[0] / sums_K[1],
    theirs.perplexity: lambda sums_K: math.exp(-sums_K[0] / sums_K[1]),
    theirs.weighted_perplexity: lambda sums_K: math.exp(-sums_K[0] / sums_K[1]),
    theirs.bits_per_byte: lambda sums_K: -sums_K[0] / sums_K[1] / math.log(2),
}


class Metric(NamedTuple):
    name: str  # with the filter of answers, where there is one: "exact_match,strict-match"
    value: float  # as the harness has it
    measure: Measure | None  # None where its number is no function of sums over questions


class Outcome(NamedTuple):
    """One task, run."""

    name: str
    metrics: list[Metric]  # the first is the task's
    questions: list[str]  # each with its right answer, as one text
    samples: Sequence[Any]  # what the harness keeps of each question


def opened(names: Sequence[str], folder: str) -> list[Task]:
    """The tasks of names, of groups, and of YAML files; those of `folder`, where it is not "", go before the harness's
    own. Raises BadInput for a name that there is not, and for a task whose data cannot be read."""
    manager = TaskManager(include_path=folder or None, include_defaults=False)
    if any(name not in manager.all_tasks and not name.endswith(".yaml") for name in names):
        manager = TaskManager(include_path=folder or None)
    found: dict[str, Task] = {}
    for name in names:
        if name not in manager.all_tasks and not name.endswith(".yaml"):
            near = difflib.get_close_matches(name, manager.all_tasks, n=1)
            raise BadInput(f"--harness={name}: no such task" + (f"; did you mean {near[0]}?" if near else ""))
        try:
            found |= manager.load([name])["tasks"]
        except Exception as error:  # of the harness, of what reads its data, and of the task's own code
            said = " ".join(str(error).split())
            raise BadInput(f"--harness={name}: cannot be opened ({type(error).__name__}: {said})") from error
    return list(found.values())


def run(
    model: LM, tasks: Sequence[Task], *, shots: int | None, limit: int, chat: bool
) -> tuple[list[Outcome], dict[str, Any]]:
    """Each task's outcome, and what the harness says itself. `shots` None is as each task has it; `limit` 0 is all."""
    found = simple_evaluate(
        model,
        tasks=list(tasks),
        num_fewshot=shots,
        limit=limit or None,
        apply_chat_template=chat,
        fewshot_as_multiturn=chat,
        bootstrap_iters=0,  # it would fork this process, whose threads are JAX's
        task_manager=TaskManager(include_defaults=False),  # or it would read its thousands of tasks, for 15 s
    )
    assert found is not None  # it is for all processes but the first
    samples = found.pop("samples")
    return [outcome(task, found, samples[task.task_name]) for task in tasks], dict(found)


def outcome(task: Task, found: Mapping[str, Any], samples: Sequence[Any]) -> Outcome:
    name = task.task_name
    measured = []
    for key, value in found["results"][name].items():
        metric, comma, filtered = key.partition(",")
        if comma and not metric.endswith("_stderr"):
            values = [sample[metric] for sample in samples if sample["filter"] == filtered]
            title = metric if filtered == NO_FILTER else key
            measured.append(Metric(title, float(value), measure(title, values, task, metric, found)))
    first = samples[0]["filter"]
    asked = [question(task, sample["doc"]) for sample in samples if sample["filter"] == first]
    return Outcome(name, measured, asked, samples)


def measure(title: str, values: Sequence[Any], task: Task, metric: str, found: Mapping[str, Any]) -> Measure | None:
    """The metric as sums over questions."""
    aggregate = task.aggregation().get(metric, theirs.mean)  # as the harness has it where a task names none
    if aggregate not in OF_SUMS:
        return None
    pairs = [value if isinstance(value, tuple | list) else (value, 1.0) for value in values]
    name, version = task.task_name, importlib.metadata.version("lm_eval")
    signature = f"lm_eval:{name}|version:{found['versions'][name]}|shots:{found['n-shot'][name]}|lm_eval:{version}"
    return Measure(title, np.array(pairs, np.float64), OF_SUMS[aggregate], signature)


def question(task: Task, doc: dict[str, Any]) -> str:
    """What is asked, without examples, and the right answer."""
    choices = task.doc_to_choice(doc) if task.config.doc_to_choice is not None else []
    return f"{spelled(task.doc_to_text(doc), choices)} {spelled(task.doc_to_target(doc), choices)}"


def spelled(said: Any, choices: Sequence[str]) -> str:
    """A text; of a number the choice that it is, of several their texts."""
    if isinstance(said, list):
        return " ".join(spelled(each, choices) for each in said)
    if isinstance(said, int) and choices:
        return choices[said] if 0 <= said < len(choices) else ""
    return str(said)


def scored(metric: Metric, command: str) -> scores.Score | None:
    return None if metric.measure is None else scores.score(metric.measure, command)
