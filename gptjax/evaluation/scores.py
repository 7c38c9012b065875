"""A score with what makes it worth trusting: the number of examples, a bootstrap interval and the command that gave it.

Every metric here is a function of sums over examples: a mean is sum / count, BLEU is a function of summed n-gram
counts. So a metric is the statistics of each example and that function, and one bootstrap serves them all: draw N
examples with replacement, add up their statistics, apply the function (Efron 1979; the percentile method).
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from gptjax.config import BadInput

RESAMPLES = 1000
CONFIDENCE = 0.95
BLOCK = 2**24  # draws counted at a time: bounds memory at 128 MiB


class Measure(NamedTuple):
    """A metric of N examples, before it is one number."""

    name: str
    stats_NK: Float64[np.ndarray, "N K"]  # what each example adds to the sums
    value: Callable[[Float64[np.ndarray, " K"]], float]  # of sums over examples
    signature: str  # what another program needs to know to give the same number


@dataclasses.dataclass(frozen=True)
class Score:
    """A metric's value and the bounds that hold `confidence` of its resamples; a difference where `minus` names one."""

    name: str
    value: float
    n: int
    low: float
    high: float
    confidence: float
    resamples: int
    seed: int
    signature: str
    command: str
    minus: str = ""

    def __str__(self) -> str:
        title = f"{self.name}, minus {self.minus}" if self.minus else self.name
        return f"{title}: {self.value:.4g} [{self.low:.4g}, {self.high:.4g}] (n={self.n})"


def score(measure: Measure, command: str, seed: int = 0, resamples: int = RESAMPLES) -> Score:
    """The value over all examples with its interval; `command` is what gave it. Raises BadInput without examples."""
    values_R = resampled(measure, seed, resamples)
    return made(measure, whole(measure), values_R, command, seed, "")


def difference(one: Measure, other: Measure, command: str, seed: int = 0, resamples: int = RESAMPLES) -> Score:
    """`one` minus `other` over the same examples in the same order: each resample draws the same of both.

    The interval excludes 0 where one is better on these examples. Raises BadInput where they cannot be compared.
    """
    n_one, n_other = len(one.stats_NK), len(other.stats_NK)
    if n_one != n_other:
        raise BadInput(f"{one.name}: {n_one} examples against {n_other}; a paired difference needs the same examples")
    if one.signature != other.signature:
        raise BadInput(f"{one.name}: {one.signature!r} against {other.signature!r}; only one signature can be compared")
    values_R = resampled(one, seed, resamples) - resampled(other, seed, resamples)
    return made(one, whole(one) - whole(other), values_R, command, seed, other.name)


def made(
    measure: Measure, value: float, values_R: Float64[np.ndarray, " R"], command: str, seed: int, minus: str
) -> Score:
    low, high = np.quantile(values_R, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]).tolist()
    n = len(measure.stats_NK)
    return Score(measure.name, value, n, low, high, CONFIDENCE, len(values_R), seed, measure.signature, command, minus)


def whole(measure: Measure) -> float:
    return float(measure.value(measure.stats_NK.sum(0)))


def resampled(measure: Measure, seed: int, resamples: int) -> Float64[np.ndarray, " R"]:
    """The metric of each resample. The draws depend on the seed and on N alone, so two measures share them."""
    n = len(measure.stats_NK)
    if not n:
        raise BadInput(f"{measure.name}: no examples to score")
    rng = np.random.default_rng([seed, n])
    at_once = max(1, BLOCK // n)
    values = []
    for first in range(0, resamples, at_once):
        for counts_N in drawn(rng, n, min(at_once, resamples - first)):
            values.append(float(measure.value(counts_N @ measure.stats_NK)))
    return np.array(values, np.float64)


def drawn(rng: np.random.Generator, n: int, resamples: int) -> Int64[np.ndarray, "R N"]:
    """How often each of N examples is drawn, in each resample."""
    return rng.multinomial(n, np.full(n, 1 / n), size=resamples)


def mean(name: str, values_N: Float64[np.ndarray, " N"], signature: str) -> Measure:
    """The mean of a number of each example."""
    return ratio(name, values_N, np.ones_like(values_N), signature)


def ratio(
    name: str, sums_N: Float64[np.ndarray, " N"], weights_N: Float64[np.ndarray, " N"], signature: str
) -> Measure:
    """Summed `sums_N` over summed `weights_N`: an example counts as much as it weighs."""
    return Measure(name, np.stack([sums_N, weights_N], axis=1), lambda sums_K: sums_K[0] / sums_K[1], signature)
