"""The table and the picture of README.md, from what two audits wrote; the picture needs the [plots] extra.

python -m experiments.memorisation.table runs/repeated.json runs/deduplicated.json
"""

import json
import pathlib
import sys
from typing import Any

NAMES = ("with repeats", "after deduplication")
PICTURE = "experiments/memorisation/exposure.png"


def rows(reports: list[dict[str, Any]]) -> list[list[str]]:
    """Of each number of copies, how many canaries there are, and per report what was extracted and exposed."""
    head = ["copies", "canaries"]
    for name in NAMES:
        head += [f"extracted, {name}", "sampled", "exposure", "by fit"]
    made = [head, ["---"] * len(head)]
    for groups in zip(*(report["groups"] for report in reports), strict=True):
        row = [str(groups[0]["repeats"]), str(groups[0]["planted"])]
        for group in groups:
            row += [interval(group["extracted"], "{:.0%}"), f"{group['sampled']['value']:.0%}"]
            row += [interval(group["exposure"], "{:.2f}"), f"{group['fitted']['value']:.1f}"]
        made.append(row)
    left_out = ["left out", str(reports[0]["n"] - reports[0]["planted"])]
    for report in reports:
        found = report["left_out"]
        left_out += ["", "", interval(found["exposure"], "{:.2f}"), f"{found['fitted']['value']:.1f}"]
    return [*made, left_out]


def interval(figure: dict[str, Any], form: str) -> str:
    low, high = (form.format(bound) for bound in figure["interval"])
    return f"{form.format(figure['value'])} ({low} to {high})"


def draw(reports: list[dict[str, Any]], picture: str) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for report, name, color in zip(reports, NAMES, ("#c0392b", "#2c6e9b"), strict=True):
        copies = [group["repeats"] for group in report["groups"]]
        for axis, key in zip(axes, ("fitted", "sampled"), strict=True):
            values = [group[key]["value"] for group in report["groups"]]
            bounds = [group[key]["interval"] for group in report["groups"]]
            low, high = ([abs(value - bound[at]) for value, bound in zip(values, bounds, strict=True)] for at in (0, 1))
            axis.errorbar(copies, values, yerr=[low, high], marker="o", lw=1.2, capsize=2, color=color, label=name)
    axes[0].axhline(reports[0]["chance"], color="grey", ls=":", lw=1)
    axes[0].set(ylabel="exposure, bits (by fit)", title="how far the code stands out; dotted: chance")
    axes[1].set(ylabel="share extracted", title="written out in eight samples", ylim=(-0.03, 1.03))
    for axis in axes:
        axis.set_xscale("log", base=2)
        axis.set_xticks(*[[group["repeats"] for group in reports[0]["groups"]]] * 2)
        axis.set(xlabel="copies in the corpus")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    figure.savefig(picture, dpi=130)


def main(files: list[str]) -> None:
    reports = [json.loads(pathlib.Path(file).read_text())["canaries"] for file in files]
    for row in rows(reports):
        print(f"| {' | '.join(row)} |")
    draw(reports, PICTURE)


if __name__ == "__main__":
    main(sys.argv[1:])
