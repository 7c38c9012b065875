"""What nanoGPT's train.py prints, kept in a file.

    tokens per iteration will be: 491,520
    step 0: train loss 10.9897, val loss 10.9887
    iter 0: loss 10.9898, time 29245.57ms, mfu -100.00%

The loss of `iter` is of one batch and ours is train/nll; the train loss of `step`, a mean of fixed size, is kept as
`eval/train_nll`. The time is of one iteration, so there is no time axis. An mfu of -100 % is not known yet.
"""

import ast
import pathlib
import re

from gptjax.analysis.foreign.imported import Imported, text_of

NUMBER = r"(-?[\d.]+(?:e-?\d+)?|nan|inf|-inf)"
ITER = re.compile(rf"iter (\d+): loss {NUMBER}, time {NUMBER}ms(?:, mfu {NUMBER}%)?")
STEP = re.compile(rf"step (\d+): train loss {NUMBER}, val loss {NUMBER}")
BATCH = re.compile(r"tokens per iteration will be: ([\d,]+)")
SET = re.compile(r"Overriding: (\w+) = (.+)")


def tells(path: pathlib.Path, head: bytes) -> bool:
    text = head.decode("utf-8", "replace")
    return any(ITER.search(line) or STEP.search(line) for line in text.splitlines())


def read(path: pathlib.Path) -> list[Imported]:
    found, batch = Imported([]), None
    for line in text_of(path).splitlines():
        if told := BATCH.search(line):
            batch = int(told[1].replace(",", ""))
        elif told := SET.match(line):
            found.config[told[1]] = literal(told[2].strip())
        elif told := STEP.search(line):
            found.objects.append({"step": int(told[1]), "eval/train_nll": float(told[2]), "eval/nll": float(told[3])})
        elif told := ITER.search(line):
            found.objects.append(iteration(told, batch))
    for line in found.objects:
        if batch is not None:
            line["tokens"] = line["step"] * batch
    return [found]


def iteration(told: re.Match[str], batch: int | None) -> dict[str, int | float]:
    line: dict[str, int | float] = {"step": int(told[1]), "train/nll": float(told[2])}
    if batch is not None and (milliseconds := float(told[3])) > 0:
        line["perf/tokens_per_s"] = batch / milliseconds * 1000
    if told[4] is not None and (mfu := float(told[4])) >= 0:
        line["perf/mfu"] = mfu / 100
    return line


def literal(text: str):
    """The value of a Python literal; the text itself where it is none."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text
