"""IsoFLOP parabolas: of runs of one compute budget, the size of the least loss (Hoffmann et al. 2022, section 3.2).

The loss of each budget is fitted by a parabola in log N, which assumes no law. Intervals are of 2,000 draws of the
coefficients from their joint Student's distribution; the noise is one for all budgets, so degrees of freedom add up.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gptjax.analysis.ladder import APART, Rung
from gptjax.analysis.scaling import CONFIDENCE, Estimate, estimate

COEFFICIENTS = 3
DRAWS = 2000
LEAST_BUDGETS = 3


class Parabola(NamedTuple):
    """One budget: the size of its least loss, or `why` there is none."""

    flops: float
    n_runs: int
    n_params: Estimate | None
    loss: Estimate | None
    why: str


class Growth(NamedTuple):
    """N_opt = N at 1 FLOP times C^exponent, over the budgets that have a least loss."""

    exponent: Estimate
    n_budgets: int


def parabolas(of: Sequence[Rung], seed: int = 0) -> tuple[list[Parabola], Growth | None]:
    """A parabola for each budget with four sizes or more, and how the best size grows where three budgets have one."""
    budgets = [budget for budget in grouped(of) if len({one.n_params for one in budget}) > COEFFICIENTS]
    solved = [solve(budget) for budget in budgets]
    freedom = sum(len(budget) - COEFFICIENTS for budget in budgets)
    noise = np.sqrt(sum(left for _, _, left in solved) / max(freedom, 1))
    rng = np.random.default_rng(seed)
    found, grown, sizes = [], [], []
    for budget, (best_K, root_KK, _) in zip(budgets, solved, strict=True):
        scale_R = noise * np.sqrt(freedom / rng.chisquare(freedom, DRAWS))
        draws_RK = best_K + scale_R[:, None] * (rng.standard_normal((DRAWS, COEFFICIENTS)) @ root_KK.T)
        made, x_R = vertex(budget, best_K, draws_RK)
        found.append(made)
        if made.n_params is not None:
            grown.append((made.flops, made.n_params.value))
            sizes.append(x_R)
    return found, growth(grown, sizes)


def grouped(of: Sequence[Rung]) -> list[list[Rung]]:
    """The runs of each budget: FLOPs that are a factor APART at most from the least of their group."""
    groups: list[list[Rung]] = []
    for one in sorted(of, key=lambda one: one.flops):
        if groups and one.flops <= groups[-1][0].flops * APART:
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def middle(budget: Sequence[Rung]) -> float:
    """The mean of log N, which the parabola's x is counted from."""
    return float(np.mean(np.log([one.n_params for one in budget])))


def solve(budget: Sequence[Rung]) -> tuple[np.ndarray, np.ndarray, float]:
    """Least squares: (c, b, a) of c + b x + a x^2, a root of their covariance for noise 1, and the squared errors."""
    x_P = np.log([one.n_params for one in budget]) - middle(budget)
    y_P = np.array([one.loss for one in budget])
    design_PK = np.vander(x_P, COEFFICIENTS, increasing=True)
    best_K = np.linalg.lstsq(design_PK, y_P, rcond=None)[0]
    root_KK = np.linalg.cholesky(np.linalg.inv(design_PK.T @ design_PK))
    return best_K, root_KK, float(((y_P - design_PK @ best_K) ** 2).sum())


def vertex(budget: Sequence[Rung], best_K: np.ndarray, draws_RK: np.ndarray) -> tuple[Parabola, np.ndarray]:
    """Where the parabola is lowest, and log N there of each draw: infinite where a draw has no lowest point."""
    flops, sizes = float(np.exp(np.mean(np.log([one.flops for one in budget])))), [one.n_params for one in budget]
    (log_n,), (loss,) = lowest(best_K[None])
    log_n_R, loss_R = lowest(draws_RK)
    log_n, log_n_R = log_n + middle(budget), log_n_R + middle(budget)
    if not min(sizes) <= np.exp(log_n) <= max(sizes):
        why = "the loss has no lowest point between its sizes: try larger and smaller ones"
        return Parabola(flops, len(budget), None, None, why), log_n_R
    n_params = estimate(float(np.exp(log_n)), np.exp(log_n_R))
    return Parabola(flops, len(budget), n_params, estimate(float(loss), loss_R), ""), log_n_R


def lowest(theta_RK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lowest point of each parabola; one that opens downwards is lowest at the end to which it falls."""
    c_R, b_R, a_R = theta_RK.T
    up_R = a_R > 0
    safe_R = np.where(up_R, a_R, 1.0)
    away_R = np.where(b_R > 0, -np.inf, np.inf)
    return np.where(up_R, -b_R / (2 * safe_R), away_R), np.where(up_R, c_R - b_R**2 / (4 * safe_R), -np.inf)


def growth(grown: Sequence[tuple[float, float]], sizes: Sequence[np.ndarray]) -> Growth | None:
    """The slope of log N_opt over log C; its interval is that of the draws, those with no lowest point left out."""
    if len(grown) < LEAST_BUDGETS:
        return None
    log_c = np.log([flops for flops, _ in grown])
    slope = lambda log_n: np.polyfit(log_c, log_n, 1)[0]
    draws_RB = np.stack(sizes, axis=1)
    whole = draws_RB[np.isfinite(draws_RB).all(1)]
    if len(whole) < CONFIDENCE * DRAWS:
        return None
    return Growth(estimate(float(slope(np.log([n for _, n in grown]))), slope(whole.T)), len(grown))
