"""A lower bound of epsilon from one run (Steinke, Nasr and Jagielski 2023: one training run, many coins).

m examples are each included by a fair coin; an auditor guesses the coins from the model and may abstain. If training
is (epsilon, delta)-private with respect to one example more or fewer, right guesses among r are not likelier to reach
v than

    P[W >= v] + 2 m delta max_i (P[W >= v - i] - P[W >= v]) / i,    W ~ Binomial(r, e^epsilon / (1 + e^epsilon))

(theorem 5.2). The largest epsilon that this refutes is a bound with the confidence asked for.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64
from scipy import special

from gptjax.config import BadInput

SHARES = (1.0, 1 / 2, 1 / 4, 1 / 8, 1 / 16)  # of the coins that are guessed; each is a chance to be lucky
LARGEST = 64.0  # what is not bounded below this is told as this


class Bound(NamedTuple):
    epsilon: float  # 0: nothing is refuted
    confidence: float
    delta: float
    n_coins: int
    n_guesses: int
    n_right: int


def lower_bound(
    scores_N: Float64[np.ndarray, " N"], included_N: Bool[np.ndarray, " N"], delta: float, confidence: float = 0.95
) -> Bound:
    """Guesses that the highest scores were included and the lowest were not, as many of either.

    How many are guessed is chosen by the result among `SHARES`, so each has its part of the doubt. Raises BadInput.
    """
    if not 0 <= delta < 1 or not 0 < confidence < 1:
        raise BadInput(f"--delta={delta}: must be from 0 to below 1")
    n = len(scores_N)
    order_N, doubt = np.argsort(-scores_N, kind="stable"), (1 - confidence) / len(SHARES)
    found = []
    for share in SHARES:
        each = int(n * share / 2)
        right = int(included_N[order_N[:each]].sum() + (~included_N[order_N[n - each :]]).sum())
        found.append(Bound(refuted(n, 2 * each, right, delta, doubt), confidence, delta, n, 2 * each, right))
    return max(found, key=lambda bound: (bound.epsilon, bound.n_guesses))


@functools.lru_cache(maxsize=4096)
def refuted(n_coins: int, n_guesses: int, n_right: int, delta: float, doubt: float) -> float:
    """The largest epsilon for which so many right guesses have at most the probability `doubt`; 0 for none."""
    low, high = 0.0, LARGEST
    if not n_guesses or probability(n_coins, n_guesses, n_right, low, delta) > doubt:
        return 0.0
    if probability(n_coins, n_guesses, n_right, high, delta) <= doubt:
        return high
    while high - low > 1e-6:
        middle = (low + high) / 2
        if probability(n_coins, n_guesses, n_right, middle, delta) <= doubt:
            low = middle
        else:
            high = middle
    return low


def probability(n_coins: int, n_guesses: int, n_right: int, epsilon: float, delta: float) -> float:
    """At most so likely are `n_right` right guesses of `n_guesses` for what is (epsilon, delta)-private."""
    if not n_right:
        return 1.0
    q, least_V = special.expit(epsilon), np.arange(1, n_right + 1)
    tail_V = np.concatenate([[1.0], special.betainc(least_V, n_guesses - least_V + 1, q)])  # P[W >= 0, 1, ...]
    beta, fewer_I = float(tail_V[n_right]), np.arange(1, n_right + 1)
    slope = float(np.max((tail_V[n_right - fewer_I] - beta) / fewer_I))
    return min(1.0, beta + 2 * n_coins * delta * max(0.0, slope))


def most(n_coins: int, delta: float, confidence: float = 0.95) -> float:
    """The bound that a run would get that gives every coin away: what so many canaries can show at most."""
    doubt = (1 - confidence) / len(SHARES)
    return refuted(n_coins, n_coins, n_coins, delta, doubt) if n_coins and not math.isnan(delta) else 0.0
