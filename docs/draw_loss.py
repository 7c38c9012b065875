"""Draws the loss of a run: python docs/draw_loss.py runs/smoke docs/smoke_loss.png (needs the [plots] extra)."""

import json
import pathlib
import sys

import matplotlib.pyplot as plt


def draw(run: str, picture: str) -> None:
    rows = [json.loads(line) for line in (pathlib.Path(run) / "metrics.jsonl").read_text().splitlines()]
    header = json.loads((pathlib.Path(run) / "run.json").read_text())
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for name, style in {
        "train/nll": dict(color="#9bb8d3", lw=1.2),
        "eval/nll": dict(color="#c0392b", marker="o"),
    }.items():
        shown = [row for row in rows if name in row]
        axes.plot([row["tokens"] / 1e6 for row in shown], [row[name] for row in shown], label=name, **style)
    last = [row for row in rows if "eval/nll" in row][-1]
    text = f"{last['eval/nll']:.3f} nats\n{last['eval/bits_per_byte']:.3f} bits a byte"
    axes.annotate(text, (last["tokens"] / 1e6, last["eval/nll"]), (-6, 24), textcoords="offset points", ha="right")
    axes.set(
        xlabel="million tokens",
        ylabel="nats a token",
        title=f"{header['name']}: {last['time_s']:.0f} s on {header['devices'][0]}",
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(picture, dpi=150)


if __name__ == "__main__":
    draw(*sys.argv[1:])
