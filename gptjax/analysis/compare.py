"""Two runs, or two groups of seeds, side by side: whether they are one experiment, where they part, and whether the
difference between their end losses is more than seeds make."""

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gptjax import config
from gptjax.analysis.frames import Run
from gptjax.analysis.noise import Noise, noise

CRC = "data/batch_crc"
LOSSES = ("eval/nll", "train/nll")  # the end loss is the first that both have
MACHINE = ("time/*", "perf/*", "memory/*")  # metrics of the machine, which no two runs share
ENVIRONMENT = ("git_commit", "git_dirty", "attention", "devices", "versions", "command")  # of run.json
FREE_BUT_TELLS = ("n_steps", "eval_tokens", "spike.*", "stop_patience")  # may differ on resume, and change numbers
UNKNOWN = "not known"
ROUNDING = 1e-4  # differences below it, relative, are what another order of sums makes of one computation


class Change(NamedTuple):
    """A key that two runs differ in."""

    key: str
    one: Any
    other: Any
    numbers: bool  # whether it changes what is computed, rather than where and how fast


class Parting(NamedTuple):
    """The first step at which a metric of two runs differs."""

    step: int
    metric: str
    one: float
    other: float


class Data(NamedTuple):
    """The order of the data, by the CRC-32 of whole batches."""

    n_common: int  # steps of which both logged it
    first: int | None  # that differs


class End(NamedTuple):
    """The last loss of one step of both; each run's own last, where they have no step in common."""

    metric: str
    step: int
    other_step: int
    one: float
    other: float


class Pair(NamedTuple):
    """Two runs, value by value."""

    one: str
    other: str
    config: list[Change]
    environment: list[Change]
    data: Data
    n_common: int  # values that both have: of one metric and one step
    first: Parting | None  # of any difference
    large: Parting | None  # of more than ROUNDING
    end: End | None


class Comparison(NamedTuple):
    """What `compare` found of two sides."""

    pair: Pair  # the first run of each side, or the first two of one seed
    ends: list[tuple[int | None, End]]  # by seed, of all pairs
    noise: Noise


def compare(one: Sequence[Run], other: Sequence[Run], seed: int = 0) -> Comparison:
    """Two sides of one run or more each, whose runs go together by their seed."""
    by_seed = [{seed_of(run): run for run in side} for side in (one, other)]
    shared = [key for key in by_seed[0] if key is not None and key in by_seed[1]]
    pairs = [(key, pair_of(by_seed[0][key], by_seed[1][key])) for key in shared]
    pair = pairs[0][1] if pairs else pair_of(one[0], other[0])
    ends: list[tuple[int | None, End]] = [(key, each.end) for key, each in pairs if each.end is not None]
    if not ends and pair.end is not None:
        ends = [(None, pair.end)]
    losses = [np.zeros(0)] * 2
    if pair.end is not None:
        losses = [
            losses_at(one, pair.end.metric, pair.end.step),
            losses_at(other, pair.end.metric, pair.end.other_step),
        ]
    paired = [np.array([getattr(end, side) for _, end in ends]) for side in ("one", "other")]
    return Comparison(pair, ends, noise(*(paired if len(shared) > 1 else losses), paired=len(shared) > 1, seed=seed))


def pair_of(one: Run, other: Run) -> Pair:
    n_common, first, large = partings(one, other)
    return Pair(
        one.name,
        other.name,
        changes(one.config, other.config),
        changes(environment(one), environment(other)),
        data_order(one, other),
        n_common,
        first,
        large,
        end_of(one, other),
    )


def changes(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[Change]:
    found = []
    for key in sorted({*one, *other}):
        left, right = (side[key] if key in side else UNKNOWN for side in (one, other))
        if left != right:
            free = config.resume_rule(key) == "free"
            tells = not free or any(fnmatch.fnmatchcase(key, pattern) for pattern in FREE_BUT_TELLS)
            found.append(Change(key, left, right, tells))
    return found


def environment(run: Run) -> dict[str, Any]:
    """What the run's record says of its program and machine, with a key for each version. {} where it has none."""
    known = {key: run.header[key] for key in ENVIRONMENT if key in run.header}
    return config.flatten({key: tuple(value) if isinstance(value, list) else value for key, value in known.items()})


def data_order(one: Run, other: Run) -> Data:
    steps, left, right = common(one, other, CRC)
    differ = steps[left != right]
    return Data(len(steps), int(differ[0]) if len(differ) else None)


def partings(one: Run, other: Run) -> tuple[int, Parting | None, Parting | None]:
    """How many values both have, and the first that differs at all, and by more than ROUNDING."""
    n_common, at_all, by_much = 0, [], []
    for metric in one.metrics:
        if metric == CRC or any(fnmatch.fnmatchcase(metric, pattern) for pattern in MACHINE):
            continue
        steps, left, right = common(one, other, metric)
        n_common += len(steps)
        both_nan = np.isnan(left) & np.isnan(right)
        differs = (left != right) & ~both_nan
        with np.errstate(invalid="ignore"):
            much = differs & ~(np.abs(left - right) <= ROUNDING * np.maximum(np.abs(left), np.abs(right)))
        for mask, found in ((differs, at_all), (much, by_much)):
            if mask.any():
                at = int(np.argmax(mask))
                found.append(Parting(int(steps[at]), metric, float(left[at]), float(right[at])))
    first, large = (min(found, key=order, default=None) for found in (at_all, by_much))
    return n_common, first, large


def order(parting: Parting) -> tuple[int, bool, str]:
    """By step; of one step the loss first, whose difference says most."""
    return parting.step, parting.metric not in LOSSES, parting.metric


def common(one: Run, other: Run, metric: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The steps of which both have the metric, and its values there."""
    left, right = one.series(metric), other.series(metric)
    steps, at_left, at_right = np.intersect1d(left.step, right.step, assume_unique=True, return_indices=True)
    return steps, left.value[at_left], right.value[at_right]


def end_of(one: Run, other: Run) -> End | None:
    for metric in LOSSES:
        steps, left, right = common(one, other, metric)
        if len(steps):
            return End(metric, int(steps[-1]), int(steps[-1]), float(left[-1]), float(right[-1]))
        own, others = one.series(metric), other.series(metric)
        if len(own.step) and len(others.step):
            ends = float(own.value[-1]), float(others.value[-1])
            return End(metric, int(own.step[-1]), int(others.step[-1]), *ends)
    return None


def losses_at(side: Sequence[Run], metric: str, step: int) -> np.ndarray:
    """The losses of a side's runs at a step; runs that do not have it are left out."""
    found = [run.series(metric) for run in side]
    return np.array([value for series in found for value in series.value[series.step == step].tolist()])


def seed_of(run: Run) -> int | None:
    return run.config["seed"] if "seed" in run.config else None


def same(pair: Pair) -> str:
    """Whether the two are one run, one experiment, or neither, in a sentence."""
    telling = [change.key for change in pair.config if change.numbers]
    if not pair.n_common:
        return "cannot tell whether they are the same: they have no metric of one step in common"
    if pair.first is None:
        but = f", though {', '.join(telling)} differ" if telling else ""
        return f"the same numbers to the last bit, in {pair.n_common:,} values{but}"
    if telling:
        return f"different experiments, by {', '.join(telling)}"
    if pair.data.first is not None:
        return "one config, and other data: the batches differ"
    if pair.large is None:
        return f"one experiment up to rounding: no value differs by more than {ROUNDING:g} of itself"
    return "one config, whose numbers part"
