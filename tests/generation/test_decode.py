import functools

import jax
import numpy as np
import pytest

from gptjax.config import BadInput
from gptjax.generation import decode
from gptjax.model import gpt
from tests.tiny import make_config

MODERN = ("model.position=rope", "model.norm=rms", "model.mlp=swiglu", "model.n_kv_heads=2", "model.tied=false")


@functools.cache
def model(*overrides):
    cfg = make_config(*overrides).model
    params = jax.jit(functools.partial(gpt.init, cfg=cfg))(jax.random.key(0))
    noise = lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(leaf.size), leaf.shape)  # sharper choices
    return cfg, jax.tree.map(noise, params)


forward = jax.jit(gpt.forward, static_argnames="cfg")


@pytest.mark.parametrize("overrides", [(), MODERN])
@pytest.mark.parametrize("length", [1, 3, 8])
def test_greedy_is_the_argmax_of_the_whole_text_each_time(overrides, length):
    cfg, params = model(*overrides)
    prompt = np.arange(length) * 7 % 64
    made = decode.generate(params, prompt, cfg, n_tokens=6, temperature=0.0)[0]
    text = list(prompt)
    for token in made:
        padded = np.zeros((1, 16), np.int32)
        padded[0, : len(text)] = text
        assert int(np.argmax(forward(params, padded, cfg).logits_BTV[0, len(text) - 1])) == token
        text.append(token)


def test_text_longer_than_the_context_goes_on_from_its_second_half():
    cfg, params = model()
    prompt = np.arange(5)
    made = decode.generate(params, prompt, cfg, n_tokens=30, temperature=0.0)[0]
    assert made.shape == (30,)
    again = decode.generate(params, np.concatenate([prompt, made[:11]]), cfg, n_tokens=8, temperature=0.0)[0]
    np.testing.assert_array_equal(again, made[11:19])


def test_a_prompt_longer_than_the_context_is_read_from_its_end():
    cfg, params = model()
    prompt = np.arange(40) % 64
    long, short = (decode.generate(params, p, cfg, n_tokens=4, temperature=0.0) for p in (prompt, prompt[-8:]))
    np.testing.assert_array_equal(long, short)


def test_a_seed_gives_the_same_text_and_another_seed_another():
    cfg, params = model()
    one, same, other = (decode.generate(params, np.arange(3), cfg, n_tokens=9, seed=seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_samples_of_one_prompt_differ():
    cfg, params = model()
    made = decode.generate(params, np.arange(3), cfg, n_tokens=9, n_samples=2)
    assert made.shape == (2, 9) and not np.array_equal(made[0], made[1])


def test_an_empty_prompt_is_refused():
    cfg, params = model()
    with pytest.raises(BadInput, match="--prompt: is empty"):
        decode.generate(params, np.array([], np.int32), cfg, n_tokens=1)
