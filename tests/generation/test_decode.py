import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.config import BadInput
from gptjax.generation import decode, engine, native, sampling
from gptjax.generation.sampling import Sampling
from gptjax.model import gpt
from gptjax.training import sharding
from tests.tiny import make_config, mesh_of

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


RAGGED = [decode.Prompt(list(range(5, 5 + n)), seed, n) for n, seed in [(1, 0), (9, 3), (4, 3), (15, 1), (2, 9)] * 3]
SAMPLED = Sampling(temperature=0.9, top_k=30, top_p=0.95, repetition_penalty=1.2, frequency_penalty=0.1)


@functools.cache
def writer(*overrides):
    cfg, params = model(*overrides)
    return decode.writer(params, cfg)


def without_a_cache(prompt, n_tokens, options, *overrides):
    """Tokens and log-probabilities by the whole text's logits each time; the prompt and they fit the context."""
    cfg, params = model(*overrides)
    key = jax.random.fold_in(jax.random.key(prompt.seed), prompt.sample)
    prompt_V, counts_V = np.isin(np.arange(64), prompt.tokens), np.zeros(64, np.int32)
    text, tokens, nats = list(prompt.tokens), [], []
    for number in range(n_tokens):
        padded_1T = np.zeros((1, 16), np.int32)
        padded_1T[0, : len(text)] = text
        logits_V = forward(params, padded_1T, cfg).logits_BTV[0, len(text) - 1]
        asked = sampling.asked(options)
        seen = jnp.asarray(prompt_V), jnp.asarray(counts_V)
        tokens.append(int(sampling.choose(jax.random.fold_in(key, number), logits_V, asked, *seen)))
        nats.append(float(jax.nn.log_softmax(logits_V)[tokens[-1]]))
        text.append(tokens[-1])
        counts_V[tokens[-1]] += 1
    return tokens, nats


@pytest.mark.parametrize("overrides", [(), MODERN])
def test_the_text_is_that_of_no_cache(overrides):
    prompt = decode.Prompt([3, 1, 4, 1, 5], seed=7, sample=2)
    (written,) = writer(*overrides).write([prompt], n_tokens=11, options=SAMPLED, nats=True)
    tokens, nats = without_a_cache(prompt, 11, SAMPLED, *overrides)
    assert written.tokens.tolist() == tokens and len(set(tokens)) > 5
    np.testing.assert_allclose(written.nats, nats, atol=1e-4)


@pytest.mark.parametrize("use_kernel", sorted({False, native.registered()}))
def test_a_prompt_and_a_seed_give_one_text_in_any_company(use_kernel):
    """Fifteen ragged texts in eight rows, some past their context, beside each of them alone: bit for bit."""
    ours = decode.Writer(writer().packed, writer().machine._replace(native=use_kernel))
    together = ours.write(RAGGED, n_tokens=20, options=SAMPLED, nats=True)
    for prompt, of_many in zip(RAGGED[:5], together, strict=False):
        (alone,) = ours.write([prompt], n_tokens=20, options=SAMPLED, nats=True, every=3)
        np.testing.assert_array_equal(alone.tokens, of_many.tokens)
        np.testing.assert_array_equal(alone.nats, of_many.nats)
    assert len({tuple(written.tokens) for written in together}) == 5


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_mesh_over_data_and_tensor_writes_as_one_device(precision):
    cfg, params = model(*MODERN)
    spread = jax.device_put(params, sharding.of_params(params, mesh_of(1, 2, 2, 1)))
    keys: dict[str, Any] = dict(n_tokens=12, options=SAMPLED)
    one, many = (decode.writer(where, cfg, precision).write(RAGGED[:3], **keys) for where in (params, spread))
    assert [w.tokens.tolist() for w in one] == [w.tokens.tolist() for w in many]


def test_padding_left_or_right_gives_the_same_texts():
    prompts = [[7, 8], [1, 2, 3, 4, 5], [9]]
    left, right = np.full((2, 3, 6), 63, np.int64)
    for row, tokens in enumerate(prompts):
        left[row, 6 - len(tokens) :], right[row, : len(tokens)] = tokens, tokens
    unpadded = [decode.Prompt(tokens) for tokens in prompts]
    batches = [decode.ragged(left, left != 63), decode.ragged(right, right != 63), unpadded]
    texts = [[w.tokens.tolist() for w in writer().write(b, n_tokens=9, options=SAMPLED)] for b in batches]
    assert texts[0] == texts[1] == texts[2] and texts[0][0] != texts[0][1]


def test_a_text_ends_with_the_token_that_ends_texts_and_the_others_go_on():
    free = writer().write(RAGGED[:5], n_tokens=12, options=SAMPLED)
    end = int(free[1].tokens[4])
    ended = writer().write(RAGGED[:5], n_tokens=12, options=SAMPLED, end=end)
    for whole, cut in zip(free, ended, strict=True):
        places = np.flatnonzero(whole.tokens == end)
        n = places[0] + 1 if len(places) else 12
        np.testing.assert_array_equal(cut.tokens, whole.tokens[:n])
    assert len(ended[1].tokens) < 12


def test_a_callback_sees_each_text_grow_and_can_stop_it():
    seen = {0: [], 1: []}

    def on_tokens(number, tokens):
        seen[number].append(list(tokens))
        return number == 0 and len(tokens) >= 3

    written = writer().write(RAGGED[:2], n_tokens=8, options=SAMPLED, every=1, on_tokens=on_tokens)
    assert [len(w.tokens) for w in written] == [3, 8]
    assert [len(tokens) for tokens in seen[1]] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert seen[0][-1] == written[0].tokens.tolist()


def test_no_option_compiles_anything_again():
    programs: list[Any] = [engine.advanced, engine.admitted]
    written = writer().write(RAGGED[:1], n_tokens=5, options=Sampling())
    before = [program._cache_size() for program in programs]
    for options in (SAMPLED, Sampling(temperature=0.0), Sampling(min_p=0.3)):
        written += writer().write(RAGGED[:1], n_tokens=5, options=options, nats=True, every=2)
    assert [program._cache_size() for program in programs] == before
    assert len({tuple(w.tokens) for w in written}) > 2
