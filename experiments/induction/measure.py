"""What README.md shows: python -m experiments.induction.measure runs/induction/two runs/induction/one

Of every kept checkpoint: how well a run of RUN characters is foretold the first time and again, and where heads look.
Of the last one: the same without some heads. Draws OUT with matplotlib (the [plots] extra).
"""

import itertools
import pathlib
import sys
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from experiments.induction.text import RUN, run
from gptjax.data.tokenizers import Tokenizer
from gptjax.insight import ablation, heads
from gptjax.training import checkpoint
from gptjax.training.source import Source, open_run

N_ROWS, OUT = 64, pathlib.Path("experiments/induction/induction.svg")
HIGH = 0.5  # heads with a higher score are called by its name
Head = tuple[int, int]  # layer, number


class Seen(NamedTuple):
    """Of one checkpoint."""

    step: int
    nats_t: np.ndarray  # by position
    scores: dict[str, np.ndarray]  # L N

    @property
    def losses(self) -> tuple[float, float]:
        """The first time, and again: but for the first character then, which nothing foretells."""
        return float(self.nats_t[:RUN].mean()), float(self.nats_t[RUN + 1 :].mean())


def rows(tokenizer: Tokenizer) -> Array:
    """Runs that nobody was trained on: there are 62! / 38! of them."""
    rng = np.random.default_rng(1)
    return jnp.array([[tokenizer.end_of_text, *tokenizer.encode(2 * run(rng))] for _ in range(N_ROWS)], jnp.int32)


def without(source: Source, sets: list[list[Head]]) -> np.ndarray:
    """Mean nats by position, M t, with each set of heads writing zero."""
    cfg = source.cfg.model
    masks_MLN = np.zeros((len(sets), cfg.n_layers, cfg.n_heads), bool)
    for number, places in enumerate(sets):
        for place in places:
            masks_MLN[number][place] = True
    return np.asarray(ablation.nats(source.params, rows(source.tokenizer), jnp.asarray(masks_MLN), cfg).mean(1))


def seen(workdir: str) -> list[Seen]:
    """Every kept checkpoint, in order."""
    found = []
    for step in checkpoint.steps(f"{workdir}/checkpoints"):
        source = open_run(f"{workdir}/checkpoints/{step}")
        scores = heads.scores(source.params, rows(source.tokenizer), source.cfg.model)._asdict()
        found.append(Seen(step, without(source, [[]])[0], {name: np.asarray(x) for name, x in scores.items()}))
    return found


def show(titles: list[str], table: list[list[Any]]) -> None:
    print("\n".join(f"| {' | '.join(map(str, cells))} |" for cells in (titles, ["---"] * len(titles), *table)))


def by_step(found: list[Seen]) -> list[list[Any]]:
    """Losses, and the highest score of each kind with its head."""

    def highest(score_LN: np.ndarray) -> str:
        layer, number = divmod(int(score_LN.argmax()), score_LN.shape[1])
        return f"{score_LN.max():.2f} ({layer}.{number})"

    return [[s.step, *(f"{loss:.2f}" for loss in s.losses), *map(highest, s.scores.values())] for s in found]


def ablated(workdir: str, last: Seen) -> list[list[Any]]:
    """The last checkpoint without its induction heads and its previous-token heads, and without as many others of the
    same layer: every such set, and the worst of them."""
    source, named, table = open_run(workdir), [], [["none", *(f"{loss:.2f}" for loss in last.losses)]]
    places = [
        (layer, number) for layer in range(source.cfg.model.n_layers) for number in range(source.cfg.model.n_heads)
    ]
    for kind in ("induction", "previous"):
        of_kind = [place for place in places if last.scores[f"{kind}_LN"][place] > HIGH]
        layers = {layer for layer, _ in of_kind}
        others = [place for place in places if place[0] in layers and place not in of_kind]
        named.append((f"{kind}: {names(of_kind)}", [of_kind]))
        named.append(
            (
                "as many others of that layer, worst of all: {}",
                list(map(list, itertools.combinations(others, len(of_kind)))),
            )
        )
    for name, sets in named:
        if any(sets):
            found = [Seen(0, nats_t, {}).losses for nats_t in without(source, sets)]
            worst = max(range(len(sets)), key=lambda number: found[number][1])
            table.append([name.format(names(sets[worst])), *(f"{loss:.2f}" for loss in found[worst])])
    return table


def names(places: list[Head]) -> str:
    return " ".join(f"{layer}.{number}" for layer, number in places)


def draw(runs: dict[str, list[Seen]]) -> None:
    """Losses and scores by step, and the loss by position of the first run."""
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
    for (workdir, found), style in zip(runs.items(), ("-", ":"), strict=False):
        steps, name = [s.step for s in found], pathlib.Path(workdir).name
        for number, (time, colour) in enumerate((("first time", "tab:gray"), ("again", "tab:blue"))):
            left.plot(steps, [s.losses[number] for s in found], style, color=colour, label=f"{name}: {time}")
        for kind, colour in (("induction", "tab:red"), ("previous", "tab:green")):
            highest = [s.scores[f"{kind}_LN"].max() for s in found]
            middle.plot(steps, highest, style, color=colour, label=f"{name}: {kind}")
    for number, s in enumerate(found := next(iter(runs.values()))):
        right.plot(range(1, len(s.nats_t) + 1), s.nats_t, color=plt.get_cmap("viridis")(number / len(found)))
    for axes, title, below in (
        (left, "nats a character", "step"),
        (middle, "highest score of a head", "step"),
        (right, "nats by position, early (dark) to late", "position"),
    ):
        axes.set(title=title, xlabel=below, ylim=(0, None))
    left.legend()
    middle.legend()
    figure.savefig(OUT)


def main(workdirs: list[str]) -> None:
    runs = {workdir: seen(workdir) for workdir in workdirs}
    for workdir, found in runs.items():
        print(f"\n{workdir}\n")
        show(["step", "first time", "again", "previous token", "duplicate token", "induction"], by_step(found))
        print()
        show(["heads taken out", "first time", "again"], ablated(workdir, found[-1]))
    draw(runs)


if __name__ == "__main__":
    main(sys.argv[1:])
