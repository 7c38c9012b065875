"""Levanter's `json_logger` tracker: JSON objects in the lines of a Python log, with whatever a formatter puts before.

    {"tracker": "json_logger", "event": "log", "step": 10, "metrics": {"train/loss": 3.2, ...}}

Other events are "hparams" (the config), "summary" and "finish".
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from gptjax.analysis.foreign.imported import Imported, flattened, text_of

OPENS = '{"tracker":'
CUT = "events that are no JSON"


def tells(path: pathlib.Path, head: bytes) -> bool:
    return OPENS.encode() in head and b'"event":' in head


def read(path: pathlib.Path) -> list[Imported]:
    found = Imported([])
    for line in text_of(path).splitlines():
        _, opened, rest = line.partition(OPENS)
        if not opened:
            continue
        try:
            event, _ = json.JSONDecoder().raw_decode(opened + rest)
        except (ValueError, RecursionError):
            found.left_out[CUT] += 1
            continue
        take(event, found)
    return [found]


def take(event: Mapping[str, Any], found: Imported) -> None:
    given = {key: event[key] for key in ("hparams", "metrics") if key in event and isinstance(event[key], Mapping)}
    kind = event["event"] if "event" in event else None
    if kind == "hparams" and "hparams" in given:
        found.config |= given["hparams"]
    elif kind == "log" and "metrics" in given and "step" in event:
        numbers = {key: value for key, value in flattened(given["metrics"]) if isinstance(value, int | float)}
        found.objects.append({"step": event["step"], **numbers})
