"""One run's bound of epsilon: the paper's tail, another library's bounds, and mechanisms whose epsilon is known."""

import json
import math
import pathlib

import numpy as np
import pytest

from gptjax.config import BadInput
from gptjax.privacy import one_run

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden/one_run.json").read_text())


def binomial_tail(n, q, least):
    return sum(math.comb(n, k) * q**k * (1 - q) ** (n - k) for k in range(max(0, least), n + 1))


@pytest.mark.parametrize("n_coins, n_guesses, n_right", [(40, 40, 33), (100, 20, 19), (60, 30, 30), (10, 10, 4)])
@pytest.mark.parametrize("epsilon, delta", [(0.0, 0.0), (1.5, 0.0), (1.0, 1e-4), (0.5, 1e-2)])
def test_the_tail_is_the_papers(n_coins, n_guesses, n_right, epsilon, delta):
    q = math.exp(epsilon) / (1 + math.exp(epsilon))
    f = lambda v: binomial_tail(n_guesses, q, v)
    slope = max((f(n_right - i) - f(n_right)) / i for i in range(1, n_coins + 1))
    slow = min(1.0, f(n_right) + 2 * n_coins * delta * slope)
    assert one_run.probability(n_coins, n_guesses, n_right, epsilon, delta) == pytest.approx(slow, rel=1e-9)


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: "-".join(map(str, row.values())))
def test_bounds_are_those_of_jax_privacy(row):
    wanted = row.pop("epsilon")
    assert one_run.refuted(**row) == pytest.approx(wanted, abs=1e-5)


def responses(epsilon, n, rng, included_N):
    """Randomised response: each coin told truly with probability e^epsilon / (1 + e^epsilon), in levels of trust."""
    truly_N = rng.random(n) < 1 / (1 + math.exp(-epsilon))
    return np.where(included_N == truly_N, 1.0, -1.0) * (1 + rng.random(n))


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0])
def test_the_bound_exceeds_a_known_epsilon_at_most_as_often_as_it_may(epsilon):
    rng, n, above, bounds = np.random.default_rng(1), 200, 0, []
    for _ in range(300):
        included_N = rng.random(n) < 0.5
        found = one_run.lower_bound(responses(epsilon, n, rng, included_N), included_N, 0.0)
        above += found.epsilon > epsilon
        bounds.append(found.epsilon)
    assert above <= 24  # of 300 at 95 %: more is a chance of 1 in 100
    if epsilon:
        assert np.median(bounds) > 0.25 * epsilon  # and it says something


def test_a_mechanism_that_fails_with_delta_is_allowed_to():
    """With probability delta a coin is told outright: (0, delta)-private, and what that gives away refutes nothing."""
    rng, n, delta, above = np.random.default_rng(2), 200, 0.01, 0
    for _ in range(200):
        included_N = rng.random(n) < 0.5
        told_N = rng.random(n) < delta
        scores_N = np.where(told_N, np.where(included_N, 9.0, -9.0), rng.normal(size=n))
        above += one_run.lower_bound(scores_N, included_N, delta).epsilon > 0
    assert above <= 18  # of 200 at 95 %: more is a chance of 1 in 100


def test_coins_that_are_given_away_are_the_most_that_can_be_shown():
    included_N = np.arange(200) % 2 == 0
    found = one_run.lower_bound(np.where(included_N, 1.0, 0.0), included_N, 1e-5)
    assert (found.n_guesses, found.n_right) == (200, 200) and found.epsilon == one_run.most(200, 1e-5) > 3
    assert one_run.lower_bound(np.where(included_N, 0.0, 1.0), included_N, 1e-5).epsilon == 0


def test_a_delta_that_is_no_probability_is_refused():
    with pytest.raises(BadInput, match="--delta=1"):
        one_run.lower_bound(np.zeros(4), np.zeros(4, np.bool_), 1.0)
