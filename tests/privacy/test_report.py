"""The figures of an audit: intervals of shares, groups by how often a canary was planted, and who is told apart."""

import numpy as np
import pytest
from scipy import stats

from gptjax.privacy import canaries, report
from gptjax.privacy.extraction import Extracted
from gptjax.privacy.memorised import Measured


@pytest.mark.parametrize("right, n", [(0, 7), (3, 11), (11, 11)])
def test_a_share_has_the_interval_of_clopper_and_pearson(right, n):
    found, known = report.share(np.arange(n) < right), stats.binomtest(right, n).proportion_ci(0.95, "exact")
    assert found is not None and found["value"] == right / n and found["n"] == n
    assert found["interval"] == pytest.approx([known.low, known.high])


def test_a_share_of_nothing_is_not_told():
    assert report.share(np.zeros(0, np.bool_)) is None and report.mean(np.full(3, np.nan), 0) is None


def test_every_figure_is_of_its_own_canaries():
    """Codes whose exposure is their number, of which the even planted ones are extracted."""
    found = canaries.make(60, corpus="", repeats=(1, 2, 8), seed="s")
    planted_N = np.array([canary.planted for canary in found.canaries])
    repeats_N = np.array([canary.repeats for canary in found.canaries])
    numbers_N = np.arange(60, dtype=np.float64)
    measured = Measured([np.zeros(7, np.float32)] * 60, numbers_N, 2 * numbers_N, np.where(planted_N, 1.0, 0.0))
    even_N = numbers_N[planted_N] % 2 == 0
    extracted = Extracted(even_N, ~even_N, even_N.astype(np.float64))
    made = report.of_canaries(found, measured, extracted, report.Asked(255, 1, 1e-5, 0))
    assert [group["repeats"] for group in made["groups"]] == [1, 2, 8]
    for group in made["groups"]:
        here_N = planted_N & (repeats_N == group["repeats"])
        assert group["planted"] == here_N.sum() and group["left_out"] == 20 - here_N.sum()
        assert group["exposure"]["value"] == pytest.approx(numbers_N[here_N].mean())
        assert group["fitted"]["value"] == pytest.approx(2 * numbers_N[here_N].mean())
        assert group["extracted"]["value"] == pytest.approx(np.mean(numbers_N[here_N] % 2 == 0))
        assert group["sampled"]["value"] == pytest.approx(np.mean(numbers_N[here_N] % 2 == 1))
        assert group["epsilon"]["n_coins"] == 20 and group["epsilon"]["epsilon"] > 0
    assert made["left_out"]["exposure"]["value"] == pytest.approx(numbers_N[~planted_N].mean())


def test_members_are_told_from_others_only_where_there_are_both():
    scores_of = {"loss": np.arange(4.0)}
    assert list(report.of_attacks("texts", scores_of, np.ones(4, np.bool_), 0)) == []
    (found,) = report.of_attacks("texts", scores_of, np.array([False, True, False, True]), 0)
    assert (found["members"], found["others"], found["auc"]["value"]) == (2, 2, 0.75)
