"""Exports of Weights & Biases: `run.history()` or `run.scan_history()` as CSV, JSON or JSON lines, and a chart's CSV.

A history has `_step`, and `_runtime` in seconds. A chart's file has one column a run, "RUN - METRIC", beside its bounds
"...__MIN" and "...__MAX", which of single runs repeat it.
"""

import csv
import io
import json
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from gptjax.analysis.foreign.imported import Imported, flattened, text_of

CHART = re.compile(r"(?P<run>.+) - (?P<metric>[^ ]+)")
BOUND = re.compile(r"__(MIN|MAX)$")
OWN = {"_step": "step", "_runtime": "time_s"}
JUNK = "lines that are no JSON"


def tells(path: pathlib.Path, head: bytes) -> bool:
    text = head.decode("utf-8", "replace").lstrip("\ufeff \n")
    if text[:1] in ("{", "["):
        return '"_step"' in text
    columns = next(csv.reader([text.partition("\n")[0]]), [])
    return "_step" in columns or columns[:1] == ["Step"] and any(CHART.fullmatch(one) for one in columns[1:])


def read(path: pathlib.Path) -> list[Imported]:
    text = text_of(path).lstrip("\ufeff \n")
    if text[:1] in ("{", "["):
        return [history(*json_rows(text))]
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    if rows and "_step" not in rows[0]:
        return chart(rows)
    return [history([{key: number(cell) for key, cell in row.items() if key} for row in rows], 0)]


def json_rows(text: str) -> tuple[list[Mapping[str, Any]], int]:
    """The rows of a list, of columns {"name": {"0": value}} as pandas writes them, or one a line; and what is none."""
    try:
        whole = json.loads(text)
    except ValueError:
        return lines(text.splitlines())
    if isinstance(whole, Mapping) and "_step" not in whole:
        return [], 1
    if isinstance(whole, list):
        return [row for row in whole if isinstance(row, Mapping)], sum(not isinstance(row, Mapping) for row in whole)
    if not isinstance(whole["_step"], Mapping):
        return [whole], 0
    places = list(whole["_step"])
    columns = {key: column for key, column in whole.items() if isinstance(column, Mapping)}
    return [{key: column[at] for key, column in columns.items() if at in column} for at in places], 0


def lines(text: Iterable[str]) -> tuple[list[Mapping[str, Any]], int]:
    """The objects of JSON lines, and the number of other lines that are not blank."""
    rows, junk = [], 0
    for line in filter(str.strip, text):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, Mapping):
            rows.append(row)
        else:
            junk += 1
    return rows, junk


def history(rows: Iterable[Mapping[str, Any]], junk: int) -> Imported:
    found = Imported([])
    found.left_out[JUNK] += junk
    for row in rows:
        flat = {OWN[key] if key in OWN else key: value for key, value in flattened(row)}
        found.objects.append({k: v for k, v in flat.items() if v is not None and v != "" and not k.startswith("_")})
    return found


def chart(rows: list[dict[str, str]]) -> list[Imported]:
    """A run for each name in the columns."""
    x, *columns = [name for name in rows[0] if name]
    runs: dict[str, Imported] = {}
    for column in columns:
        parts = CHART.fullmatch(column)
        if parts is None or BOUND.search(column) or parts["metric"].startswith("_"):
            continue
        run = runs.setdefault(parts["run"], Imported([], parts["run"]))
        cells = ((number(row[x]), number(row[column])) for row in rows)
        run.objects += [{"step": step, parts["metric"]: value} for step, value in cells if value is not None]
    return list(runs.values())


def number(cell: str | None) -> float | str | None:
    """A cell of a table; None where it is empty, the text itself where it is no number."""
    try:
        return float(cell) if cell else None
    except ValueError:
        return cell
