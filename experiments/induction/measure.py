"""What README.md shows: python -m experiments.induction.measure runs/induction/two runs/induction/one

Of every kept checkpoint: how well a run of characters is foretold the first time and again, and where heads look. Of
the last one: the same with each head taken out. Draws OUT with matplotlib (the [plots] extra).
"""

import pathlib
import sys
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from experiments.induction.text import RUN, run
from gptjax.data.tokenizers import Tokenizer
from gptjax.insight import ablation, heads
from gptjax.training import checkpoint
from gptjax.training.source import Source, open_run

N_ROWS, OUT = 64, pathlib.Path("experiments/induction/induction.png")
FARTHEST = 12


class Seen(NamedTuple):
    """Of one checkpoint."""

    step: int
    nats_t: np.ndarray  # by position
    back_ELN: np.ndarray  # attention E = 1, 2, ... positions back; the first is the previous-token score
    later_ELN: (
        np.ndarray
    )  # attention E = 0, 1, ... positions later than an induction head looks, whose score is the first


def rows(tokenizer: Tokenizer) -> Array:
    """A run and the same again: runs that nobody was trained on, for there are 62! / 38!."""
    rng = np.random.default_rng(1)
    return jnp.array([[tokenizer.end_of_text, *tokenizer.encode(2 * run(rng))] for _ in range(N_ROWS)], jnp.int32)


def halves(nats_t: np.ndarray) -> tuple[float, float]:
    """Nats a character the first time, and again: but for the first one then, which nothing foretells."""
    return float(nats_t[:RUN].mean()), float(nats_t[RUN + 1 :].mean())


def without(source: Source, ablated_MLN: Bool[Array, "M L N"]) -> np.ndarray:
    """Mean nats by position, M t, with each set of heads writing its mean instead."""
    cfg, tokens_BT = source.cfg.model, rows(source.tokenizer)
    means = ablation.means(source.params, tokens_BT, cfg)
    return np.asarray(ablation.nats(source.params, tokens_BT, ablated_MLN, cfg, means).mean(1))


def seen(workdir: str, step: int) -> Seen:
    source = open_run(f"{workdir}/checkpoints/{step}")
    cfg, tokens_BT = source.cfg.model, rows(source.tokenizer)
    probs_LBNTS = heads.attention(source.params, tokens_BT, cfg)
    B, T = tokens_BT.shape
    back = [jnp.broadcast_to(jnp.eye(T, k=-far, dtype=bool), (B, T, T)) for far in range(1, FARTHEST + 1)]
    induced_BTS, earlier_1TS = heads.induced(tokens_BT), jnp.tri(T, dtype=bool)[None]
    further = lambda far: jnp.pad(induced_BTS, ((0, 0), (0, 0), (far, 0)))[:, :, :T]
    later = [further(far) & earlier_1TS for far in range(FARTHEST + 1)]
    paid = [np.stack([heads.paid(probs_LBNTS, asked_BTS) for asked_BTS in asked]) for asked in (back, later)]
    return Seen(step, without(source, jnp.zeros((1, cfg.n_layers, cfg.n_heads), bool))[0], *paid)


def highest(score_ELN: np.ndarray, first: int) -> str:
    far, layer, number = np.unravel_index(score_ELN.argmax(), score_ELN.shape)
    return f"{score_ELN.max():.2f} ({layer}.{number}, {far + first})"


def by_step(found: list[Seen]) -> list[list[Any]]:
    """Losses; the scores that literature names; and the highest anywhere near, with its head and how far."""
    return [
        [s.step, *(f"{loss:.2f}" for loss in halves(s.nats_t)), f"{s.back_ELN[0].max():.2f}"]
        + [f"{s.later_ELN[0].max():.2f}", highest(s.back_ELN, 1), highest(s.later_ELN, 0)]
        for s in found
    ]


def by_head(workdir: str, last: Seen) -> list[list[Any]]:
    """The last checkpoint without each head, and where that head looks."""
    source = open_run(f"{workdir}/checkpoints/{last.step}")
    table = [["none", *(f"{loss:.2f}" for loss in halves(last.nats_t)), "", ""]]
    for number, nats_t in enumerate(without(source, ablation.singly(source.cfg.model))):
        layer, head = divmod(number, source.cfg.model.n_heads)
        alone = (slice(None), slice(layer, layer + 1), slice(head, head + 1))
        where = [
            f"{x.max():.2f} ({x.argmax() + first})"
            for x, first in ((last.back_ELN[alone], 1), (last.later_ELN[alone], 0))
        ]
        table.append([f"{layer}.{head}", *(f"{loss:.2f}" for loss in halves(nats_t)), *where])
    return table


def show(titles: list[str], table: list[list[Any]]) -> None:
    print("\n".join(f"| {' | '.join(map(str, cells))} |" for cells in (titles, ["---"] * len(titles), *table)) + "\n")


def draw(runs: dict[str, list[Seen]]) -> None:
    """Losses and scores by step, and the loss by position of the first run."""
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
    for (workdir, found), style in zip(runs.items(), ("-", ":"), strict=False):
        steps, name = [s.step for s in found], pathlib.Path(workdir).name
        for half, (time, colour) in enumerate((("first time", "tab:gray"), ("again", "tab:blue"))):
            left.plot(steps, [halves(s.nats_t)[half] for s in found], style, color=colour, label=f"{name}: {time}")
        for label, score_of, colour in (
            ("previous token", lambda s: s.back_ELN[0], "tab:green"),
            ("induction, some way on", lambda s: s.later_ELN, "tab:red"),
        ):
            middle.plot(steps, [score_of(s).max() for s in found], style, color=colour, label=f"{name}: {label}")
    found = next(iter(runs.values()))
    for number, s in enumerate(found):
        right.plot(range(1, len(s.nats_t) + 1), s.nats_t, color=plt.get_cmap("viridis")(number / len(found)))
    for axes, title, below in (
        (left, "nats a character", "step"),
        (middle, "highest attention score of a head", "step"),
        (right, "nats by position, early (dark) to late", "position"),
    ):
        axes.set(title=title, xlabel=below, ylim=(0, None))
    left.legend()
    middle.legend(loc="upper left")
    figure.savefig(OUT, dpi=80)


def main(workdirs: list[str]) -> None:
    runs = {
        workdir: [seen(workdir, step) for step in checkpoint.steps(f"{workdir}/checkpoints")] for workdir in workdirs
    }
    for workdir, found in runs.items():
        print(f"{workdir}\n")
        show(["step", "first time", "again", "previous token", "induction", "back", "later"], by_step(found))
        show(["without", "first time", "again", "it looks back", "later"], by_head(workdir, found[-1]))
    draw(runs)


if __name__ == "__main__":
    main(sys.argv[1:])
