"""Whether a difference between two groups of runs is more than their seeds make.

Two intervals of the mean difference are made: a bootstrap over seeds (paired where both groups have them), which
assumes nothing of the noise but is too narrow for few seeds, and Student's, right for few seeds if the noise is
normal. A difference is said to exceed the noise only where neither holds 0. Of one seed each nobody can tell.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from gptjax.analysis import seeds
from gptjax.evaluation import scores

EXCEEDS, WITHIN, UNKNOWN = "exceeds seed noise", "does not exceed seed noise", "cannot tell"


class Noise(NamedTuple):
    """The mean difference, one minus other."""

    verdict: str
    why: str
    n: tuple[int, int]  # seeds of each side
    paired: bool
    difference: float | None
    bootstrap: tuple[float, float] | None
    student: tuple[float, float] | None


def noise(
    one_N: Float64[np.ndarray, " N"], other_M: Float64[np.ndarray, " M"], *, paired: bool, seed: int = 0
) -> Noise:
    """Losses of the seeds of two groups; paired, entry i of both is of one seed."""
    n = len(one_N), len(other_M)
    nothing = (n, paired, None, None, None)
    if not (np.isfinite(one_N).all() and np.isfinite(other_M).all()):
        return Noise(UNKNOWN, "a loss is not finite", *nothing)
    if 0 in n:
        return Noise(UNKNOWN, "they have no loss of one step", *nothing)
    difference = float(one_N.mean() - other_M.mean())
    if min(n) < 2:
        why = f"{n[0]} against {n[1]} seeds, and the noise between seeds shows from two of each on"
        return Noise(UNKNOWN, why, n, paired, difference, None, None)
    boot, student = (of_pairs if paired else of_groups)(one_N, other_M, seed)
    outside = [not low <= 0 <= high for low, high in (boot, student)]
    verdict = EXCEEDS if all(outside) else WITHIN
    why = f"95% interval by bootstrap {shown(boot)}, by Student's {shown(student)}"
    return Noise(verdict, why, n, paired, difference, boot, student)


def of_pairs(one_N: np.ndarray, other_N: np.ndarray, seed: int) -> tuple[tuple[float, float], tuple[float, float]]:
    measures = (scores.mean("loss", values_N, "seeds") for values_N in (one_N, other_N))
    found = scores.difference(*measures, command="", seed=seed)
    student = seeds.interval((one_N - other_N).tolist())
    assert student is not None
    return (found.low, found.high), student


def of_groups(one_N: np.ndarray, other_M: np.ndarray, seed: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Of seeds that do not go together: resamples of each group apart, and Welch's degrees of freedom."""
    drawn = [
        scores.resampled(scores.mean("loss", values, "seeds"), seed + at, scores.RESAMPLES)
        for at, values in enumerate((one_N, other_M))
    ]
    tails = [(1 - scores.CONFIDENCE) / 2, (1 + scores.CONFIDENCE) / 2]
    low, high = np.quantile(drawn[0] - drawn[1], tails).tolist()
    parts = [float(values.var(ddof=1)) / len(values) for values in (one_N, other_M)]
    below = sum(part**2 / (len(values) - 1) for part, values in zip(parts, (one_N, other_M), strict=True))
    freedom = sum(parts) ** 2 / below if below else 1.0
    half = seeds.quantile(max(1, int(freedom))) * sum(parts) ** 0.5  # rounded down: wider
    mean = float(one_N.mean() - other_M.mean())
    return (low, high), (mean - half, mean + half)


def shown(interval: tuple[float, float]) -> str:
    return f"[{interval[0]:+.4g}, {interval[1]:+.4g}]"
