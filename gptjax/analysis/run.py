"""A run as it is read: its header and config, its series, its sessions, its state."""

import collections
import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from gptjax.analysis import places
from gptjax.analysis.medians import median
from gptjax.analysis.rows import Rows, all_rows
from gptjax.config import BadInput, ModelConfig, flatten, freeze
from gptjax.planning import flops
from gptjax.runs import clock
from gptjax.runs.clock import KINDS, Goodput

TOLD = ("train/nll", "eval/nll", "grad/norm", "update/norm")  # are not finite in a run that has diverged
PLAIN = frozenset((str, int, float, bool, type(None)))
LEAST_SILENCE_S = 120.0  # a run that wrote within this time is taken to go on
SILENT_GAPS = 20  # ... or within so many of its usual times between two lines


class Series(NamedTuple):
    """A metric over a run: one entry for each step that has it, ascending; the last value written for a step."""

    step: np.ndarray
    tokens: np.ndarray  # NaN where the log does not say
    time_s: np.ndarray  # since the run's first start; goes on where a clock went back
    value: np.ndarray  # may be NaN or infinite: a diverged loss


class Session(NamedTuple):
    """One process of a run, from its start to its last line."""

    began: float | None  # Unix time
    first_step: int
    last_step: int
    seconds: Mapping[str, float]  # of each of runs.clock.KINDS
    ended: bool  # in good order, rather than by a kill


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A run's log as it was read; what is derived from it is computed when it is asked for, once."""

    name: str  # unique among the runs that are read together
    path: str
    header: Mapping[str, Any]  # run.json; {} where there is none
    rows: Rows  # every line, those that were written again included
    left_out: Mapping[str, int]
    notes: tuple[str, ...] = ()  # of the reader: what is missing
    age_s: float | None = None  # since the log was written to
    locked: bool = False  # a process holds the run

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """Dotted keys and values, as its last session had them; {} where it is not known. Lists are tuples."""
        given = self.header["config"] if "config" in self.header else {}
        flat = flatten(given) if isinstance(given, Mapping) else {}
        flat |= changes(self.header)
        return {key: value if type(value) in PLAIN else hashable(value) for key, value in flat.items()}

    @property
    def metrics(self) -> tuple[str, ...]:
        """Their names, without `step`, `tokens` and `time_s`."""
        return tuple(self.rows.columns)

    @functools.cached_property
    def oddities(self) -> tuple[str, ...]:
        """What is wrong with its lines, though each can be read."""
        known = self.rows.time_s[np.isfinite(self.rows.time_s)]
        back = int(np.count_nonzero(known[1:] < known[:-1]))
        told = [f"the clock went back {back:,} times"] if back else []
        told += ["two processes wrote at the same time"] if self.two_at_once else []
        return tuple(told)

    def series(self, metric: str) -> Series:
        """Empty where the run has no such metric."""
        if metric not in self.rows.columns:
            return Series(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0))
        at, value = self.rows.columns[metric]
        if not self.in_order:
            kept = last_of_each(self.rows.step[at])
            at, value = at[kept], value[kept]
        if self.in_order and len(at) == len(self.rows.step):
            return Series(self.rows.step, self.rows.tokens, self.time_s, value)
        return Series(self.rows.step[at], self.rows.tokens[at], self.time_s[at], value)

    @functools.cached_property
    def in_order(self) -> bool:
        """Whether each line is of a later step than the one before, as in a run that was never interrupted."""
        return bool(np.all(self.rows.step[1:] > self.rows.step[:-1]))

    def final(self, metric: str) -> float:
        """The last value that was written of the last step that has one. Of a metric that the run has."""
        at, values = self.rows.columns[metric]
        if self.in_order:
            return float(values[-1])
        step = self.rows.step[at]
        return float(values[len(step) - 1 - int(np.argmax(step[::-1]))])

    @functools.cached_property
    def time_s(self) -> np.ndarray:
        """Of each row. Where the clock went back, time stands still for a moment and goes on."""
        return going_on(self.rows.time_s)

    @functools.cached_property
    def sessions(self) -> list[Session]:
        """In the order in which they first wrote; `began` is None where the log does not say it."""
        found = []
        for at in self.session_rows:
            last = self.line(int(at[-1]))
            seconds = {kind: last[f"time/{kind}"] for kind in KINDS if f"time/{kind}" in last}
            steps = self.rows.step[at]
            began = self.cell("time/began", int(at[0]))
            found.append(Session(began, int(steps[0]), int(steps[-1]), seconds, seconds.get("end", 0.0) > 0))
        return found

    @functools.cached_property
    def session_rows(self) -> list[np.ndarray]:
        """The rows of each process, by when it began; where the log does not say that, by steps that go back."""
        if "time/began" not in self.rows.columns:
            if self.in_order:
                return [all_rows(len(self.rows.step))] if len(self.rows.step) else []
            back = np.flatnonzero(np.diff(self.rows.step) < 0) + 1
            return [part for part in np.split(np.arange(len(self.rows.step)), back) if len(part)]
        at, began = self.rows.columns["time/began"]
        if np.all(began == began[0]):
            return [at]
        return [at[began == one] for one in dict.fromkeys(began.tolist()) if one == one]

    @property
    def two_at_once(self) -> bool:
        """Whether lines of two processes lie between each other, so that both wrote at the same time."""
        if len(self.session_rows) < 2:
            return False
        whose = np.full(len(self.rows.step), -1)
        for number, at in enumerate(self.session_rows):
            whose[at] = number
        return bool(np.any(np.diff(whose[whose >= 0]) < 0))

    @functools.cached_property
    def redone(self) -> int:
        """Steps that a metric was written of more than once; the last counts."""
        again: set[int] = set()
        if self.in_order:
            return 0
        for name, (at, _) in self.rows.columns.items():
            steps = self.rows.step[at]
            if not name.startswith("time/") and len(steps) > 1 and np.any(np.diff(steps) <= 0):
                once, n = np.unique(steps, return_counts=True)
                again.update(once[n > 1].tolist())
        return len(again)

    @functools.cached_property
    def goodput(self) -> Goodput | None:
        """None where the log does not say where the time went."""
        if "time/began" not in self.rows.columns:
            return None
        found = clock.goodput(self.time_lines())
        return found if found.wall_s > 0 else None

    def time_lines(self) -> list[dict[str, int | float]]:
        """Those lines that say as much to `goodput` as all of them: of each session the first, the last, and the two
        around the last update that no later session did again."""
        trained = np.zeros(len(self.rows.step), np.int64)
        if "train/nll" in self.rows.columns:
            trained[self.rows.columns["train/nll"].rows] = 1
        firsts = [int(self.rows.step[at[0]]) for at in self.session_rows]
        lines = []
        for number, at in enumerate(self.session_rows):
            n_done = np.maximum.accumulate(self.rows.step[at] + trained[at])
            before = int(np.searchsorted(n_done, min(firsts[number + 1 :], default=n_done[-1]), side="right")) - 1
            places = {0, max(before, 0), min(before + 1, len(at) - 1), len(at) - 1}
            lines += [self.line(int(at[place])) for place in sorted(places)]
        return lines

    def line(self, row: int) -> dict[str, int | float]:
        """What a row says of time."""
        names = ("time/began", "train/nll", *(f"time/{kind}" for kind in KINDS))
        cells = {name: value for name in names if (value := self.cell(name, row)) is not None}
        return {"step": int(self.rows.step[row]), **cells}

    @property
    def last_step(self) -> int | None:
        """The largest of the log; None where no line has one."""
        return int(self.rows.step.max()) if len(self.rows.step) else None

    @functools.cached_property
    def status(self) -> str:
        """ "done", "diverged", "running", "stale" (silent for long, and nobody said that it ended), "stopped" (with its
        state saved, to go on), or "unknown"."""
        if self.locked:
            return "running"
        lasts = [self.rows.columns[name].values[-1] for name in TOLD if name in self.rows.columns]
        if not np.all(np.isfinite(lasts)):
            return "diverged"
        n_steps = self.config["n_steps"] if "n_steps" in self.config else None
        if isinstance(n_steps, int) and self.last_step is not None and self.last_step >= n_steps:
            return "done"
        if self.sessions and self.sessions[-1].ended:
            return "stopped"
        if self.age_s is None or self.last_step is None:
            return "unknown"
        gaps = np.diff(self.time_s[np.isfinite(self.time_s)])
        usual = median(gaps) if len(gaps) else 0.0
        return "running" if self.age_s < max(LEAST_SILENCE_S, SILENT_GAPS * usual) else "stale"

    @functools.cached_property
    def flops_per_token(self) -> float | None:
        """Of training, by formula; None where the model is not known, or where only a part of it was trained."""
        try:
            tuned = self.config["lora.rank"] or self.config["tune.patterns"]
            return None if tuned else model_flops(json.dumps(self.header["config"]["model"]))
        except (KeyError, TypeError):  # a config of another version, or damaged
            return None

    def samples(self) -> list[dict]:
        """The objects of samples.jsonl that are whole: `step`, `prompt`, `text`."""
        found = []
        for line in b"".join(map(places.content, places.files(self.path, "samples"))).split(b"\n"):
            try:
                one = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(one, dict) and isinstance(one.get("step"), int) and isinstance(one.get("text"), str):
                found.append(one)
        return found

    def cell(self, metric: str, row: int) -> float | None:
        """A metric's value in a row; None where the row has none."""
        if metric not in self.rows.columns:
            return None
        at, values = self.rows.columns[metric]
        place = int(np.searchsorted(at, row))
        return float(values[place]) if place < len(at) and at[place] == row else None


def changes(header: Mapping[str, Any]) -> dict[str, Any]:
    """{key: value} of what a run's later sessions changed in its config; what is damaged tells of none."""
    found = {}
    sessions = header["sessions"] if "sessions" in header else []
    for session in sessions if isinstance(sessions, list) else []:
        changed = session["changed"] if isinstance(session, dict) and "changed" in session else {}
        pairs = changed.items() if isinstance(changed, dict) else ()
        found |= {key: pair[1] for key, pair in pairs if isinstance(pair, list) and len(pair) == 2}
    return found


@functools.lru_cache(64)
def model_flops(model: str) -> float | None:
    """Of a token, by the JSON of a model's config; None for what is no model."""
    try:
        return float(flops.train_flops_per_token(freeze(ModelConfig, json.loads(model), "model.")))
    except (BadInput, TypeError, ArithmeticError):
        return None


def last_of_each(step: np.ndarray) -> np.ndarray:
    """Places of the last entry of each step, by step."""
    if np.all(np.diff(step) > 0):
        return np.arange(len(step))
    _, from_end = np.unique(step[::-1], return_index=True)
    return len(step) - 1 - from_end


def going_on(time_s: np.ndarray) -> np.ndarray:
    """The times with every step back taken out of all that follow; NaN stays."""
    if np.all(time_s[1:] >= time_s[:-1]):
        return time_s
    known = np.isfinite(time_s)
    back = np.minimum(np.diff(time_s[known], prepend=time_s[known][:1]), 0.0)
    made = time_s.copy()
    made[known] -= np.cumsum(back)
    return made


def hashable(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(hashable, value))
    return json.dumps(value) if isinstance(value, dict) else value


def counted(counts: Mapping[str, int]) -> str:
    """ "3 lines that are no JSON, ..."."""
    return ", ".join(f"{n:,} {reason}" for reason, n in collections.Counter(counts).items() if n)
