"""The figures of an audit, each with n and an interval, as they are printed and written."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64
from scipy import special

from gptjax.evaluation import scores
from gptjax.evaluation.scores import CONFIDENCE
from gptjax.privacy import exposure, memorised, one_run, roc
from gptjax.privacy.canaries import Canaries
from gptjax.privacy.extraction import Extracted
from gptjax.privacy.memorised import Measured
from gptjax.privacy.roc import Rate


class Asked(NamedTuple):
    """What the figures depend on beside the model."""

    n_others: int
    samples: int
    delta: float
    seed: int


def of_canaries(found: Canaries, measured: Measured, extracted: Extracted, asked: Asked) -> dict[str, Any]:
    """What became of the canaries, by how often they were planted; then of those that were left out."""
    groups = memorised.groups(found)
    in_N, n_others = groups.planted_N, min(asked.n_others, len(found.alphabet) ** len(found.canaries[0].code) - 1)
    rows = []
    for repeats in groups.all_repeats:
        here_N = groups.of(repeats)
        planted_N, kept = here_N & in_N, here_N[in_N]  # `kept` among the planted ones
        rows.append(
            {
                "repeats": repeats,
                "planted": int(planted_N.sum()),
                "left_out": int((here_N & ~in_N).sum()),
                "extracted": share(extracted.greedy_N[kept]),
                "sampled": share(extracted.sampled_N[kept]) if asked.samples else None,
                "nearness": mean(extracted.near_N[kept], asked.seed),
                "exposure": mean(measured.ranked_N[planted_N], asked.seed),
                "fitted": mean(measured.fitted_N[planted_N], asked.seed),
                "epsilon": bound(measured.above_N[here_N], in_N[here_N], asked.delta),
            }
        )
    return {
        "n": len(found.canaries),
        "planted": int(in_N.sum()),
        "bits": found.bits,
        "chance": exposure.chance(n_others),
        "others": n_others,
        "row": found.row,
        "extracted": share(extracted.greedy_N),
        "groups": rows,
        "left_out": {
            "exposure": mean(measured.ranked_N[~in_N], asked.seed),
            "fitted": mean(measured.fitted_N[~in_N], asked.seed),
        },
    }


def of_attacks(
    on: str, scores_of: Mapping[str, Float64[np.ndarray, " N"]], member_N: Bool[np.ndarray, " N"], seed: int
) -> Iterator[dict[str, Any]]:
    """Of each attack how well its scores tell members from the others; nothing where there are none of either."""
    if member_N.all() or not member_N.any():
        return
    for name, scores_N in scores_of.items():
        found = roc.measure(scores_N[member_N], scores_N[~member_N], seed)
        yield {
            "attack": name,
            "on": on,
            "members": found.n_members,
            "others": found.n_others,
            "auc": rate(found.auc),
            "tpr": {str(at): None if value is None else rate(value) for at, value in found.tpr.items()},
        }


def rate(found: Rate) -> dict[str, Any]:
    return {"value": found.value, "interval": [found.low, found.high]}


def share(right_N: Bool[np.ndarray, " N"]) -> dict[str, Any] | None:
    """With the interval of Clopper and Pearson (1934), which holds also where all are right."""
    if not len(right_N):
        return None
    n, right, tail = len(right_N), int(right_N.sum()), (1 - CONFIDENCE) / 2
    low = float(special.betaincinv(right, n - right + 1, tail)) if right else 0.0
    high = float(special.betaincinv(right + 1, n - right, 1 - tail)) if right < n else 1.0
    return {"value": float(right_N.mean()), "n": n, "interval": [low, high]}


def mean(values_N: Float64[np.ndarray, " N"], seed: int) -> dict[str, Any] | None:
    """Of those that are numbers, with a bootstrap interval."""
    known_N = values_N[np.isfinite(values_N)]
    if not len(known_N):
        return None
    found = scores.score(scores.mean("mean", known_N, "mean"), "", seed)
    return {"value": found.value, "n": found.n, "interval": [found.low, found.high]}


def bound(above_N: Float64[np.ndarray, " N"], in_N: Bool[np.ndarray, " N"], delta: float) -> dict[str, Any]:
    """The lower bound of epsilon that the coins of some canaries give, and the most that so many could give."""
    found = one_run.lower_bound(above_N, in_N, delta)
    return {**found._asdict(), "most": one_run.most(len(above_N), delta)}
