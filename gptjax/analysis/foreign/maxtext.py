"""MaxText's `metrics_file` and its metrics in a bucket: one JSON object a step, with `step` and `run_name`.

Each step is there, and `learning/total_weights` is the number of targets in its batch, so tokens add up; a file that
lacks steps has none. Evaluations are lines of their own with `eval/...`.
"""

import json
import pathlib

from gptjax.analysis.foreign.imported import Imported, is_number
from gptjax.analysis.foreign.wandb import JUNK, lines, text_of

WEIGHTS = "learning/total_weights"


def tells(path: pathlib.Path, head: bytes) -> bool:
    try:
        first = json.loads(head.split(b"\n")[0])
    except ValueError:
        return False
    return isinstance(first, dict) and "run_name" in first and "step" in first


def read(path: pathlib.Path) -> list[Imported]:
    """A run for each `run_name`, a step of which is written over by a later line."""
    rows, junk = lines(text_of(path).splitlines())
    runs: dict[str, Imported] = {}
    for row in rows:
        name = str(row["run_name"]) if "run_name" in row else ""
        run = runs.setdefault(name, Imported([], name))
        run.objects.append({key: value for key, value in row.items() if key != "run_name"})
    for run in runs.values():
        add_tokens(run)
    if junk and runs:
        next(iter(runs.values())).left_out[JUNK] += junk
    if len(runs) == 1:
        next(iter(runs.values())).name = ""
    return list(runs.values())


def add_tokens(run: Imported) -> None:
    """What was trained on before each step, where every step before is there."""
    stepped = [line for line in run.objects if "step" in line and is_number(line["step"])]
    weights = {line["step"]: line[WEIGHTS] for line in stepped if WEIGHTS in line and is_number(line[WEIGHTS])}
    before, total = {}, 0.0
    for step in range(len(weights) + 1):
        before[step] = total
        if step not in weights:
            break
        total += weights[step]
    for line in stepped:
        if line["step"] in before:
            line["tokens"] = before[line["step"]]
