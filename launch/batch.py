"""A submission: some trials of a sweep that are given to an engine together, and the words that start each.

Each engine is one file with the same five functions (`engines.py` has the table):
    render(batch, settings) -> {name: text}     exactly what would be sent; nothing is
    submit(batch, settings, claim) -> {trial: job}      starts the trials it has room for that `claim(trial)` grants
    states(live, place, settings) -> {trial: "alive" | "gone" | "unknown" | "out of memory"}      the engine's truth
    cancel(live, place, settings)       ends those that are alive
    logs(trial, state, place, settings) -> words of a command that prints the log
"""

import hashlib
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gptjax.config import BadInput
from launch.sweep import Trial


class Place(NamedTuple):
    """Where a sweep lives: `root` holds a run directory for each trial, and the table."""

    sweep: str
    root: str

    @property
    def table(self) -> str:
        """The table's folder or URL, beside the trials' run directories."""
        return f"{self.root}/table"

    def workdir(self, trial: str) -> str:
        """The run directory of a trial, by its id."""
        return f"{self.root}/{trial}"

    @property
    def here(self) -> pathlib.Path:
        """For what must lie on this machine's own disk: logs, locks. The root, where that is a folder."""
        if "://" not in self.root:
            return pathlib.Path(self.root)
        digest = hashlib.sha256(self.root.encode()).hexdigest()[:16]
        return pathlib.Path(tempfile.gettempdir(), f"gptjax-launch-{os.getuid()}", digest)


class Batch(NamedTuple):
    """What an engine is given to render or submit."""

    name: str  # which the table knows it by: a job of another batch starts nothing
    place: Place
    config: str
    trials: Sequence[Trial]
    max_failures: int
    metric: str


def place(runs: str, sweep: str) -> Place:
    """Below `runs`, made absolute on a disk, since jobs start elsewhere; BadInput for a name that is none."""
    if not runs or not runs.isprintable():
        raise BadInput("--runs: name a folder or a bucket for the runs of sweeps, such as runs")
    return Place(sweep, f"{runs.rstrip('/') if '://' in runs else os.path.abspath(os.path.expanduser(runs))}/{sweep}")


def train_words(batch: Batch, trial: Trial, python: str = sys.executable) -> list[str]:
    """The `gptjax train` of a trial."""
    keys = [f"--config.{override}" for override in trial.overrides]
    return [python, "-m", "gptjax.cli", "train", f"--config={batch.config}", *keys, *workdir_word(batch, trial)]


def workdir_word(batch: Batch, trial: Trial) -> list[str]:
    return [f"--workdir={batch.place.workdir(trial.id)}"]


def job_words(batch: Batch, trial: Trial, engine: str, more: Sequence[str] = (), python: str = sys.executable):
    """The `launch.job` that goes around a trial's command, up to and with its `--`."""
    return [
        *(python, "-m", "launch.job", f"--table={batch.place.table}", f"--trial={trial.id}", f"--batch={batch.name}"),
        *(f"--engine={engine}", *workdir_word(batch, trial), f"--max_failures={batch.max_failures}"),
        *(f"--metric={batch.metric}", *more, "--"),
    ]


def shell(words: Sequence[str]) -> str:
    """The words as a shell reads them, one flag a line."""
    return "".join((" \\\n    " if word.startswith("--") else " ") + shlex.quote(word) for word in words).strip()


def asked(words: Sequence[str], given: str | None = None) -> str:
    """What an engine's own command prints; raises BadInput where it is not installed, RuntimeError where it fails."""
    try:
        done = subprocess.run(words, input=given, capture_output=True, text=True, timeout=120)
    except FileNotFoundError as error:
        raise BadInput(f"{words[0]} is not installed here; --on names an engine whose command is") from error
    if done.returncode:
        raise RuntimeError(f"{shlex.join(words[:3])} ...: {' '.join(done.stderr.split())[-300:]}")
    return done.stdout


def plain(settings: Any, keys: Mapping[str, str]) -> None:
    """Raises BadInput for settings that would be more than one word in a script; `keys` says what each is like."""
    for key, example in keys.items():
        value = getattr(settings, key)
        if not all(character.isalnum() or character in "-_.:/@+=,*" for character in value):
            raise BadInput(f"--on.{key}={value!r}: must be one plain word, such as {example}")
