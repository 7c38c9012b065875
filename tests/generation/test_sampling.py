import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.generation import sampling

LOGITS_BV = jnp.log(jnp.array([[0.5, 0.3, 0.15, 0.05], [0.05, 0.15, 0.3, 0.5]]))


def kept(logits_BV):
    return [list(np.flatnonzero(np.isfinite(row))) for row in np.asarray(logits_BV)]


@pytest.mark.parametrize(
    ("k", "expected"), [(1, [[0], [3]]), (3, [[0, 1, 2], [1, 2, 3]]), (0, [[0, 1, 2, 3]] * 2), (9, [[0, 1, 2, 3]] * 2)]
)
def test_top_k_keeps_the_k_likeliest(k, expected):
    assert kept(sampling.top(LOGITS_BV, k)) == expected


@pytest.mark.parametrize(
    ("p", "expected"),
    [(0.4, [[0], [3]]), (0.6, [[0, 1], [2, 3]]), (0.9, [[0, 1, 2], [1, 2, 3]]), (1.0, [[0, 1, 2, 3]] * 2)],
)
def test_the_nucleus_is_the_smallest_set_that_reaches_p(p, expected):
    assert kept(sampling.nucleus(LOGITS_BV, p)) == expected


def test_temperature_zero_takes_the_likeliest():
    assert sampling.pick(jax.random.key(0), LOGITS_BV, 0.0, 0, 1.0).tolist() == [0, 3]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_follow_the_tempered_distribution(temperature):
    n = 20_000
    draws = sampling.pick(jax.random.key(1), jnp.broadcast_to(LOGITS_BV[0], (n, 4)), temperature, 0, 1.0)
    found = np.bincount(draws, minlength=4) / n
    np.testing.assert_allclose(found, jax.nn.softmax(LOGITS_BV[0] / temperature), atol=4 * 0.5 / n**0.5)


def test_padding_is_never_drawn():
    logits_BV = jnp.where(jnp.arange(4) < 3, LOGITS_BV, -jnp.inf)
    draws = sampling.pick(jax.random.key(2), jnp.broadcast_to(logits_BV[1], (5000, 4)), 3.0, 0, 1.0)
    assert set(np.unique(draws)) == {0, 1, 2}
