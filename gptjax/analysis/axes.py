"""Where runs are compared: a metric after so many tokens, steps, FLOPs or seconds."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gptjax.analysis.frames import Run, Series
from gptjax.config import BadInput

AXES = {"tokens": "tokens", "steps": "step", "flops": "FLOPs", "time": "s"}


class At(NamedTuple):
    """Where runs are compared: at so many tokens, steps, FLOPs or seconds; None: the most that all have reached."""

    axis: str
    where: float | None

    def __str__(self) -> str:
        return f"{number(self.where)} {AXES[self.axis]}"


class Value(NamedTuple):
    """A metric at a point, and whether it lies between two entries rather than at one."""

    value: float
    interpolated: bool


def parse_at(text: str) -> At:
    """tokens, steps, flops or time, each alone or with a number: tokens:1e9."""
    axis, colon, where = text.partition(":")
    if axis not in AXES:
        raise BadInput(f"--at={text}: the axes are {', '.join(AXES)}, such as --at=tokens:1e9")
    try:
        found = float(where) if colon else None
    except ValueError as error:
        raise BadInput(f"--at={text}: {where or 'nothing'} is no number; such as --at={axis}:1000") from error
    if found is not None and not 0 <= found < math.inf:
        raise BadInput(f"--at={text}: a point of a run is at 0 or after it")
    return At(axis, found)


def positions(run: Run, series: Series, axis: str) -> np.ndarray:
    """Where each entry of a series lies on an axis; NaN where that is not known."""
    if axis == "flops":
        per_token = run.flops_per_token
        return series.tokens * (math.nan if per_token is None else per_token)
    return {"tokens": series.tokens, "steps": series.step.astype(np.float64), "time": series.time_s}[axis]


def value_at(run: Run, metric: str, axis: str, where: int | float) -> Value | None:
    """A metric at a point: on the straight line between the entries around it. None outside of them."""
    series = run.series(metric)
    x = positions(run, series, axis)
    known = np.isfinite(x)
    x, value = x[known], series.value[known]
    order = np.argsort(x, kind="stable")
    x, value = x[order], value[order]
    if not len(x) or not x[0] <= where <= x[-1]:
        return None
    after = int(np.searchsorted(x, where))
    if x[after] == where:
        return Value(float(value[np.searchsorted(x, where, side="right") - 1]), False)
    share = (where - x[after - 1]) / (x[after] - x[after - 1])
    return Value(float(value[after - 1] + share * (value[after] - value[after - 1])), True)


def reached(runs: Sequence[Run], metric: str, axis: str) -> float | None:
    """The farthest point that all runs with the metric have come to; None where no run's axis is known."""
    ends = []
    for run in runs:
        x = positions(run, run.series(metric), axis)
        ends += [float(np.nanmax(x))] if np.isfinite(x).any() else []
    return min(ends, default=None)


def number(value: int | float | None, digits: int = 4) -> str:
    """Blank where it is unknown."""
    if value is None:
        return ""
    if abs(value) < 1e7 and (abs(value) >= 1000 or value == int(value)):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"
