"""The lines of a log as columns of numbers, and a count of everything in it that is no such number.

A line is one JSON object with a `step`; `tokens`, `time_s` and any metric may be in it. The strings "NaN", "Infinity"
and "-Infinity" are numbers (runs/log.py). Nothing that a file can hold raises: what is left out is counted by reason.
"""

import collections
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

CUT = "last line not whole"
JUNK = "lines that are no JSON"
NO_OBJECT = "lines that are no object"
NO_STEP = "lines without a step"
NO_NUMBER = "values that are no number"
TWICE = "values given twice in a line"
NAMES = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
LARGEST_STEP = 2**53  # up to which every whole number is a float64 too


class Column(NamedTuple):
    """A metric: the rows that have it, ascending, and its values there."""

    rows: np.ndarray
    values: np.ndarray


class Rows(NamedTuple):
    """Lines in the order in which they were written."""

    step: np.ndarray
    tokens: np.ndarray  # NaN where a line does not say
    time_s: np.ndarray
    columns: Mapping[str, Column]


class Pairs(list):
    """A JSON object with its keys as they came, of which two may be the same."""


class Gatherer:
    """Takes lines, or their objects, one after another; `rows()` gives the columns."""

    def __init__(self):
        self.own: dict[str, list[float]] = {"step": [], "tokens": [], "time_s": []}
        self.metrics: dict[str, tuple[list[int], list[float]]] = {}
        self.left_out: collections.Counter[str] = collections.Counter()

    def line(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            found = json.loads(line.decode(), object_pairs_hook=Pairs)
        except (ValueError, RecursionError):
            self.left_out[JUNK] += 1
            return
        if not isinstance(found, Pairs):
            self.left_out[NO_OBJECT] += 1
            return
        values = dict(found)
        self.left_out[TWICE] += len(found) - len(values)
        self.values(values)

    def values(self, values: Mapping[str, Any]) -> None:
        """The object of a line."""
        numbers = {}
        for name, value in values.items():
            if (number := as_number(value)) is None:
                self.left_out[NO_NUMBER] += name != "step"
            else:
                numbers[name] = number
        step = numbers.pop("step", math.nan)
        if not (0 <= step <= LARGEST_STEP and step == int(step)):
            self.left_out[NO_STEP] += 1
            return
        row = len(self.own["step"])
        self.own["step"].append(step)
        self.own["tokens"].append(numbers.pop("tokens", math.nan))
        self.own["time_s"].append(numbers.pop("time_s", math.nan))
        for name, number in numbers.items():
            rows, column = self.metrics.setdefault(name, ([], []))
            rows.append(row)
            column.append(number)

    def rows(self) -> Rows:
        columns = {
            name: Column(np.array(rows, np.int64), np.array(values)) for name, (rows, values) in self.metrics.items()
        }
        step, tokens, time_s = (np.array(self.own[name], np.float64) for name in ("step", "tokens", "time_s"))
        return Rows(step.astype(np.int64), tokens, time_s, columns)


def as_number(value: Any) -> float | None:
    if isinstance(value, str):
        return NAMES[value] if value in NAMES else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number beyond 1e308
        return None


def of_lines(content: bytes) -> tuple[Rows, collections.Counter[str]]:
    """The rows of a log, and what was left out of it. A last line that lacks only its end counts."""
    gathered = Gatherer()
    *whole, last = content.split(b"\n")
    for line in whole:
        gathered.line(line)
    if last.strip():
        tail = Gatherer()
        tail.line(last)
        if tail.left_out[JUNK]:
            gathered.left_out[CUT] += 1
        else:
            gathered.line(last)
    return gathered.rows(), +gathered.left_out


def of_objects(objects: Iterable[Mapping[str, Any]]) -> tuple[Rows, collections.Counter[str]]:
    """The same of objects, such as those that another format's reader makes."""
    gathered = Gatherer()
    for values in objects:
        gathered.values(values)
    return gathered.rows(), +gathered.left_out


def joined(parts: Sequence[Rows]) -> Rows:
    """Parts of one log, in order."""
    starts = np.cumsum([0, *(len(part.step) for part in parts)])
    columns = {}
    for name in dict.fromkeys(name for part in parts for name in part.columns):
        found = [
            (start, part.columns[name]) for start, part in zip(starts, parts, strict=False) if name in part.columns
        ]
        columns[name] = Column(
            np.concatenate([start + column.rows for start, column in found]),
            np.concatenate([column.values for _, column in found]),
        )
    step, tokens, time_s = (np.concatenate([part[n] for part in parts]) for n in range(3))
    return Rows(step, tokens, time_s, columns)
