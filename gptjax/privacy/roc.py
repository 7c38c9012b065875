"""How well a score tells members from others: the ROC curve's area, its start, and intervals.

An attack says "member" from some threshold on. Its true positive rate at a false positive rate of 1 % says whether it
accuses anyone with confidence; the area only whether it is right on average (Carlini et al. 2022).
"""

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from gptjax.config import BadInput
from gptjax.evaluation.scores import CONFIDENCE, RESAMPLES, drawn


class Rate(NamedTuple):
    """A share from 0 to 1, with its interval."""

    value: float
    low: float  # the bounds hold `CONFIDENCE` of the resamples
    high: float


class Roc(NamedTuple):
    n_members: int
    n_others: int
    auc: Rate  # the chance that a member has the higher score; a half where two are equal
    tpr: dict[float, Rate | None]  # by the false positive rate; None where there are too few others to tell


def measure(
    members_N: Float64[np.ndarray, " N"], others_M: Float64[np.ndarray, " M"], seed: int = 0, at: tuple = (0.01, 0.001)
) -> Roc:
    """Scores of which a member's should be higher. Members and others are resampled apart. Raises BadInput without
    either, and for a score that is no number."""
    n, m = len(members_N), len(others_M)
    if not n or not m:
        raise BadInput(f"an attack needs members and others; there are {n} and {m}")
    scores_K = np.concatenate([members_N, others_M])
    if np.isnan(scores_K).any():
        raise BadInput("an attack's score is no number; is the model's loss finite?")
    levels_L, level_K = np.unique(scores_K, return_inverse=True)
    rng = np.random.default_rng([seed, n, m])
    counted = functools.partial(at_levels, len(levels_L))
    once = np.ones((1, n), np.int64), np.ones((1, m), np.int64)
    many = drawn(rng, n, RESAMPLES), drawn(rng, m, RESAMPLES)
    pairs = [(counted(level_K[:n], a), counted(level_K[n:], b)) for a, b in (once, many)]
    tprs = {rate: rated(*(tpr(*pair, rate) for pair in pairs)) if m * rate >= 1 else None for rate in at}
    return Roc(n, m, rated(*(auc(*pair) for pair in pairs)), tprs)


def at_levels(
    n_levels: int, level_K: Int64[np.ndarray, " K"], draws_RK: Int64[np.ndarray, "R K"]
) -> Float64[np.ndarray, "R L"]:
    """How many drawn scores stand at each level."""
    order_K = np.argsort(level_K, kind="stable")
    here_J, first_J = np.unique(level_K[order_K], return_index=True)
    found_RL = np.zeros((len(draws_RK), n_levels))
    found_RL[:, here_J] = np.add.reduceat(draws_RK[:, order_K], first_J, axis=1)
    return found_RL


def rated(value_1: Float64[np.ndarray, "1"], values_R: Float64[np.ndarray, " R"]) -> Rate:
    low, high = np.quantile(values_R, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]).tolist()
    return Rate(float(value_1[0]), low, high)


def auc(members_RL: Float64[np.ndarray, "R L"], others_RL: Float64[np.ndarray, "R L"]) -> Float64[np.ndarray, " R"]:
    """From how many of either have each level of score, lowest first."""
    below_RL = np.cumsum(others_RL, axis=1) - others_RL / 2
    return np.sum(members_RL * below_RL, axis=1) / (members_RL.sum(1) * others_RL.sum(1))


def tpr(
    members_RL: Float64[np.ndarray, "R L"], others_RL: Float64[np.ndarray, "R L"], rate: float
) -> Float64[np.ndarray, " R"]:
    """The most members above a threshold that at most the share `rate` of the others reaches."""
    from_top = lambda x_RL: np.cumsum(x_RL[:, ::-1], axis=1) / x_RL.sum(1, keepdims=True)
    allowed_RL = from_top(others_RL) <= rate
    return np.max(np.where(allowed_RL, from_top(members_RL), 0), axis=1)
