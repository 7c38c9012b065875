"""Attacks are what their papers say of the model's own log-probabilities; extraction is what the model goes on with."""

import math
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.config import BadInput
from gptjax.data.alphabets import Bytes
from gptjax.generation import decode
from gptjax.model import gpt
from gptjax.privacy import canaries, exposure, extraction, membership, memorised
from gptjax.privacy.extraction import Asked
from gptjax.privacy.membership import Scored
from tests import tiny

CFG = tiny.make_config("model.vocab_size=256", "model.context=32", "model.pad_vocab_to=128").model
BYTES = Bytes({})


@pytest.fixture(scope="module")
def params():
    made = gpt.init(jax.random.key(1), CFG)
    return jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(2), leaf.shape), made)


def slow_nats(params, rows):
    """Of every row the nats of each token but the first, from whole logits; always 81 rows of 24."""
    padded_RT = np.zeros((81, 24), np.int32)
    for at, row in enumerate(rows):
        padded_RT[at, : len(row)] = row
    out = forward(params, jnp.asarray(padded_RT), cfg=CFG)
    nats_RTV = np.asarray(jax.nn.log_softmax(out.logits_BTV))
    return [nats_RTV[at, np.arange(len(row) - 1), row[1:]] for at, row in enumerate(rows)]


forward = jax.jit(gpt.forward, static_argnames="cfg")


def test_a_texts_scores_are_the_papers(params):
    texts = ["the first", "a text that is longer than the context holds", "9"]
    nats, kept = membership.of_texts(params, CFG, BYTES, texts, 20, None, lambda n: None)
    assert kept == [text[:20] for text in texts]
    found = membership.scores(Scored(nats, kept, [nats_T - 1 for nats_T in nats]))
    for at, (text, slow) in enumerate(
        zip(kept, slow_nats(params, [[0, *text.encode()] for text in kept]), strict=True)
    ):
        np.testing.assert_allclose(nats[at], slow, atol=2e-5)
        assert found["loss"][at] == pytest.approx(slow.mean(), abs=1e-5)
        assert found["min_k"][at] == pytest.approx(np.sort(slow)[: math.ceil(len(slow) / 5)].mean(), abs=1e-5)
        assert found["zlib"][at] == pytest.approx(slow.sum() / len(zlib.compress(text.encode())), abs=1e-5)
    np.testing.assert_allclose(found["reference"], 1.0, atol=1e-5)


def test_an_empty_text_is_refused(params):
    with pytest.raises(BadInput, match="text 1 "):
        membership.of_texts(params, CFG, BYTES, ["a", ""], 20, None, lambda n: None)


def test_exposure_is_the_rank_by_brute_force(params):
    """All 81 codes of four letters, each scored by the plain model."""
    found = canaries.make(6, corpus="", form="{name} {code}", alphabet="abc", length=4, seed="x")
    measured = memorised.measure(params, CFG, BYTES, found, n_others=500, seed=0, on=None, tell=lambda n: None)
    for at, canary in enumerate(found.canaries):
        codes = [canary.code, *exposure.others("abc", canary.code, 500, np.random.default_rng(0))]
        n = len(found.prefix(canary)) + 1
        rows = slow_nats(params, [[0, *f"{canary.name} {code}".encode()] for code in codes])
        nats = [nats_T[n - 1 :].sum() for nats_T in rows]
        assert len(codes) == 81 and measured.nats[at].sum() == pytest.approx(nats[0], abs=1e-4)
        rank = 1 + sum(value > nats[0] for value in nats[1:])
        assert measured.ranked_N[at] == pytest.approx(math.log2(81 / rank))
        assert measured.above_N[at] == pytest.approx(nats[0] - np.mean(nats[1:]), abs=1e-4)


def test_a_context_too_short_for_a_canary_is_refused(params):
    found = canaries.make(2, corpus="", seed="x")
    with pytest.raises(BadInput, match="--canaries: a canary has 43 tokens before its last, and model.context is 32"):
        memorised.measure(params, CFG, BYTES, found, n_others=2, seed=0, on=None, tell=lambda n: None)


def test_what_the_model_would_say_is_extracted_and_nothing_else(params):
    """Secrets that are the model's own greedy words, and in every other place something else."""
    befores = [[0, *f"prefix {at}: ".encode()] for at in range(4)]
    said = [decode.generate(params, np.array(before), CFG, n_tokens=6, temperature=0.0)[0] for before in befores]
    secrets = [BYTES.decode(tokens.tolist()) for tokens in said]
    changed = [text if at % 2 else "~" + text for at, text in enumerate(secrets)]
    asked = [Asked(before, text, 6) for before, text in zip(befores, changed, strict=True)]
    writer = decode.writer(params, CFG)
    found = extraction.extract(writer, BYTES, asked, samples=2, seed=0, tell=lambda n: None)
    assert found.greedy_N.tolist() == [False, True, False, True]
    assert found.near_N[1] == 1 and found.near_N[0] == pytest.approx(1 - 1 / len(changed[0]))
    drawn = [
        [BYTES.decode(w.tokens.tolist()) for w in writer.write([decode.Prompt(before, 0, at) for at in range(2)],
         n_tokens=6, options=decode.Sampling())] for before in befores
    ]  # fmt: skip
    again = [Asked(before, texts[1], 6) for before, texts in zip(befores, drawn, strict=True)]
    assert extraction.extract(writer, BYTES, again, samples=2, seed=0, tell=lambda n: None).sampled_N.all()
    assert not extraction.extract(writer, BYTES, again, samples=2, seed=9, tell=lambda n: None).sampled_N.any()
