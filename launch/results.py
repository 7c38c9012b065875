"""What a run has come to: the last numbers of its metrics.jsonl."""

import contextlib
import json
import math
import os
from typing import Any

from gptjax.analysis import places

TAIL = 16_384  # bytes: some thirty lines
ALWAYS = ("step", "tokens")


def last(workdir: str, metric: str) -> dict[str, Any]:
    """`step` and `tokens` of the newest line, and the metric's newest value with the step that it is of; {} without."""
    found: dict[str, Any] = {}
    for line in lines(workdir):
        found |= {key: line[key] for key in ALWAYS if key in line}
        if metric in line:
            found |= {metric: line[metric], "metric_step": line["step"]}
    return found


def lines(workdir: str) -> list[dict]:
    """The newest whole lines of a local run's log; all of them, where it lies in a bucket."""
    size, content = 0, b""
    if "://" in workdir:
        content = b"".join(map(places.content, places.files(workdir, "metrics")))
    else:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), open(f"{workdir}/metrics.jsonl", "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL))
            content = file.read()
    whole = content.splitlines(keepends=True)[1 if size > TAIL else 0 :]
    found = []
    for line in whole:
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return [line for line in found if isinstance(line, dict) and "step" in line]


def number(result: dict[str, Any], metric: str) -> float | None:
    """The metric's value; None where there is none, or where it is no finite number."""
    value = float(result[metric]) if metric in result else math.nan
    return value if math.isfinite(value) else None
