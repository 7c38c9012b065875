import functools

import jax
import numpy as np
import pytest

from gptjax.evaluation import likelihood
from gptjax.model import gpt
from tests.tiny import make_batch, make_config, mesh_of

CFG = make_config()
forward = jax.jit(gpt.forward, static_argnames="cfg")


@functools.cache
def params():
    noise = lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(leaf.size), leaf.shape)
    return jax.tree.map(noise, jax.jit(functools.partial(gpt.init, cfg=CFG.model))(jax.random.key(0)))


def evaluate(windows, token_bytes):
    mesh = mesh_of(1, 1, 1, 1)
    return likelihood.make_evaluate(windows, token_bytes, CFG.model, CFG.loss, mesh)(params())


def by_hand(batches, token_bytes):
    """Summed nats, tokens and bytes, one token at a time from the model's probabilities."""
    nats = n_tokens = n_bytes = 0.0
    for batch in batches:
        logp_BTV = np.asarray(jax.nn.log_softmax(forward(params(), batch.inputs_BT, CFG.model).logits_BTV), np.float64)
        for row, at in zip(*np.nonzero(batch.weights_BT), strict=True):
            target = batch.targets_BT[row, at]
            nats, n_tokens, n_bytes = nats - logp_BTV[row, at, target], n_tokens + 1, n_bytes + token_bytes[target]
    return nats, n_tokens, n_bytes


def test_means_are_those_of_the_tokens_that_count():
    windows = [make_batch(CFG, number, "uneven") for number in range(3)]
    token_bytes = np.arange(64, dtype=np.float32) % 5
    nats, n_tokens, n_bytes = by_hand(windows, token_bytes)
    found = evaluate({"text": windows}, token_bytes)
    assert found == {
        "eval/nll": pytest.approx(nats / n_tokens, rel=1e-5),
        "eval/bits_per_byte": pytest.approx(nats / n_bytes / np.log(2), rel=1e-5),
    }


def test_sources_are_scored_apart_and_weighted_by_their_tokens_together():
    short, long = [make_batch(CFG, 1)], [make_batch(CFG, number, "uneven") for number in range(2, 6)]
    ones = np.ones(64, np.float32)
    found = evaluate({"short": short, "long": long}, ones)
    (a, n_a, _), (b, n_b, _) = by_hand(short, ones), by_hand(long, ones)
    assert found["eval/nll/short"] == pytest.approx(a / n_a, rel=1e-5)
    assert found["eval/nll/long"] == pytest.approx(b / n_b, rel=1e-5)
    assert found["eval/nll"] == pytest.approx((a + b) / (n_a + n_b), rel=1e-5)


def test_the_size_of_a_batch_changes_no_score():
    whole = make_batch(CFG)
    halves = [jax.tree.map(lambda x_BT, part=part: x_BT[part], whole) for part in (slice(0, 4), slice(4, 8))]
    ones = np.ones(64, np.float32)
    assert evaluate({"text": [whole]}, ones) == pytest.approx(evaluate({"text": halves}, ones), rel=1e-6)
