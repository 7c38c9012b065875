"""What runs have come to, side by side: a row for each run, and means over the seeds of those that are else alike."""

import collections
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gptjax.analysis.axes import At, Value, reached, value_at
from gptjax.analysis.frames import Run, Series
from gptjax.analysis.medians import median
from gptjax.analysis.seeds import interval
from gptjax.config import BadInput
from gptjax.training.patience import HIGHER

WORDS = ("name", "note", "tags")  # keys of a config that change nothing
SEED = "seed"
METRICS = ("eval/nll", "train/nll")  # what is compared, where nobody asks for another
MORE_IS_BETTER = (*HIGHER, "perf/tokens_per_s", "perf/mfu")


class Finals(Mapping[str, float]):
    """The last values of a run's metrics, but for those of time; each is looked up when it is asked for."""

    def __init__(self, run: Run):
        self.run, self.names = run, dict.fromkeys(name for name in run.metrics if not name.startswith("time/"))

    def __getitem__(self, name: str) -> float:
        if name not in self.names:
            raise KeyError(name)
        return self.run.final(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names


class Row(NamedTuple):
    """A run. Unknown is None."""

    run: Run
    config: dict[str, Any]  # the keys that differ among the runs
    final: Mapping[str, float]  # of each metric, at its own last step
    best: tuple[float, int] | None  # of the metric that is compared, and its step
    at: Value | None
    tokens: float | None
    time_s: float | None
    flops: float | None
    tokens_per_s: float | None  # medians
    mfu: float | None
    goodput: float | None


class Group(NamedTuple):
    """Runs that differ in their seed alone. `mean` is None without any, `interval` where two are missing."""

    config: dict[str, Any]
    names: list[str]  # of the runs in the mean
    mean: float | None
    interval: tuple[float, float] | None
    left_out: dict[str, int]  # of its runs, by the reason: a status, or that nothing was measured

    @property
    def n(self) -> int:
        """Runs in the mean."""
        return len(self.names)


class Found(NamedTuple):
    """What there is to be shown."""

    metric: str
    at: At | None
    rows: list[Row]
    groups: list[Group]
    notes: list[str]  # of what was not compared

    @property
    def keys(self) -> list[str]:
        """Of the configs, those that differ."""
        return list(dict.fromkeys(key for row in self.rows for key in row.config))


def metric_of(runs: Sequence[Run], asked: str | None) -> str:
    """The metric that is compared; raises BadInput where no run has it."""
    known = list(dict.fromkeys(name for run in runs for name in run.metrics))
    if asked is not None and asked not in known:
        raise no_such("--metric", asked, known)
    return asked or next((name for name in METRICS if name in known), METRICS[0])


def unranked(runs: Sequence[Run], metric: str) -> str | None:
    """What to say where some runs wrote other metrics but not the one that is compared, and which all of them have."""
    measured = [run for run in runs if run.metrics]
    without = sum(metric not in run.metrics for run in measured)
    if not without:
        return None
    shared = next((name for name in METRICS if all(name in run.metrics for run in measured)), None)
    said = f"{without:,} of the {len(measured):,} runs that have measured anything lack {metric}"
    return said if shared is None else f"{said}; all of those have {shared}: --metric={shared}"


def no_such(what: str, asked: str, known: Sequence[str]) -> BadInput:
    """What to raise for a metric or field that no run has."""
    import difflib

    near = difflib.get_close_matches(asked, known, n=1, cutoff=0.4)
    some = f"did you mean {near[0]}?" if near else f"there are {', '.join(known[:12]) or 'none'}"
    return BadInput(f"{what}={asked}: no run has it; {some}")


def differing(runs: Sequence[Run]) -> list[str]:
    """Keys that not all configs have the same value of, in the order of a config; words are left out."""
    known = [run.config for run in runs if run.config]
    first = known[0] if known else {}
    differ = set()
    for one in known:
        if one != first:
            differ |= dict(one.items() ^ first.items()).keys()
    order = dict.fromkeys(key for one in known for key in one) if differ else {}
    return [key for key in order if key in differ and key not in WORDS]


def rows(runs: Sequence[Run], metric: str, at: At | None) -> tuple[list[Row], At | None]:
    """A row for each run, best first, and the point that they are compared at: None where no run lies on that axis."""
    keys = differing(runs)
    if at is not None and at.where is None:
        most = reached(runs, metric, at.axis)
        at = None if most is None else At(at.axis, most)
    made = [row(run, keys, metric, at) for run in runs]
    return sorted(made, key=lambda one: rank(one, metric, at)), at


def row(run: Run, keys: Sequence[str], metric: str, at: At | None) -> Row:
    tokens = last_known(run.rows.tokens)
    flops = None if tokens is None or run.flops_per_token is None else tokens * run.flops_per_token
    return Row(
        run=run,
        config={key: run.config[key] for key in keys if key in run.config},
        final=Finals(run),
        best=best(run.series(metric), metric),
        at=None if at is None or at.where is None else value_at(run, metric, at.axis, at.where),
        tokens=tokens,
        time_s=last_known(run.time_s),
        flops=flops,
        tokens_per_s=usual(run, "perf/tokens_per_s"),
        mfu=usual(run, "perf/mfu"),
        goodput=None if run.goodput is None else run.goodput.fraction,
    )


def rank(row: Row, metric: str, at: At | None) -> tuple[bool, float]:
    """Best first; then what is unknown or no number, and what has diverged since."""
    value = result(row, metric, at)
    if value is None or math.isnan(value):
        return True, math.inf
    return row.run.status == "diverged" and at is None, -value if more_is_better(metric) else value


def result(row: Row, metric: str, at: At | None) -> float | None:
    if at is not None:
        return None if row.at is None else row.at.value
    return row.final[metric] if metric in row.final else None


def groups(rows: Sequence[Row], keys: Sequence[str], metric: str, at: At | None) -> list[Group]:
    """Means over runs with the same values of `keys`, best first. Without a point to compare at, only runs that are
    done count; what is not finite never does."""
    by_config: dict[str, list[Row]] = collections.defaultdict(list)
    for one in rows:
        by_config[repr([one.run.config[key] if key in one.run.config else None for key in keys])].append(one)
    made = [group(members, keys, metric, at) for members in by_config.values()]
    sign = -1 if more_is_better(metric) else 1
    return sorted(made, key=lambda one: (one.mean is None, sign * (one.mean or 0.0)))


def group(members: Sequence[Row], keys: Sequence[str], metric: str, at: At | None) -> Group:
    values, names, left_out = [], [], collections.Counter()
    for one in members:
        value = result(one, metric, at)
        if value is None or not math.isfinite(value) or at is None and not is_result(one.run):
            left_out[why_left_out(one.run, value, at)] += 1
        else:
            values.append(value)
            names.append(one.run.name)
    config = {key: members[0].run.config[key] for key in keys if key in members[0].run.config}
    return Group(config, names, statistics.fmean(values) if values else None, interval(values), dict(left_out))


def why_left_out(run: Run, value: float | None, at: At | None) -> str:
    """Why it is not in a mean."""
    if value is None and at is not None:
        return "not measured there"
    return "not measured" if value is None and is_result(run) else run.status


def is_result(run: Run) -> bool:
    """Whether its last value is what it came to; of a run that does not say how long it was to be, it is."""
    return run.status == "done" or run.status == "unknown" and "n_steps" not in run.config


def best(series: Series, metric: str) -> tuple[float, int] | None:
    """(value, step) of its finite entries, the first of equals; None where none is finite."""
    finite = np.isfinite(series.value)
    if not finite.any():
        return None
    last = -math.inf if more_is_better(metric) else math.inf
    value = series.value if finite.all() else np.where(finite, series.value, last)
    place = int(np.argmax(value) if more_is_better(metric) else np.argmin(value))
    return float(value[place]), int(series.step[place])


def usual(run: Run, metric: str) -> float | None:
    """The median of what is finite."""
    value = finite(run.series(metric).value)
    return median(value) if len(value) else None


def last_known(values: np.ndarray) -> float | None:
    """The largest finite value, of what only grows; None without one."""
    known = finite(values)
    return float(known.max()) if len(known) else None


def finite(values: np.ndarray) -> np.ndarray:
    keep = np.isfinite(values)
    return values if keep.all() else values[keep]


def more_is_better(metric: str) -> bool:
    """Whether it counts right answers, rather than losses."""
    return metric in MORE_IS_BETTER or metric.endswith("accuracy")
