"""Decoding through the cache gives the logits of the whole text at once."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.model import gpt
from tests.model.small import CLOSE, forward, tokens_BT


@functools.partial(jax.jit, static_argnames=("cfg", "n_prompt"))
def replay(params, tokens_BT, cfg, n_prompt):
    """Logits of every position: a prefill, then one token at a time in one loop."""
    B, T = tokens_BT.shape
    out = gpt.forward(params, tokens_BT[:, :n_prompt], cfg, cache=gpt.init_cache(cfg, B, T + 3))
    logits_BTV = jnp.zeros((B, T, cfg.padded_vocab)).at[:, :n_prompt].set(out.logits_BTV)

    def one(t, carry):
        cache, logits_BTV = carry
        token_B1 = jax.lax.dynamic_slice_in_dim(tokens_BT, t, 1, axis=1)
        out = gpt.forward(params, token_B1, cfg, cache=cache)
        return out.cache, jax.lax.dynamic_update_slice_in_dim(logits_BTV, out.logits_BTV, t, axis=1)

    return jax.lax.fori_loop(n_prompt, T, one, (out.cache, logits_BTV))[1]


@pytest.mark.parametrize("n_prompt,scan", [(1, True), (7, False)])
def test_the_cache_changes_no_logit(cfg, params, n_prompt, scan):
    cfg = dataclasses.replace(cfg, scan=scan)
    whole = forward(params, tokens_BT, cfg).logits_BTV
    np.testing.assert_allclose(replay(params, tokens_BT, cfg, n_prompt), whole, **CLOSE)


def test_left_padding_changes_no_logit(cfg, params):
    n_pad = 3
    padded_BT = jnp.pad(tokens_BT[:, :6], ((0, 0), (n_pad, 0)))
    columns_BT = jnp.broadcast_to(jnp.arange(6 + n_pad)[None], padded_BT.shape)
    where = dict(segments_BT=jnp.where(columns_BT < n_pad, 1, 0), positions_BT=jnp.maximum(columns_BT - n_pad, 0))
    out = forward(params, padded_BT, cfg, cache=gpt.init_cache(cfg, 8, 16), **where)
    step = forward(params, tokens_BT[:, 6:7], cfg, cache=out.cache, positions_BT=jnp.full((8, 1), 6))
    whole = forward(params, tokens_BT[:, :7], cfg).logits_BTV
    np.testing.assert_allclose(out.logits_BTV[:, n_pad:], whole[:, :6], **CLOSE)
    np.testing.assert_allclose(step.logits_BTV, whole[:, 6:], **CLOSE)
