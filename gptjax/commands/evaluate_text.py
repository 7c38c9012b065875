"""The table that `gptjax evaluate` prints."""

from collections.abc import Iterator

from gptjax.evaluation.measures import LESS_IS_BETTER

HEAD = ("task", "metric", "score", "95% interval", "n", "minus it", "95% interval")
LEFT = 2  # columns that are words


def show(report: dict) -> None:
    """Prints a row for each metric, and below it the trivial answers and the other model with the paired difference."""
    rows = [HEAD, *(row for name, found in report["tasks"].items() for row in of_task(name, found, report["against"]))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    for row in rows:
        cells = [
            cell.ljust(width) if column < LEFT else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
    for name, found in report["tasks"].items():
        if found.get("cut"):
            print(f"{name}: {found['cut']:,} prompts are longer than the model's context and lost their beginning")
    for line in of_training(report):
        print(line)
    print(report["command"])


def of_training(report: dict) -> Iterator[str]:
    """What is known of the training text."""
    for model in (report["from"], report["against"]):
        if model is None:
            continue
        if model["contamination_unknown"]:
            yield f"contamination of {model['path']}: not known; {model['contamination_unknown']}"
        for name, found in model["contaminated"].items():
            clean = found["clean"]
            score = (
                "" if clean is None else f"; the other {clean['n']}: {clean['metric']} " + " in ".join(of_score(clean))
            )
            yield f"contamination of {model['path']}, {name}: {found['said']}{score if found['contaminated'] else ''}"


def of_task(name: str, found: dict, against: dict | None) -> Iterator[tuple[str, ...]]:
    shots = f" ({found['shots']} shots)" if found.get("shots") else ""
    for number, (metric, score) in enumerate(found["metrics"].items()):
        title = f"{metric}, less is better" if metric in LESS_IS_BETTER or metric.endswith("_perplexity") else metric
        yield (name + shots if not number else "", title, *of_score(score), str(score["n"]), "", "")
        others = {title: baseline.get(metric) for title, baseline in found.get("baselines", {}).items()}
        if against is not None:
            others[against["path"]] = found["against"].get(metric)
        for title, other in others.items():
            if other is not None:
                yield ("", f"  {title}", *of_score(other), str(other["n"]), *of_score(other["difference"], "+"))


def of_score(score: dict, sign: str = "") -> tuple[str, str]:
    value, interval = f"{score['score']:{sign}.4g}", score["interval"]
    return value, " to ".join(f"{bound:{sign}.4g}" for bound in interval) if interval else ""
