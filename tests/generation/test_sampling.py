"""Which tokens may be chosen, and how often, against NumPy that sorts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.config import BadInput
from gptjax.generation import sampling
from gptjax.generation.sampling import Sampling

NOTHING = jnp.zeros(4, jnp.bool_), jnp.zeros(4, jnp.int32)
LOGITS_V = jnp.log(jnp.array([0.5, 0.3, 0.15, 0.05]))


def softmax(x_V):
    weights_V = np.exp(x_V - x_V.max())
    return weights_V / weights_V.sum()


def left_by_sorting(logits_V, options):
    """The tempered logits of the tokens that remain, by the definitions."""
    x_V = np.asarray(logits_V, np.float64) / options.temperature
    if options.top_k:
        x_V[np.argsort(-x_V)[options.top_k :]] = -np.inf
    if options.top_p < 1:
        order = np.argsort(-x_V)
        before = np.cumsum(softmax(x_V)[order]) - softmax(x_V)[order]
        x_V[order[before >= options.top_p]] = -np.inf
    if options.min_p:
        x_V[softmax(x_V) < options.min_p * softmax(x_V).max()] = -np.inf
    return x_V


@functools.partial(jax.jit, static_argnames="n")
def draws(key, logits_V, options, prompt_V, counts_V, n):
    keys = jax.random.split(key, n)
    return jax.vmap(lambda key: sampling.choose(key, logits_V, options, prompt_V, counts_V))(keys)


left = jax.jit(sampling.left)


@pytest.mark.parametrize(
    "options",
    [
        Sampling(),
        Sampling(temperature=0.3),
        Sampling(top_k=1),
        Sampling(top_k=7),
        Sampling(top_k=999),
        Sampling(top_p=0.1),
        Sampling(top_p=0.9),
        Sampling(min_p=0.2),
        Sampling(min_p=1.0),
        Sampling(temperature=2.0, top_k=20, top_p=0.7, min_p=0.1),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_what_is_left_is_what_sorting_leaves(options, seed):
    logits_V = 3 * np.random.default_rng(seed).standard_normal(101).astype(np.float32)
    found, expected = left(logits_V, sampling.asked(options)), left_by_sorting(logits_V, options)
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        Sampling(temperature=0.5),
        Sampling(temperature=2.0),
        Sampling(top_k=2),
        Sampling(top_p=0.7),
        Sampling(min_p=0.2),
    ],
)
def test_samples_follow_the_distribution_that_is_left(options):
    n, expected = 20_000, softmax(left_by_sorting(LOGITS_V, options))
    found = np.bincount(draws(jax.random.key(1), LOGITS_V, sampling.asked(options), *NOTHING, n), minlength=4) / n
    np.testing.assert_allclose(found, expected, atol=4 * 0.5 / n**0.5)
    assert np.all((found > 0) == (expected > 0))


def test_temperature_zero_takes_the_first_of_the_likeliest():
    options = sampling.asked(Sampling(temperature=0.0))
    assert int(sampling.choose(jax.random.key(0), jnp.array([1.0, 3.0, 3.0, 2.0]), options, *NOTHING)) == 1


def test_padding_is_never_drawn():
    logits_V = jnp.where(jnp.arange(4) < 3, jnp.array([0.0, 1.0, 2.0, 3.0]), -jnp.inf)
    options = sampling.asked(Sampling(temperature=3.0, top_p=0.999))
    assert set(np.unique(draws(jax.random.key(2), logits_V, options, *NOTHING, 5000))) == {0, 1, 2}


def test_penalties_are_those_of_the_papers():
    logits_V = jnp.array([2.0, -2.0, 2.0, 2.0])
    prompt_V, counts_V = jnp.array([False, True, False, False]), jnp.array([0, 0, 3, 1])
    options = sampling.asked(Sampling(repetition_penalty=2.0, frequency_penalty=0.25))
    found = sampling.penalised(logits_V, options, prompt_V, counts_V)
    np.testing.assert_allclose(found, [2.0, -4.0, 1.0 - 0.75, 1.0 - 0.25])


def test_a_penalised_token_gives_way():
    """Greedy choice, whose likeliest token was chosen before: with both penalties another wins, with none it stays."""
    counts_V = jnp.array([1, 0, 0, 0])
    for options, expected in [
        (Sampling(), 0),
        (Sampling(repetition_penalty=1.5), 1),
        (Sampling(frequency_penalty=0.9), 1),
    ]:
        asked = sampling.asked(options._replace(temperature=0.0))
        chosen = sampling.choose(jax.random.key(0), LOGITS_V + 3, asked, NOTHING[0], counts_V)
        assert int(chosen) == expected, options


def test_a_log_probability_is_the_models_own():
    found = [sampling.log_probability(LOGITS_V + 7, jnp.int32(token)) for token in range(4)]
    np.testing.assert_allclose(found, LOGITS_V, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Sampling(temperature=-1.0), "--temperature=-1.0: must be at least 0"),
        (Sampling(temperature=float("nan")), "--temperature=nan: must be at least 0"),
        (Sampling(top_k=-1), "--top_k=-1: must be at least 0"),
        (Sampling(top_p=0.0), "--top_p=0.0: must be above 0 and at most 1"),
        (Sampling(top_p=1.1), "--top_p=1.1: must be above 0 and at most 1"),
        (Sampling(min_p=2.0), "--min_p=2.0: must be at least 0 and at most 1"),
        (Sampling(repetition_penalty=0.0), "--repetition_penalty=0.0: must be above 0"),
        (Sampling(frequency_penalty=float("inf")), "--frequency_penalty=inf: must be at least -100"),
    ],
)
def test_what_an_option_cannot_be_is_refused_by_its_flag(options, message):
    with pytest.raises(BadInput, match=message):
        sampling.check(options)
