"""Scaling laws: the loss of a run as a function of its parameters N and its training tokens D.

    L(N, D) = E + A / N^alpha + B / D^beta                                 (Hoffmann et al. 2022, equation 2)

is fitted as in their equation 3: the sum of Huber losses, delta = 1e-3, of log L's error, in the variables log A, log B
and log E, by L-BFGS from the best of their grid of starts. Besiroglu et al. 2024 found that their minimiser had stopped
early; here the loss is in units of delta, so that it stops where nothing improves, and N and D are taken relative to
their geometric means, which leaves hardly any of the correlation between A and alpha.

Intervals hold 95 % of RESAMPLES fits to resampled errors: each run keeps its N and D, and its loss becomes the law's
with the error of a run drawn at random. As five unknowns make the errors of P runs too small, they are scaled by
sqrt(P / (P - 5)), and by a draw for how badly P - 5 numbers tell a scale, which is what makes Student's interval wider
than the normal one. docs/scaling_laws.md has how often the intervals hold what was planted.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy import optimize

DELTA = 1e-3  # of the Huber loss, in log nats
STARTS = {  # of Hoffmann et al. 2022, appendix D.3; "a" and "b" are log A and log B, "e" log E
    "a": np.arange(0.0, 26.0, 5.0),
    "alpha": np.arange(0.0, 2.1, 0.5),
    "b": np.arange(0.0, 26.0, 5.0),
    "beta": np.arange(0.0, 2.1, 0.5),
    "e": np.arange(-1.0, 1.1, 0.5),
}
BEST_STARTS = 30  # of the 4,500, those of the least objective are followed to the end
RESAMPLES = 1000
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
        return {
            name: estimate(float(shown(self.theta_K[k])), shown(self.theta_RK[:, k]))
            for name, (k, shown) in named.items()
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
    theta_K = minimum(points)
    fitted_P = loss(theta_K, points.n_params_P, points.tokens_P)
    error_P = np.log(points.loss_P / fitted_P)
    error_P = (error_P - error_P.mean()) * np.sqrt(P / (P - K))
    rng = np.random.default_rng(seed)
    theta_RK = np.empty((resamples, K))
    for r in range(resamples):
        scale = np.sqrt((P - K) / rng.chisquare(P - K))
        loss_P = fitted_P * np.exp(scale * rng.choice(error_P, P))
        theta_RK[r] = minimum(points._replace(loss_P=loss_P), theta_K)
    return Fit(points, theta_K, theta_RK, error_P)


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


def minimum(points: Points, start_K: Float64[np.ndarray, " K"] | None = None) -> Float64[np.ndarray, " K"]:
    """The theta of the least objective: from one start, or from the best of the grid."""
    log_n_P, log_d_P, log_loss_P = (np.log(values_P) for values_P in points)
    n_mean, d_mean = log_n_P.mean(), log_d_P.mean()
    data = (log_n_P - n_mean, log_d_P - d_mean, log_loss_P)
    shift = np.array([n_mean, d_mean])
    if start_K is None:
        grid = np.meshgrid(*STARTS.values(), indexing="ij")
        starts_SK = centred(np.stack([axis.ravel() for axis in grid], axis=-1), -shift)
        values_S = np.array([objective(theta_K, *data)[0] for theta_K in starts_SK])
        starts = starts_SK[np.argsort(values_S)[:BEST_STARTS]]
    else:
        starts = centred(start_K, -shift)[None]
    options = {"maxiter": 2000, "maxfun": 4000, "maxcor": 20, "ftol": 1e-12, "gtol": 1e-6}
    ends = [optimize.minimize(objective, theta_K, data, "L-BFGS-B", jac=True, options=options) for theta_K in starts]
    return centred(min(ends, key=lambda end: end.fun).x, shift)


def centred(theta_K: Float64[np.ndarray, "*S K"], shift: Float64[np.ndarray, "2"]) -> Float64[np.ndarray, "*S K"]:
    """The same law in N and D relative to exp(-shift): log A takes alpha times the shift of log N."""
    moved = theta_K.copy()
    moved[..., 0] += theta_K[..., 1] * shift[0]
    moved[..., 2] += theta_K[..., 3] * shift[1]
    return moved


def objective(
    theta_K: Float64[np.ndarray, " K"],
    log_n_P: Float64[np.ndarray, " P"],
    log_d_P: Float64[np.ndarray, " P"],
    log_loss_P: Float64[np.ndarray, " P"],
) -> tuple[float, Float64[np.ndarray, " K"]]:
    """The sum of Huber losses of log L's error in units of DELTA, and its gradient."""
    a, alpha, b, beta, e = theta_K
    terms_3P = np.stack([a - alpha * log_n_P, b - beta * log_d_P, np.full_like(log_n_P, e)])
    log_fit_P = np.logaddexp.reduce(terms_3P)
    error_P = (log_fit_P - log_loss_P) / DELTA
    size_P = np.abs(error_P)
    value = np.where(size_P <= 1, error_P**2 / 2, size_P - 0.5).sum()
    slope_3P = np.exp(terms_3P - log_fit_P) * np.clip(error_P, -1, 1) / DELTA
    by_n, by_d, by_e = slope_3P
    gradient_K = np.array([by_n.sum(), -(by_n * log_n_P).sum(), by_d.sum(), -(by_d * log_d_P).sum(), by_e.sum()])
    return float(value), gradient_K


def estimate(value: float, values_R: Float64[np.ndarray, " R"]) -> Estimate:
    low, high = np.quantile(values_R, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, float(low), float(high))
