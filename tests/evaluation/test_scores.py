import dataclasses
import json

import numpy as np
import pytest

from gptjax.config import BadInput
from gptjax.evaluation import accuracy, perplexity, scores

RIGHT = np.array([1.0] * 30 + [0.0] * 70)


def test_a_score_says_how_it_came_about():
    found = scores.score(scores.mean("exact", RIGHT, "how"), "gptjax evaluate", seed=3, resamples=200)
    assert (found.value, found.n, found.confidence, found.resamples, found.seed) == (0.3, 100, 0.95, 200, 3)
    assert (found.command, found.signature) == ("gptjax evaluate", "how")
    assert json.loads(json.dumps(dataclasses.asdict(found)))["low"] == found.low < 0.3 < found.high


def test_the_interval_of_a_share_is_the_binomial_one():
    """1.96 sqrt(p (1 - p) / n) = 0.0898 on either side."""
    found = scores.score(scores.mean("exact", RIGHT, ""), "", resamples=20_000)
    assert found.high - 0.3 == pytest.approx(0.0898, abs=0.012) == 0.3 - found.low


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(400):
        found = scores.score(scores.mean("", rng.normal(2, 1, 200), ""), "", seed=seed, resamples=400)
        held += found.low <= 2 <= found.high
    assert held / 400 == pytest.approx(0.95, abs=0.03)


def test_a_seed_gives_the_same_bits_again_and_another_seed_does_not():
    one, again, other = (scores.score(scores.mean("", np.sqrt(np.arange(50)), ""), "", seed=seed) for seed in (0, 0, 1))
    assert one == again and (one.low, one.high) != (other.low, other.high)


def test_a_paired_difference_sees_what_two_intervals_do_not():
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 10, 200)
    one, other = (scores.mean(name, hard + gain, "") for name, gain in (("tuned", 0.5), ("base", 0.0)))
    found = scores.difference(one, other, "")
    assert found.minus == "base" and found.value == pytest.approx(0.5)
    assert found.low == pytest.approx(0.5) == found.high
    assert scores.score(one, "").low < scores.score(other, "").high


@pytest.mark.parametrize(
    "other,says",
    [
        (scores.mean("b", np.ones(3), "x"), "4 examples against 3"),
        (scores.mean("b", np.ones(4), "y"), "only one signature"),
    ],
)
def test_what_cannot_be_paired_is_refused(other, says):
    with pytest.raises(BadInput, match=says):
        scores.difference(scores.mean("a", np.ones(4), "x"), other, "")


def test_no_examples_have_no_score():
    with pytest.raises(BadInput, match="exact: no examples"):
        scores.score(scores.mean("exact", np.zeros(0), ""), "")


def test_blocks_of_draws_change_nothing(monkeypatch):
    before = scores.score(scores.mean("", RIGHT, ""), "")
    monkeypatch.setattr(scores, "BLOCK", 700)
    assert scores.score(scores.mean("", RIGHT, ""), "") == before


def value(measure):
    return scores.whole(measure)


def test_loss_perplexity_and_bits_per_byte_of_hand_computed_sums():
    nats, n_tokens, n_bytes = np.array([np.log(2) * 3, np.log(8)]), np.array([3.0, 1.0]), np.array([2.0, 4.0])
    assert value(perplexity.loss(nats, n_tokens)) == pytest.approx(6 * np.log(2) / 4)
    assert value(perplexity.perplexity(nats, n_tokens)) == pytest.approx(2**1.5)
    assert value(perplexity.bits_per_byte(nats, n_bytes)) == pytest.approx(1.0)


def test_tokens_count_by_their_weight_and_sequences_as_a_whole():
    hits = np.array([[True, False, True], [False, True, True]])
    weights = np.array([[1, 1, 0], [0, 1, 1]], np.float32)
    assert value(accuracy.token_accuracy(hits, weights)) == 3 / 4
    assert value(accuracy.sequence_accuracy(hits, weights)) == 1 / 2


def test_an_exact_match_is_of_any_reference_but_for_blanks_and_unicode_forms():
    texts = ["yes\n", "e\u0301t\u00e9", "Yes", "no "]
    references = [["yes"], ["\u00e9t\u00e9"], ["yes"], ["yes", "no"]]
    assert value(accuracy.exact_match(texts, references)) == 3 / 4


@pytest.mark.parametrize("references,says", [([["a"]], "2 texts, but 1"), ([["a"], []], "example 1 has no reference")])
def test_texts_without_references_are_refused(references, says):
    with pytest.raises(BadInput, match=says):
        accuracy.exact_match(["a", "b"], references)
