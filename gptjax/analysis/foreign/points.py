"""A table of finished runs for a scaling law: a CSV with the columns n_params, tokens and loss, one run a line.

`flops` may be there too, and `name`. Other columns are left alone.
"""

import csv
import math
import pathlib

from gptjax.analysis.foreign.imported import Imported, text_of

COLUMNS = ("n_params", "tokens", "loss")
NO_NUMBER = "lines without a positive number of each of n_params, tokens and loss"


def tells(path: pathlib.Path, head: bytes) -> bool:
    columns = next(csv.reader([head.decode("utf-8", "replace").lstrip("\ufeff").partition("\n")[0].strip()]), [])
    return set(COLUMNS) <= set(columns)


def read(path: pathlib.Path) -> list[Imported]:
    """A run a line, which has only its end: step 0."""
    runs, bad = [], 0
    for number, row in enumerate(csv.DictReader(text_of(path).lstrip("\ufeff").splitlines()), 2):
        try:
            n_params, tokens, loss = (positive(row[key]) for key in COLUMNS)
            header = {"n_params": n_params} | ({"flops": positive(row["flops"])} if row.get("flops") else {})
        except (KeyError, TypeError, ValueError):
            bad += 1
            continue
        objects = [{"step": 0, "tokens": tokens, "eval/nll": loss}]
        runs.append(Imported(objects, row.get("name") or f"line {number}", header=header))
    if bad and runs:
        runs[0].left_out[NO_NUMBER] += bad
    return runs


def positive(cell: str | None) -> float:
    value = float(cell or "nan")
    if not 0 < value < math.inf:
        raise ValueError
    return value
