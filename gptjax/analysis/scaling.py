"""Scaling laws: the loss of a run as a function of its parameters N and its training tokens D.

    L(N, D) = E + A / N^alpha + B / D^beta                                 (Hoffmann et al. 2022, equation 2)

is fitted as in their equation 3: the least sum of Huber losses, delta = 1e-3, of log L's error, in the variables log A,
log B and log E, from the best of their grid of starts. Besiroglu et al. 2024 found that their minimiser (L-BFGS) had
stopped early. Here N and D are relative to their geometric means, which leaves hardly any of the correlation between A
and alpha, and all resamples descend together, by least squares weighed anew at each step; a test holds the end of it
against L-BFGS.

Intervals hold 95 % of RESAMPLES fits. From PAIRS_FROM runs on, runs are drawn with replacement, as Besiroglu et al. do:
it asks nothing of the errors. Fewer runs, of which a resample may lack those that determine a term, keep their N and D,
and their loss becomes the law's with the error of a run drawn at random; as five unknowns make the errors of P runs too
small, they are scaled by sqrt(P / (P - 5)), and by a draw for how badly P - 5 numbers tell a scale, which is what makes
Student's interval wider than the normal one. docs/scaling_laws.md has how often intervals hold what was planted.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

DELTA = 1e-3  # of the Huber loss, in log nats
STARTS = (  # log A, alpha, log B, beta and log E, of Hoffmann et al. 2022, appendix D.3
    np.arange(0.0, 26.0, 5.0),
    np.arange(0.0, 2.1, 0.5),
    np.arange(0.0, 26.0, 5.0),
    np.arange(0.0, 2.1, 0.5),
    np.arange(-1.0, 1.1, 0.5),
)
BEST_STARTS = 30  # of the 4,500, those of the least objective are followed to the end
MOST_STEPS = 300
DAMPING = 5.0
ENOUGH = 1e-9  # of the objective: a step that lowers it by less is the last
MOST_DAMPING = 1e6  # from which on no step lowers the objective
TINY = 1e-6  # of numbers around 1e6: keeps the equations solvable where a term has gone to nothing
BLOCK = 2**18  # numbers of one array at a time
RESAMPLES = 1000
PAIRS_FROM = 50  # ten runs for each unknown
CONFIDENCE = 0.95
K = 5  # unknowns


class Points(NamedTuple):
    """P finished runs."""

    n_params_P: Float64[np.ndarray, " P"]
    tokens_P: Float64[np.ndarray, " P"]  # that each was trained on
    loss_P: Float64[np.ndarray, " P"]  # nats a token at its end

    def keep(self, keep_P: np.ndarray) -> "Points":
        return Points(*(values_P[keep_P] for values_P in self))


class Estimate(NamedTuple):
    """A number and the bounds that hold CONFIDENCE of its resamples."""

    value: float
    low: float
    high: float


class Fit(NamedTuple):
    """The law of some runs. Rows of `theta` are (log A, alpha, log B, beta, log E)."""

    points: Points
    theta_K: Float64[np.ndarray, " K"]
    theta_RK: Float64[np.ndarray, "R K"]  # of R resamples
    error_P: Float64[np.ndarray, " P"]  # log of measured over fitted loss, scaled for the five unknowns

    @property
    def law(self) -> dict[str, Estimate]:
        """E, A, B in nats a token, alpha and beta."""
        named = {"E": (4, np.exp), "A": (0, np.exp), "B": (2, np.exp), "alpha": (1, np.array), "beta": (3, np.array)}
        with np.errstate(over="ignore"):  # a coefficient that nothing bounds is infinite in some resamples
            return {
                name: estimate(float(to(self.theta_K[k])), to(self.theta_RK[:, k])) for name, (k, to) in named.items()
            }

    def predict(self, n_params: float, tokens: float, seed: int = 0) -> Estimate:
        """The loss that one run of this size would measure: the interval has the law's doubt and a run's own error."""
        at = np.array([n_params]), np.array([tokens])
        error_R = np.random.default_rng(seed).choice(self.error_P, len(self.theta_RK))
        return estimate(float(loss(self.theta_K, *at)[0]), loss(self.theta_RK, *at)[:, 0] * np.exp(error_R))


class Optimum(NamedTuple):
    """The model that a compute budget is best spent on, and what it reaches."""

    flops: float
    n_params: Estimate
    tokens: Estimate
    loss: Estimate


def fit(points: Points, resamples: int = RESAMPLES, seed: int = 0) -> Fit:
    """The law of the points with its resamples. `laws.check` says whether they are enough for one."""
    P = len(points.loss_P)
    theta_K = best(points)
    fitted_P = loss(theta_K, points.n_params_P, points.tokens_P)
    error_P = np.log(points.loss_P / fitted_P)
    error_P = (error_P - error_P.mean()) * np.sqrt(P / (P - K))
    loss_RP, weight_RP = resampled(points, fitted_P, error_P, resamples, np.random.default_rng(seed))
    theta_RK = minima(points, loss_RP, weight_RP, theta_K)
    return Fit(points, theta_K, theta_RK, error_P)


def resampled(
    points: Points, fitted_P: np.ndarray, error_P: np.ndarray, resamples: int, rng: np.random.Generator
) -> tuple[Float64[np.ndarray, "R P"], Float64[np.ndarray, "R P"]]:
    """Losses of the points, and how often each of them counts, in each resample."""
    P = len(error_P)
    if P >= PAIRS_FROM:
        drawn_RP = rng.multinomial(P, np.full(P, 1 / P), size=resamples).astype(np.float64)
        return np.broadcast_to(points.loss_P, drawn_RP.shape), drawn_RP
    scale_R = np.sqrt((P - K) / rng.chisquare(P - K, resamples))
    loss_RP = fitted_P * np.exp(scale_R[:, None] * rng.choice(error_P, (resamples, P)))
    return loss_RP, np.ones_like(loss_RP)


def loss(
    theta_K: Float64[np.ndarray, "*R K"], n_params_Q: Float64[np.ndarray, " Q"], tokens_Q: Float64[np.ndarray, " Q"]
) -> Float64[np.ndarray, "*R Q"]:
    """L(N, D) of each of Q models, by each of R laws."""
    a, alpha, b, beta, e = np.moveaxis(theta_K[..., None], -2, 0)
    return np.exp(a - alpha * np.log(n_params_Q)) + np.exp(b - beta * np.log(tokens_Q)) + np.exp(e)


def optimum(found: Fit, flops: float, flops_per_nd: float) -> Optimum:
    """The least loss of a budget C = flops_per_nd x N x D (Hoffmann et al. 2022, equation 4; 6 N D is the usual rule).

    The interval of the loss is that of a run at the optimum that the law names, as `predict` has it.
    """
    n_params, n_params_R = (best_size(theta, flops / flops_per_nd) for theta in (found.theta_K, found.theta_RK))
    tokens = flops / flops_per_nd / n_params
    tokens_R = flops / flops_per_nd / n_params_R
    return Optimum(
        flops,
        estimate(float(n_params), n_params_R),
        estimate(float(tokens), tokens_R),
        found.predict(float(n_params), float(tokens)),
    )


def best_size(theta_K: Float64[np.ndarray, "*R K"], nd: float) -> Float64[np.ndarray, "*R"]:
    """The N of the least loss where N x D = `nd`; infinite or 0 by a law whose loss falls for ever."""
    a, alpha, b, beta, _ = np.moveaxis(theta_K, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        log_n = (np.log(alpha / beta) + a - b + beta * np.log(nd)) / (alpha + beta)
        return np.where(np.isnan(log_n), np.inf, np.exp(log_n))


def minima(
    points: Points,
    loss_RP: Float64[np.ndarray, "R P"],
    weight_RP: Float64[np.ndarray, "R P"],
    start_K: Float64[np.ndarray, " K"],
) -> Float64[np.ndarray, "R K"]:
    """The theta of the least objective for each of R other losses and weights of the points, from a start close by."""
    log_n_P, log_d_P = np.log(points.n_params_P), np.log(points.tokens_P)
    shift = np.array([log_n_P.mean(), log_d_P.mean()])
    data = log_n_P - shift[0], log_d_P - shift[1]
    at_once = max(1, BLOCK // len(log_n_P))
    parts = [slice(first, first + at_once) for first in range(0, len(loss_RP), at_once)]
    ends = []
    for log_e in (start_K[4], np.log(points.loss_P.min() / 2)):  # from an E of all but 0 no slope leads up again
        start_RK = np.tile(moved(np.append(start_K[:4], log_e), -shift), (len(loss_RP), 1))
        ends.append([descended(start_RK[part], *data, np.log(loss_RP[part]), weight_RP[part]) for part in parts])
    theta_2RK, value_2R = (np.stack([np.concatenate([end[n] for end in one]) for one in ends]) for n in (0, 1))
    return moved(np.where((value_2R[1] < value_2R[0])[:, None], theta_2RK[1], theta_2RK[0]), shift)


def best(points: Points) -> Float64[np.ndarray, " K"]:
    """The theta of the least objective over all starts."""
    log_n_P, log_d_P, log_loss_P = (np.log(values_P) for values_P in points)
    shift = np.array([log_n_P.mean(), log_d_P.mean()])
    data = log_n_P - shift[0], log_d_P - shift[1], log_loss_P[None]
    starts_SK = moved(np.stack([axis.ravel() for axis in np.meshgrid(*STARTS, indexing="ij")], axis=-1), -shift)
    at_once = max(1, BLOCK // len(log_n_P))
    values_S = np.concatenate(
        [
            huber(errors(part, *data)[1], np.ones_like(data[2]))
            for part in np.split(starts_SK, range(at_once, len(starts_SK), at_once))
        ]
    )
    theta_SK, values_S = descended(starts_SK[np.argsort(values_S)[:BEST_STARTS]], *data, np.ones_like(data[2]))
    return moved(theta_SK[np.argmin(values_S)], shift)


def descended(
    theta_RK: Float64[np.ndarray, "R K"],
    log_n_P: Float64[np.ndarray, " P"],
    log_d_P: Float64[np.ndarray, " P"],
    log_loss_RP: Float64[np.ndarray, "#R P"],
    weight_RP: Float64[np.ndarray, "#R P"],
) -> tuple[Float64[np.ndarray, "R K"], Float64[np.ndarray, " R"]]:
    """Where each theta ends, and its objective: by steps of least squares whose weights make the Huber loss of them.

    A step solves (J' W J + damping diag) step = J' W error, with W = weight / max(1, |error|) (Holland & Welsch
    1977); it is taken where it lowers the objective, and the damping changed by DAMPING (Marquardt 1963).
    """
    shape = len(theta_RK), len(log_n_P)
    theta_RK, log_loss_RP, weight_RP = (
        theta_RK.copy(),
        *(np.broadcast_to(one, shape) for one in (log_loss_RP, weight_RP)),
    )
    value_R, damping_R = np.full(len(theta_RK), np.inf), np.full(len(theta_RK), 1e-3)
    going = np.arange(len(theta_RK))
    for _ in range(MOST_STEPS):
        data = log_n_P, log_d_P, log_loss_RP[going]
        part_3RP, error_RP = errors(theta_RK[going], *data)
        weighs_RP = weight_RP[going]
        before_R = huber(error_RP, weighs_RP)
        new_RK = theta_RK[going] - step(part_3RP, error_RP, weighs_RP, damping_R[going], log_n_P, log_d_P)
        after_R = huber(errors(new_RK, *data)[1], weighs_RP)
        better_R = after_R < before_R
        theta_RK[going] = np.where(better_R[:, None], new_RK, theta_RK[going])
        value_R[going] = np.where(better_R, after_R, before_R)
        damping_R[going] *= np.where(better_R, 1 / DAMPING, DAMPING)
        on_R = np.where(better_R, before_R - after_R > ENOUGH * before_R, damping_R[going] < MOST_DAMPING)
        going = going[on_R]
        if not len(going):
            break
    return theta_RK, value_R


def step(
    part_3RP: Float64[np.ndarray, "3 R P"],
    error_RP: Float64[np.ndarray, "R P"],
    weight_RP: Float64[np.ndarray, "R P"],
    damping_R: Float64[np.ndarray, " R"],
    log_n_P: Float64[np.ndarray, " P"],
    log_d_P: Float64[np.ndarray, " P"],
) -> Float64[np.ndarray, "R K"]:
    """What each theta is to be less by: the damped least squares of `descended`."""
    by_n, by_d, by_e = part_3RP / DELTA
    slope_RPK = np.stack([by_n, -by_n * log_n_P, by_d, -by_d * log_d_P, by_e], axis=-1)
    weighed_RKP = (slope_RPK * (weight_RP / np.maximum(1, np.abs(error_RP)))[..., None]).swapaxes(1, 2)
    square_RKK = weighed_RKP @ slope_RPK
    diagonal_RK = np.einsum("rkk->rk", square_RKK) * damping_R[:, None] + TINY
    return np.linalg.solve(square_RKK + diagonal_RK[:, :, None] * np.eye(K), weighed_RKP @ error_RP[..., None])[..., 0]


def errors(
    theta_RK: Float64[np.ndarray, "R K"],
    log_n_P: Float64[np.ndarray, " P"],
    log_d_P: Float64[np.ndarray, " P"],
    log_loss_RP: Float64[np.ndarray, "#R P"],
) -> tuple[Float64[np.ndarray, "3 R P"], Float64[np.ndarray, "R P"]]:
    """The share of each of the three terms in L, and log L's error in units of DELTA."""
    a, alpha, b, beta, e = theta_RK.T[..., None]
    term_3RP = np.stack([a - alpha * log_n_P, b - beta * log_d_P, e + np.zeros_like(log_n_P)])
    log_fit_RP = np.logaddexp.reduce(term_3RP)
    return np.exp(term_3RP - log_fit_RP), (log_fit_RP - log_loss_RP) / DELTA


def huber(error_RP: Float64[np.ndarray, "R P"], weight_RP: Float64[np.ndarray, "#R P"]) -> Float64[np.ndarray, " R"]:
    """The weighed sum of Huber losses of errors in units of DELTA."""
    size_RP = np.abs(error_RP)
    return (weight_RP * np.where(size_RP <= 1, size_RP**2 / 2, size_RP - 0.5)).sum(1)


def moved(theta_SK: Float64[np.ndarray, "*S K"], shift: Float64[np.ndarray, "2"]) -> Float64[np.ndarray, "*S K"]:
    """The same laws in N and D times exp(shift): log A takes alpha times the shift of log N."""
    made = theta_SK.copy()
    made[..., 0] += theta_SK[..., 1] * shift[0]
    made[..., 2] += theta_SK[..., 3] * shift[1]
    return made


def estimate(value: float, values_R: Float64[np.ndarray, " R"]) -> Estimate:
    """The value with the quantiles of its R resamples that hold CONFIDENCE of them."""
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    low, high = np.quantile(values_R, tails, method="nearest")  # between two infinite values there is no number
    return Estimate(value, float(low), float(high))
