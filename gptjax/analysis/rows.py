"""The lines of a log as columns of numbers, and a count of everything in it that is no such number.

A line is one JSON object with a `step`; `tokens`, `time_s` and any metric may be in it. The strings "NaN", "Infinity"
and "-Infinity" are numbers (runs/log.py). Nothing that a file can hold raises: what is left out is counted by reason.
"""

import collections
import functools
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
NUMBERS = frozenset((int, float))
scan = json.JSONDecoder().raw_decode  # the value that a text begins with, and where it ends


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
        self.n = 0
        self.alike: dict[tuple[str, ...], tuple[list[int], list[tuple[float, ...]]]] = {}  # by names: rows and numbers
        self.left_out: collections.Counter[str] = collections.Counter()

    def line(self, line: bytes) -> None:
        """A line of a log, with or without its end; what is no JSON, or no number, is counted in `left_out`."""
        try:
            text = line.decode()
            found, end = scan(text)
            plain = type(found) is dict and end == len(text) and line.count(b'"') == 2 * len(found)  # no name twice
            if plain and "step" in found and NUMBERS.issuperset(map(type, found.values())):
                self.numbers(tuple(found), tuple(map(float, found.values())), found["step"])
                return
        except (ValueError, RecursionError, OverflowError):
            pass  # what it is, is found out below
        self.odd_line(line)

    def odd_line(self, line: bytes) -> None:
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
            if (number := as_number(value)) is not None:
                numbers[name] = number
            elif name != "step":
                self.left_out[NO_NUMBER] += 1
        self.numbers(tuple(numbers), tuple(numbers.values()), numbers["step"] if "step" in numbers else math.nan)

    def numbers(self, names: tuple[str, ...], numbers: tuple[float, ...], step: int | float) -> None:
        if not (0 <= step <= LARGEST_STEP and step == int(step)):
            self.left_out[NO_STEP] += 1
            return
        if names not in self.alike:
            self.alike[names] = [], []
        rows, lines = self.alike[names]
        rows.append(self.n)
        lines.append(numbers)
        self.n += 1

    def rows(self) -> Rows:
        """All lines so far that have a step."""
        found: dict[str, list[Column]] = {}
        for names, (rows, lines) in self.alike.items():
            places = np.array(rows, np.int64)
            for name, values in zip(names, np.array(lines, np.float64).T, strict=True):
                found.setdefault(name, []).append(Column(places, values))
        shared: dict[tuple[int, ...], np.ndarray] = {}  # rows of the metrics that stand in the same lines
        columns = {name: in_turn(parts, shared) for name, parts in found.items()}
        step, tokens, time_s = (everywhere(columns.pop(name, None), self.n) for name in OWN)
        return Rows(step.astype(np.int64), tokens, time_s, columns)


def in_turn(parts: Sequence[Column], shared: dict[tuple[int, ...], np.ndarray]) -> Column:
    """Parts of a metric, in the order of their rows."""
    rows, values = (np.concatenate(both) for both in zip(*parts, strict=True))
    order = np.argsort(rows, kind="stable")
    rows = shared.setdefault(tuple(id(part.rows) for part in parts), rows[order])
    return Column(rows, values[order])


def everywhere(column: Column | None, n: int) -> np.ndarray:
    """A value for each row; NaN where there is none."""
    made = np.full(n, np.nan)
    if column is not None:
        made[column.rows] = column.values
    return made


@functools.lru_cache(16)
def all_rows(n: int) -> np.ndarray:
    """One array for all the logs that are as long."""
    made = np.arange(n)
    made.flags.writeable = False
    return made


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
    step = np.concatenate([part.step for part in parts])
    tokens = np.concatenate([part.tokens for part in parts])
    return Rows(step, tokens, np.concatenate([part.time_s for part in parts]), Joined(parts))
