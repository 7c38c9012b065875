"""Scores are exact on attention that is planted, and what is looked for lies where the text repeats."""

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.insight import heads
from tests.insight.asked import CLOSE, base_BT
from tests.model.small import forward

T = 12
TOKENS_1T = jnp.arange(T)[None] % 6 + 3  # six tokens, twice


def planted(offset):
    """All attention `offset` positions back; queries that have none attend to nothing."""
    return np.eye(T, k=-offset)[None, None, None]


def test_planted_heads_have_the_score_of_their_kind_alone():
    where = [heads.previous(TOKENS_1T), heads.duplicates(TOKENS_1T), heads.induced(TOKENS_1T)]
    for offset, expected in ((1, [1, 0, 0]), (6, [0, 1, 0]), (5, [0, 0, 1])):
        found = [float(heads.paid(jnp.asarray(planted(offset)), asked_BTS)[0, 0]) for asked_BTS in where]
        assert found == expected
    uniform = jnp.full((1, 1, 1, T, T), 1 / T)
    assert [round(float(heads.paid(uniform, asked_BTS)[0, 0]), 6) for asked_BTS in where] == [round(1 / T, 6)] * 3


def test_every_earlier_occurrence_counts_and_no_later_one():
    tokens_1T = jnp.array([[5, 7, 5, 5, 9]])
    assert np.argwhere(heads.duplicates(tokens_1T)[0]).tolist() == [[2, 0], [3, 0], [3, 2]]
    assert np.argwhere(heads.induced(tokens_1T)[0]).tolist() == [[2, 1], [3, 1]]  # not 3 for itself
    assert np.argwhere(heads.previous(tokens_1T)[0]).tolist() == [[1, 0], [2, 1], [3, 2], [4, 3]]


def test_scores_are_of_the_maps(cfg, params):
    tokens_BT = heads.repeated(jax.random.key(0), cfg, 4, 5)
    np.testing.assert_array_equal(tokens_BT[:, :5], tokens_BT[:, 5:])
    assert len(np.unique(np.asarray(tokens_BT))) > 10
    probs_LBNTS = np.asarray(heads.attention(params, tokens_BT, cfg))
    np.testing.assert_array_equal(
        probs_LBNTS, forward(params, tokens_BT, cfg, capture=("attn_probs",)).activations["attn_probs"]
    )
    found = heads.scores(params, tokens_BT, cfg)
    previous_LN = np.mean([probs_LBNTS[..., t, t - 1] for t in range(1, 10)], axis=(0, 2))
    np.testing.assert_allclose(found.previous_LN, previous_LN, **CLOSE)
    rows = [row for row in range(4) if len(set(np.asarray(tokens_BT)[row].tolist())) == 5]
    probs_LBNTS = probs_LBNTS[:, rows]
    found = heads.scores(params, tokens_BT[jnp.array(rows)], cfg)
    for name, offset in (("duplicate_LN", 5), ("induction_LN", 4)):
        expected_LN = np.mean([probs_LBNTS[..., t, t - offset] for t in range(5, 10)], axis=(0, 2))
        np.testing.assert_allclose(getattr(found, name), expected_LN, **CLOSE)


def test_a_score_of_nothing_is_nan(cfg, params):
    found = heads.scores(params, jnp.arange(10)[None] + 0 * base_BT[:1], cfg)
    assert np.isnan(found.induction_LN).all() and np.isfinite(found.previous_LN).all()
