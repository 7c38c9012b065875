"""The area and the start of a ROC curve are those that a slow count gives."""

import numpy as np
import pytest

from gptjax.config import BadInput
from gptjax.privacy import roc


def slow_auc(members, others):
    return np.mean([(one > other) + (one == other) / 2 for one in members for other in others])


def slow_tpr(members, others, rate):
    thresholds = [*members, *others, np.inf]
    allowed = [at for at in thresholds if np.mean([other >= at for other in others]) <= rate]
    return max(np.mean([one >= at for one in members]) for at in allowed)


@pytest.mark.parametrize("step", [0.0, 0.5], ids=["apart", "with ties"])
@pytest.mark.parametrize("apart", [-0.5, 0.0, 2.5])
def test_the_curve_is_that_of_a_slow_count(step, apart):
    rng = np.random.default_rng(3)
    members, others = rng.normal(apart, 1, 60), rng.normal(0, 1, 110)
    if step:
        members, others = np.round(members / step) * step, np.round(others / step) * step
    found = roc.measure(members, others, at=(0.01, 0.1))
    assert found.auc.value == pytest.approx(slow_auc(members, others))
    for rate, value in found.tpr.items():
        assert value is not None and value.value == pytest.approx(slow_tpr(members, others, rate))
        assert value.low <= value.value <= value.high
    assert found.auc.low < found.auc.value < found.auc.high


def test_a_rate_that_too_few_others_can_tell_is_not_told():
    found = roc.measure(np.arange(50.0), np.arange(99.0))
    assert found.tpr == {0.01: None, 0.001: None}
    assert roc.measure(np.arange(50.0), np.arange(100.0)).tpr[0.01] is not None


def test_nearly_all_intervals_hold_the_area_of_the_population():
    rng, held = np.random.default_rng(5), 0
    for seed in range(30):
        found = roc.measure(rng.normal(1, 1, 60), rng.normal(0, 1, 60), seed)
        held += found.auc.low <= 0.76025 <= found.auc.high  # P[N(1, 2) > 0]
    assert held >= 25  # of 30 at 95 %: fewer is a chance of 1 in 300


def test_scores_that_are_no_numbers_and_missing_sides_are_refused():
    with pytest.raises(BadInput, match="no number"):
        roc.measure(np.array([np.nan]), np.array([1.0]))
    with pytest.raises(BadInput, match="there are 0 and 1"):
        roc.measure(np.array([], np.float64), np.array([1.0]))
