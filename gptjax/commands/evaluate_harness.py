"""`gptjax evaluate --harness`: tasks of lm-evaluation-harness."""

import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from jax.sharding import Mesh

from gptjax.config import BadInput
from gptjax.evaluation import report
from gptjax.evaluation.scores import Measure
from gptjax.training.source import Source

HOW = "pip install 'gptjax[harness]'"


class Found(NamedTuple):
    """What a model did on every task, by the task's name."""

    given: Source
    measured: dict[str, dict[str, Measure]]  # by metric
    blank: dict[str, dict[str, float]]  # metrics of which only the harness's own number is known
    questions: dict[str, list[str]]  # each with its right answer
    samples: dict[str, Sequence[Any]]  # what the harness keeps of each question
    said: dict[str, Any]  # the harness's own numbers, versions and settings


class Tasks:
    """Tasks that can be run, opened before any weight is."""

    def __init__(self, names: str, folder: str | None):
        """Raises BadInput where the harness is not installed, and where a task or its data is not there."""
        if folder is not None and not pathlib.Path(folder).is_dir():
            raise BadInput(f"--harness_tasks={folder}: no such folder; name one with the YAML files of tasks")
        try:
            from gptjax.evaluation import harness, harness_tasks
        except ImportError as error:
            raise BadInput(f"--harness={names}: needs lm-eval ({error}); {HOW}") from error
        self.make, self.run = harness.HarnessModel, harness_tasks.run
        self.opened = harness_tasks.opened(names.split(","), folder or "")

    def answered(self, given: Source, on: Mesh | None, shots: int | None, limit: int, chat: bool) -> Found:
        """A model's scores; `limit` is questions of each task, 0 all, and `shots` None the tasks' own number."""
        outcomes, said = self.run(self.make(given, on), self.opened, shots=shots, limit=limit, chat=chat)
        parts = {outcome.name: outcome for outcome in outcomes}
        return Found(
            given,
            {name: {m.name: m.measure for m in of.metrics if m.measure is not None} for name, of in parts.items()},
            {name: {m.name: m.value for m in of.metrics if m.measure is None} for name, of in parts.items()},
            {name: of.questions for name, of in parts.items()},
            {name: of.samples for name, of in parts.items()},
            plain(said),
        )


def told(name: str, found: Found, other: Found | None, command: str) -> dict:
    """What is reported of a task."""
    blank = {
        metric: {"score": value, "n": len(found.questions[name]), "interval": None}
        for metric, value in found.blank[name].items()
    }
    measured = found.measured[name]
    if measured:
        of_other = None if other is None else other.measured[name]
        compared = report.compared(measured, of_other, True, command)
        compared["metrics"] |= blank
    else:
        first = next(iter(blank))
        compared = {"metric": first, **blank[first], "metrics": blank}
    return compared | {"shots": found.said["n-shot"][name]}


def samples(found: Found) -> Iterator[dict]:
    """A line for each question, as the harness keeps it."""
    for name, kept in found.samples.items():
        for sample in kept:
            yield {"task": name, "run": found.given.run, "step": found.given.step, **plain(sample)}


def plain(said: Any) -> Any:
    """What the harness says as JSON has it; functions and the like as they are called."""
    return json.loads(json.dumps(said, default=str))
