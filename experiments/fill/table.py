"""The table of README.md: python -m experiments.fill.table runs/fill_fixed runs/fill_buckets runs/fill_budget"""

import json
import pathlib
import statistics
import sys
from typing import Any

from gptjax.runs import log

STEPS = (30, 60, 120)  # a step costs the same however its rows are filled, so equal steps are equal time


def row(run: str) -> list[str]:
    """Of a run, how full its rows were and how fast, and its held-out loss after `STEPS` and after an epoch."""
    header: dict[str, Any] = json.loads(pathlib.Path(run, "run.json").read_text())
    told = header["dialogs"][header["config"]["data"]["corpora"][0] + "/train"]
    lines = log.read_metrics(run)
    losses = {line["step"]: line["eval/nll"] for line in lines if "eval/nll" in line}
    speed = statistics.median(line["perf/tokens_per_s"] for line in lines if "perf/tokens_per_s" in line)
    batch = header["config"]["batch_tokens"] // header["config"]["model"]["context"]
    epoch = told["rows"] / batch
    after_epoch = next((step for step in sorted(losses) if step >= epoch), None)
    at_epoch = "not reached" if after_epoch is None else f"{losses[after_epoch]:.3f} (step {after_epoch})"
    return [
        header["config"]["data"]["fill"],
        f"{told['filled']:.0%}",
        f"{(told['dialogs'] - told['left_out']) / epoch:.0f}",
        f"{speed:,.0f}",
        f"{speed * told['filled']:,.0f}",
        *(f"{losses[step]:.3f}" if step in losses else "not reached" for step in STEPS),
        at_epoch,
    ]


def main(runs: list[str]) -> None:
    titles = [
        "fill",
        "filled",
        "dialogs a step",
        "tokens/s",
        "of dialogs",
        *(f"step {step}" for step in STEPS),
        "epoch",
    ]
    for cells in (titles, ["---"] * len(titles), *map(row, runs)):
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
