"""A law is found again from runs that were made by one; intervals hold what was planted as often as they say."""

import math

import numpy as np
import pytest
from scipy import optimize, special

from gptjax.analysis import isoflop, ladder, scaling
from gptjax.analysis.ladder import Rung
from gptjax.analysis.scaling import Points

# Besiroglu et al. 2024, equation 4: the coefficients that the points of Hoffmann et al. 2022 have
PUBLISHED = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
THETA_K = np.array([np.log(482.01), 0.3478, np.log(2085.43), 0.3658, np.log(1.8172)])
# A law of small models on bytes, whose ladder of five sizes and three budgets is the one of experiments/ladder
SMALL_K = np.array([np.log(80.0), 0.45, np.log(300.0), 0.40, np.log(1.2)])
NOISE = 0.005  # of log loss


def measured(theta_K, n_params_P, tokens_P, noise, seed) -> Points:
    """Losses of a law with normal noise on their logarithm."""
    rng = np.random.default_rng(seed)
    loss_P = scaling.loss(theta_K, n_params_P, tokens_P)
    return Points(n_params_P, tokens_P, loss_P * np.exp(noise * rng.standard_normal(len(loss_P))))


def chinchilla(noise: float, seed: int) -> Points:
    """240 runs as spread as those of Hoffmann et al. 2022: 44 M to 16 B parameters, 6e18 to 3e21 FLOPs."""
    rng = np.random.default_rng(seed)
    n_params_P = np.exp(rng.uniform(np.log(44e6), np.log(16e9), 240))
    flops_P = np.exp(rng.uniform(np.log(6e18), np.log(3e21), 240))
    return measured(THETA_K, n_params_P, flops_P / (6 * n_params_P), noise, seed)


def rungs(noise: float, seed: int, theta_K=SMALL_K, sizes=5, budgets=3) -> list[Rung]:
    n_params_P = np.repeat(np.geomspace(4e4, 1e6, sizes), budgets)
    flops_P = np.tile(np.geomspace(2e11, 1.8e12, budgets), sizes)
    made = measured(theta_K, n_params_P, flops_P / (6 * n_params_P), noise, seed)
    return [Rung(f"{n:.3g}", n, d, c, loss) for n, d, c, loss in zip(*made[:2], flops_P, made.loss_P, strict=True)]


def by_lbfgs(points: Points, starts_SK) -> tuple[np.ndarray, float]:
    """The fit by another minimiser, over plain N and D, with its own objective; and what that comes to."""
    log_n_P, log_d_P, log_loss_P = (np.log(values_P) for values_P in points)

    def objective(theta_K) -> tuple[float, np.ndarray]:
        a, alpha, b, beta, e = theta_K
        terms_3P = np.stack([a - alpha * log_n_P, b - beta * log_d_P, np.full_like(log_n_P, e)])
        log_fit_P = special.logsumexp(terms_3P, axis=0)
        error_P = log_fit_P - log_loss_P
        n, d, one = np.exp(terms_3P - log_fit_P) * np.clip(error_P / 1e-3, -1, 1) / 1e-3
        slope_K = np.array([n.sum(), -(n * log_n_P).sum(), d.sum(), -(d * log_d_P).sum(), one.sum()])
        return float(special.huber(1e-3, error_P).sum() / 1e-6), slope_K

    options = {"maxiter": 5000, "maxfun": 5000, "maxcor": 20, "ftol": 1e-14, "gtol": 1e-8}
    ends = [
        optimize.minimize(objective, start_K, method="L-BFGS-B", jac=True, options=options) for start_K in starts_SK
    ]
    best = min(ends, key=lambda end: end.fun)
    return best.x, float(best.fun)


def ours(points: Points) -> tuple[np.ndarray, float]:
    theta_K = scaling.best(points)
    n, d, loss = (np.log(values_P) for values_P in points)
    return theta_K, float(scaling.huber(scaling.errors(theta_K[None], n, d, loss[None])[1], np.ones((1, len(n))))[0])


def test_the_minimum_is_that_of_lbfgs_from_the_truth_and_around():
    points = ladder.points(rungs(NOISE, 0))
    around_SK = SMALL_K * np.random.default_rng(0).uniform(0.9, 1.1, (2, 5))
    (theirs_K, most), (ours_K, value) = by_lbfgs(points, [SMALL_K, *around_SK]), ours(points)
    assert value <= most * (1 + 1e-6)
    fitted = [scaling.loss(theta_K, *points[:2]) for theta_K in (ours_K, theirs_K)]
    np.testing.assert_allclose(*fitted, rtol=1e-3)


def test_the_published_coefficients_come_back_from_exact_points():
    found = scaling.fit(chinchilla(0.0, 0), resamples=2)
    for name, value in PUBLISHED.items():
        assert found.law[name].value == pytest.approx(value, rel=1e-3)


def test_the_published_coefficients_are_inside_the_intervals_of_noisy_points():
    found = scaling.fit(chinchilla(0.01, 2), resamples=60)
    for name, value in PUBLISHED.items():
        one = found.law[name]
        assert one.low < value < one.high
        assert one.high - one.low < 3 * value  # and they say something


def test_the_optimum_is_where_no_other_size_of_the_budget_is_better():
    found = scaling.fit(chinchilla(0.01, 3), resamples=20)
    best = scaling.optimum(found, 1e21, 6.0)
    n_params_Q = np.geomspace(1e8, 1e11, 20_001)
    loss_Q = scaling.loss(found.theta_K, n_params_Q, 1e21 / (6 * n_params_Q))
    assert best.n_params.value == pytest.approx(n_params_Q[loss_Q.argmin()], rel=1e-3)
    assert best.loss.value == pytest.approx(loss_Q.min(), rel=1e-6)
    assert best.n_params.value * best.tokens.value == pytest.approx(1e21 / 6)
    assert best.n_params.low < best.n_params.value < best.n_params.high


def test_an_e_of_nothing_has_an_interval_that_is_not_nothing():
    """From an E of all but 0 no slope leads up again, so resamples start from a larger one too."""
    found = scaling.fit(ladder.points(rungs(0.04, 1, np.array([*SMALL_K[:4], -60.0]))), resamples=40)
    assert found.law["E"].high > 0.05


def covered(n: int, resamples: int, sizes: int, budgets: int) -> tuple[dict[str, float], float, float]:
    """Of n ladders: how often each coefficient, the optimum of 10 times their compute, and a new run are inside."""
    inside, optimum, new = dict.fromkeys(PUBLISHED, 0), 0, 0
    named = zip(("A", "alpha", "B", "beta", "E"), SMALL_K.tolist(), strict=True)
    truth = {str(name): value if name in ("alpha", "beta") else math.exp(value) for name, value in named}
    best_n = float(scaling.best_size(SMALL_K, 1.8e13 / 6))
    for seed in range(n):
        found = scaling.fit(ladder.points(rungs(NOISE, seed, sizes=sizes, budgets=budgets)), resamples, seed)
        for name, one in found.law.items():
            inside[name] += one.low <= truth[name] <= one.high
        best = scaling.optimum(found, 1.8e13, 6.0)
        optimum += best.n_params.low <= best_n <= best.n_params.high
        run = measured(SMALL_K, np.array([2e6]), np.array([1.8e12 / 6e6]), NOISE, 10_000 + seed)
        told = found.predict(2e6, 1.8e12 / 6e6, seed)
        new += told.low <= run.loss_P[0] <= told.high
    return {name: hits / n for name, hits in inside.items()}, optimum / n, new / n


def test_a_run_of_twice_the_size_is_foretold():
    _, _, new = covered(6, 40, 5, 3)
    assert new >= 5 / 6  # by chance of 0.95 each: fewer once in 30, and never of these seeds


@pytest.mark.prove
@pytest.mark.parametrize(("sizes", "budgets"), [(4, 3), (5, 3)])
def test_intervals_hold_what_was_planted_as_often_as_they_say(sizes, budgets):
    inside, optimum, new = covered(200, 200, sizes, budgets)
    print(f"{sizes} x {budgets}: {inside}, optimum {optimum}, new run {new}")
    for share in (*inside.values(), optimum, new):
        assert share >= 0.90  # 0.95 less three standard deviations of 200 draws


@pytest.mark.prove
def test_no_start_of_the_grid_ends_lower_by_lbfgs():
    for seed, made in enumerate([chinchilla(0.02, 1), ladder.points(rungs(NOISE, 2))]):
        _, value = ours(made)
        starts_SK = np.stack([axis.ravel() for axis in np.meshgrid(*scaling.STARTS, indexing="ij")], axis=-1)
        chosen = np.random.default_rng(seed).choice(starts_SK, 300, replace=False)
        assert value <= by_lbfgs(made, chosen)[1] * (1 + 1e-6)


def test_parabolas_find_the_size_that_a_parabola_has():
    """Losses that are a parabola in log N around a size that grows as the square root of the compute."""
    made = []
    for flops in (1e15, 1e16, 1e17):
        best = 1e6 * (flops / 1e15) ** 0.5
        for n_params in best * np.array([0.2, 0.5, 0.9, 2.0, 4.0]):
            loss = 3.0 + 0.1 * np.log(n_params / best) ** 2
            made.append(Rung("", float(n_params), flops / (6 * n_params), flops * 1.01, loss))
    found, growth = isoflop.parabolas(made)
    assert [one.n_params.value for one in found if one.n_params] == pytest.approx([1e6, 10**6.5, 1e7])
    assert [one.loss.value for one in found if one.loss] == pytest.approx([3.0] * 3)
    assert growth is not None and growth.exponent.value == pytest.approx(0.5) and growth.n_budgets == 3


def test_parabolas_of_a_law_hold_its_exponent():
    wide = [
        one._replace(n_params=n, tokens=one.flops / (6 * n), loss=float(scaling.loss(SMALL_K, *at(n, one.flops))[0]))
        for one in rungs(0.0, 0)
        for n in [one.n_params * 0.3 * (one.flops / 2e11) ** 0.5]
    ]
    _, growth = isoflop.parabolas(wide)
    assert growth is not None and growth.exponent.value == pytest.approx(0.40 / 0.85, abs=0.02)


def at(n_params: float, flops: float) -> tuple[np.ndarray, np.ndarray]:
    return np.array([n_params]), np.array([flops / (6 * n_params)])


def test_a_budget_whose_best_size_lies_outside_has_none():
    made = [Rung("", n, 1e9 / n, 6e9, 5.0 - 0.1 * np.log(n)) for n in (1e3, 2e3, 4e3, 8e3)]
    ((one,), growth) = isoflop.parabolas([rung._replace(loss=rung.loss + 1e-3 * k) for k, rung in enumerate(made)])
    assert one.n_params is None and "no lowest point" in one.why and growth is None
