"""The lines of a log as columns of numbers, and a count of everything in it that is no such number.

A line is one JSON object with a `step`; `tokens`, `time_s` and any metric may be in it. The strings "NaN", "Infinity"
and "-Infinity" are numbers (runs/log.py). Nothing that a file can hold raises: what is left out is counted by reason.
"""

import collections
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
OWN = ("step", "tokens", "time_s")


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
        self.own: dict[str, list[float]] = {name: [] for name in OWN}
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
            number = value if type(value) is float else as_number(value)
            if number is None:
                self.left_out[NO_NUMBER] += name != "step"
            else:
                numbers[name] = number
        step = numbers.pop("step", math.nan)
        if not whole_steps(step):
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
        columns, shared = {}, {}
        for name, (rows, values) in self.metrics.items():
            where = np.array(rows, np.int64)
            columns[name] = Column(shared.setdefault(where.tobytes(), where), np.array(values, np.float64))
        step, tokens, time_s = (np.array(self.own[name], np.float64) for name in OWN)
        return Rows(step.astype(np.int64), tokens, time_s, columns)


def whole_steps(step: float | np.ndarray) -> bool:
    """Whether each is a number of updates."""
    return bool(np.all((step >= 0) & (step <= LARGEST_STEP) & (step == np.floor(step))))


def as_number(value: Any) -> float | None:
    if isinstance(value, str):
        return NAMES[value] if value in NAMES else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number beyond 1e308
        return None


def of_objects(objects: Iterable[Mapping[str, Any]]) -> tuple[Rows, collections.Counter[str]]:
    """The same of objects, such as those that another format's reader makes."""
    gathered = Gatherer()
    for values in objects:
        gathered.values(values)
    return gathered.rows(), +gathered.left_out


class Joined(Mapping[str, Column]):
    """The metrics of parts of one log; each is put together when it is asked for."""

    def __init__(self, parts: Sequence[Rows]):
        self.parts, self.starts = parts, np.cumsum([0, *(len(part.step) for part in parts)]).tolist()
        self.names = dict.fromkeys(name for part in parts for name in part.columns)

    def __getitem__(self, name: str) -> Column:
        if name not in self.names:
            raise KeyError(name)
        found = [
            (start, part.columns[name])
            for start, part in zip(self.starts, self.parts, strict=False)
            if name in part.columns
        ]
        rows = np.concatenate([start + column.rows for start, column in found])
        return Column(rows, np.concatenate([column.values for _, column in found]))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names


def joined(parts: Sequence[Rows]) -> Rows:
    """Parts of one log, in order."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Gatherer().rows()
    step, tokens, time_s = (np.concatenate([part[n] for part in parts]) for n in range(3))
    return Rows(step, tokens, time_s, Joined(parts))
