"""Exposure is log2 of all codes less log2 of the rank, exactly where every code is scored."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from gptjax.privacy import exposure


def test_among_all_codes_it_is_the_brute_force_rank():
    codes = ["".join(letters) for letters in itertools.product("abc", repeat=4)]
    nats = dict(zip(codes, np.random.default_rng(0).normal(size=len(codes)).tolist(), strict=True))
    ordered = sorted(codes, key=lambda code: -nats[code])
    for code in codes:
        others = exposure.others("abc", code, 10**6, np.random.default_rng(1))
        assert sorted(others) == sorted(set(codes) - {code})
        found = exposure.by_rank(nats[code], np.array([nats[other] for other in others]))
        assert found == pytest.approx(math.log2(len(codes)) - math.log2(1 + ordered.index(code)))


def test_others_are_drawn_without_repetition_and_without_the_code():
    others = exposure.others("0123456789", "1234567", 500, np.random.default_rng(0))
    assert len(set(others)) == 500 and "1234567" not in others
    assert {len(other) for other in others} == {7} and set("".join(others)) == set("0123456789")


def test_a_code_as_likely_as_all_others_is_not_exposed():
    assert exposure.by_rank(-1.0, np.full(31, -1.0)) == 0


@pytest.mark.parametrize("n_others", [1, 9, 255])
def test_chance_is_the_mean_over_all_ranks(n_others):
    others_N = np.arange(n_others, dtype=np.float64)
    every = [exposure.by_rank(rank - 0.5, others_N) for rank in range(n_others + 1)]
    assert exposure.chance(n_others) == pytest.approx(np.mean(every))


@pytest.mark.parametrize("shape", [-4.0, 0.0, 3.0])
def test_the_fit_finds_a_known_density_again(shape):
    known = stats.skewnorm(shape, loc=20, scale=3)
    others_N = -known.rvs(20_000, random_state=0)
    for quantile in (0.5, 0.1, 0.01, 0.001):
        nats = -float(known.ppf(quantile))
        assert exposure.by_fit(nats, others_N, 30.0) == pytest.approx(-math.log2(quantile), abs=0.35)


@pytest.mark.parametrize("nats", [-30.0, -20.0, -16.0])
def test_the_fit_is_scipys(nats):
    others_N = -stats.skewnorm(2.0, loc=20, scale=3).rvs(300, random_state=1)
    known = stats.skewnorm(*stats.skewnorm.fit(-others_N, method="MM"))
    assert exposure.by_fit(nats, others_N, 30.0) == pytest.approx(-known.logcdf(-nats) / math.log(2), abs=1e-6)


def test_the_fit_never_says_more_than_all_bits():
    others_N = np.random.default_rng(0).normal(-20, 1, size=200)
    assert exposure.by_fit(0.0, others_N, 23.25) == 23.25
    assert exposure.by_fit(-100.0, others_N, 23.25) == 0
    assert math.isnan(exposure.by_fit(0.0, np.full(9, -1.0), 23.25))
