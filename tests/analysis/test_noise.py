"""Differences that seeds make are not called more, and planted ones are."""

import numpy as np
import pytest

from gptjax.analysis.noise import EXCEEDS, UNKNOWN, WITHIN, noise


def groups(n: int, shift: float, seed: int, common: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Losses of two configs over n seeds, whose noise has `common` as the part that a seed has in both."""
    rng = np.random.default_rng(seed)
    shared_N, one_N, other_N = rng.standard_normal((3, n)) * np.array([[common], [1.0], [1.0]]) * 0.01
    return 3.0 + shared_N + one_N, 3.0 + shift + shared_N + other_N


def test_one_seed_each_cannot_tell():
    found = noise(np.array([3.0]), np.array([2.0]), paired=True)
    assert found.verdict == UNKNOWN and "1 against 1 seeds" in found.why and found.difference == 1.0


@pytest.mark.parametrize("paired", [True, False])
def test_a_loss_that_is_not_finite_cannot_tell(paired):
    found = noise(np.array([3.0, np.nan]), np.array([2.0, 2.1]), paired=paired)
    assert found.verdict == UNKNOWN and "not finite" in found.why


@pytest.mark.parametrize(("n", "paired"), [(3, True), (8, False)])
def test_seeds_alone_are_called_a_difference_as_rarely_as_promised(n, paired):
    found = [noise(*groups(n, 0.0, seed), paired=paired) for seed in range(100)]
    called = [one.verdict for one in found]
    assert called.count(EXCEEDS) <= 11 and UNKNOWN not in called  # 5 % are 5, with a deviation of 2
    if n == 3:  # the bootstrap alone would: it excludes 0 wherever three differences have one sign, one time in four
        alone = [one.bootstrap for one in found]
        assert 14 <= sum(each is not None and not each[0] <= 0 <= each[1] for each in alone) <= 38


def test_a_planted_difference_is_found():
    assert noise(*groups(8, 0.03, 1), paired=True).verdict == EXCEEDS
    assert noise(*groups(8, 0.03, 1), paired=False).verdict == EXCEEDS


def test_pairs_see_what_groups_do_not():
    """The noise that a seed has in both configs goes out of the difference of a pair."""
    one_N, other_N = groups(8, 0.03, 3, common=20.0)
    assert noise(one_N, other_N, paired=True).verdict == EXCEEDS
    assert noise(one_N, other_N, paired=False).verdict == WITHIN


def test_the_paired_interval_is_the_one_of_evaluations(tmp_path):
    from gptjax.evaluation import scores

    one_N, other_N = groups(8, 0.02, 4)
    found = noise(one_N, other_N, paired=True, seed=3)
    theirs = scores.difference(scores.mean("a", one_N, ""), scores.mean("b", other_N, ""), "", seed=3)
    assert found.bootstrap == (theirs.low, theirs.high) and found.difference == pytest.approx(theirs.value)
