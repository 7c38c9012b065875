"""Beam search beside every text that there is, and beside a search that recomputes whole texts."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.config import BadInput
from gptjax.generation import beam, decode
from gptjax.model import gpt
from tests.tiny import make_config

V, END, PROMPT = 5, 3, [1, 0, 4]
forward = jax.jit(gpt.forward, static_argnames="cfg")


@functools.cache
def model():
    cfg = make_config(f"model.vocab_size={V}", "model.pad_vocab_to=1").model
    params = jax.jit(functools.partial(gpt.init, cfg=cfg))(jax.random.key(0))
    noise = lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(leaf.size), leaf.shape)
    return cfg, jax.tree.map(noise, params)


@functools.cache
def writer():
    cfg, params = model()
    return decode.writer(params, cfg)


@functools.cache
def nats_after(text):
    """Log-probabilities of the next token."""
    cfg, params = model()
    padded_1T = jnp.zeros((1, 16), jnp.int32).at[0, : len(text)].set(jnp.array(text))
    return np.asarray(jax.nn.log_softmax(forward(params, padded_1T, cfg).logits_BTV[0, len(text) - 1]), np.float64)


def total(tokens) -> float:
    return sum(float(nats_after((*PROMPT, *tokens[:n]))[token]) for n, token in enumerate(tokens))


def all_texts(n_tokens):
    """Every text of n tokens, and every shorter one that ends."""
    for n in range(1, n_tokens + 1):
        for body in itertools.product([token for token in range(V) if token != END], repeat=n - 1):
            yield from ((*body, token) for token in range(V) if token == END or n == n_tokens)


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
def test_a_beam_as_wide_as_all_beginnings_finds_the_best_of_all_texts(length_penalty):
    scores = {text: total(text) / len(text) ** length_penalty for text in all_texts(3)}
    best = sorted(scores, key=lambda text: -scores[text])[:16]
    found = beam.search(writer(), PROMPT, n_tokens=3, width=16, length_penalty=length_penalty, end=END)
    assert [text.tokens for text in found] == best
    np.testing.assert_allclose([text.score for text in found], [scores[text] for text in best], atol=1e-5)
    np.testing.assert_allclose([sum(text.nats) for text in found], [total(text) for text in best], atol=1e-5)


def searched(n_tokens, width, length_penalty):
    """The same search with no cache and no early end."""
    under_way: list[tuple[int, ...]] = [()]
    ended: list[tuple[int, ...]] = []
    for n in range(1, n_tokens + 1):
        grown = [(*text, token) for text in under_way for token in range(V)]
        grown = sorted(grown, key=lambda text: -total(text))[: 2 * width]
        ended += [text for text in grown if text[-1] == END or n == n_tokens]
        under_way = [text for text in grown if text[-1] != END][:width]
    return sorted(ended, key=lambda text: -total(text) / len(text) ** length_penalty)[:width]


@pytest.mark.parametrize(("width", "length_penalty"), [(1, 1.0), (2, 1.0), (3, 0.0), (3, 2.0)])
def test_a_narrow_beam_is_the_search_that_recomputes(width, length_penalty):
    found = beam.search(writer(), PROMPT, n_tokens=8, width=width, length_penalty=length_penalty, end=END)
    assert [text.tokens for text in found] == searched(8, width, length_penalty)


def test_a_beam_of_one_that_never_ends_is_the_greedy_text():
    (found,) = beam.search(writer(), PROMPT, n_tokens=9, width=1)
    options = decode.Sampling(temperature=0.0)
    (greedy,) = writer().write([decode.Prompt(PROMPT)], n_tokens=9, options=options, nats=True)
    assert list(found.tokens) == greedy.tokens.tolist()
    np.testing.assert_allclose(found.nats, greedy.nats, atol=1e-5)


def test_what_does_not_fit_the_context_is_refused():
    with pytest.raises(BadInput, match="--max_tokens=14 do not fit model.context=16; try --max_tokens=13"):
        beam.search(writer(), PROMPT, n_tokens=14, width=2)
