"""Dropout: a function of the key, at each of its places, and gone without a key."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.model import gpt
from tests.model.small import CONFIGS, nll, noisy, tokens_BT


def test_dropout_is_a_function_of_the_key(cfg, params):
    cfg = dataclasses.replace(cfg, dropout=0.3)
    a, again, b, off = (nll(params, tokens_BT, cfg, key=k) for k in (*map(jax.random.key, (0, 0, 1)), None))
    assert a == again and a != b and a != off
    assert off == nll(params, tokens_BT, dataclasses.replace(cfg, dropout=0.0), key=jax.random.key(0))


def test_layers_drop_different_units():
    cfg = dataclasses.replace(CONFIGS["gpt2"], dropout=0.5)
    params = noisy(cfg)
    params = params | {"blocks": jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape), params["blocks"])}
    same = {"residual_in": lambda x_BTD, layer: jnp.broadcast_to(jnp.sin(jnp.arange(16.0)), x_BTD.shape)}

    @jax.jit
    def outputs_LBTD(key):
        out = gpt.forward(params, tokens_BT, cfg, key=key, edits=same, capture=("residual_out",))
        return out.activations["residual_out"]

    kept, dropped = outputs_LBTD(None), outputs_LBTD(jax.random.key(0))
    np.testing.assert_array_equal(kept[0], kept[1])
    assert not np.allclose(dropped[0], dropped[1])


def test_each_place_drops_its_share_and_keeps_the_mean():
    """Ratios with to without: of embeddings, of attention weights (held at the identity), of both residual writes."""
    cfg = dataclasses.replace(CONFIGS["gpt2"], dropout=0.25)
    params = noisy(cfg)

    @jax.jit
    def seen(key, attn_out, mlp_out):
        edits = {
            "attn_probs": lambda p_BNTS, layer: jnp.broadcast_to(jnp.eye(12)[None, None], p_BNTS.shape),
            "attn_out": lambda x_BTD, layer: jnp.full_like(x_BTD, attn_out),
            "mlp_out": lambda x_BTD, layer: jnp.full_like(x_BTD, mlp_out),
        }
        points = ("residual_in", "mixed_heads", "residual_out")
        return gpt.forward(params, tokens_BT, cfg, key=key, edits=edits, capture=points).activations

    def written(seen):
        return seen["residual_out"] - seen["residual_in"]

    key = jax.random.key(0)
    attn, mlp, off = seen(key, 1.0, 0.0), seen(key, 0.0, 1.0), seen(None, 0.0, 0.0)
    lengths = [np.linalg.norm(s["mixed_heads"][0], axis=-1) for s in (attn, off)]
    ratios = {
        "embedding": attn["residual_in"][0] / off["residual_in"][0],
        "attention weight": (lengths[0] > 0) / 0.75,
        "attention write": written(attn),
        "MLP write": written(mlp),
    }
    for name, ratio in ratios.items():
        dropped = np.abs(ratio) < 1e-4
        np.testing.assert_allclose(ratio[~dropped], 1 / 0.75, rtol=1e-3, err_msg=name)
        assert 0.2 < np.mean(dropped) < 0.3, name
