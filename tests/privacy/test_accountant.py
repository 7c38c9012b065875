"""Epsilons, held against dp-accounting's own accountant, against Opacus's, and against each other."""

import math
import sys

import dp_accounting
import pytest
from dp_accounting import pld

from gptjax.config import BadInput
from gptjax.privacy import accountant
from gptjax.privacy.accountant import Accountant, Mechanism

STEP = Mechanism(noise_multiplier=1.5, n_examples=10_000, mean=100, most=200)
DELTA = 1e-5
SETTINGS = [
    (1.5, 100, 300),
    (0.8, 20, 1000),
    (1.0, 30, 20_000),
    (3.0, 1000, 100),
]  # noise, examples a step of 10,000, steps


@pytest.mark.parametrize(("noise", "mean", "n_steps"), SETTINGS[:3])
def test_epsilon_is_that_of_dp_accounting(noise, mean, n_steps):
    theirs = pld.PLDAccountant()
    one = dp_accounting.PoissonSampledDpEvent(mean / 10_000, dp_accounting.GaussianDpEvent(noise))
    theirs.compose(dp_accounting.SelfComposedDpEvent(one, n_steps))
    step, exact = Mechanism(noise, 10_000, mean, 10_000), theirs.get_epsilon(DELTA)
    assert accountant.epsilon(step, n_steps, DELTA, 1e-4) == pytest.approx(exact, rel=1e-6)
    assert exact <= accountant.epsilon(step, n_steps, DELTA) < exact * (1 + accountant.PRECISION)


@pytest.mark.prove
@pytest.mark.parametrize(("noise", "mean", "n_steps"), SETTINGS)
def test_epsilon_is_that_of_opacus_within_a_hundredth(noise, mean, n_steps):
    opacus = pytest.importorskip("opacus.accountants")
    theirs = opacus.PRVAccountant()
    theirs.history = [(noise, mean / 10_000, n_steps)]
    ours = accountant.epsilon(Mechanism(noise, 10_000, mean, 10_000), n_steps, DELTA)
    # Theirs is the upper end of an interval so wide, 0.01 if not told otherwise.
    assert ours == pytest.approx(theirs.get_epsilon(DELTA, eps_error=2e-3), rel=0.01)


def test_fewer_rows_than_may_come_cost_more():
    wide, tight = (accountant.epsilon(STEP._replace(most=most), 100, DELTA, 1e-3) for most in (200, 100))
    unbounded = accountant.epsilon(STEP._replace(most=10_000), 100, DELTA, 1e-3)
    assert wide == pytest.approx(unbounded, rel=1e-6)
    assert tight > 1.05 * wide
    assert STEP._replace(most=100).overflow == pytest.approx(0.5, abs=0.05) and STEP.overflow < 1e-15


def test_the_noise_that_is_found_is_just_enough():
    noise = accountant.noise_for(4.0, STEP, 20, DELTA)
    spent = accountant.epsilon(STEP._replace(noise_multiplier=noise), 20, DELTA)
    assert 0.98 * 4 < spent <= 4
    with pytest.raises(BadInput, match="privacy.epsilon=1.0: no noise is enough"):
        accountant.noise_for(1.0, STEP, 1, 1e-30)


def test_the_epsilon_of_a_line_is_never_less_and_hardly_more():
    counted = Accountant(STEP, DELTA, n_steps=333, every=50)
    assert counted.at_most(0) == 0
    for n in (1, 50, 123, 250, 333):
        exact, told = counted.exactly(n), counted.at_most(n)
        assert exact <= told <= 1.03 * exact, n
    assert counted.at_most(333) == counted.exactly(333)
    counted.close()


def test_no_noise_is_no_privacy():
    assert accountant.epsilon(STEP._replace(noise_multiplier=0.0), 1, DELTA) == math.inf


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dp_accounting.pld", None)
    accountant.losses.cache_clear()
    with pytest.raises(BadInput, match=r"pip install 'gptjax\[privacy\]'"):
        accountant.epsilon(STEP, 1, DELTA)
