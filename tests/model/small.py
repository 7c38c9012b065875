"""Two tiny models for the tests of this room: one as GPT-2 builds it, one as Llama 3 and Qwen 3 would."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gptjax import tree
from gptjax.config import ModelConfig
from gptjax.keys import OFF
from gptjax.model import gpt

GPT2 = ModelConfig(
    vocab_size=59,
    context=16,
    n_layers=2,
    d_model=16,
    n_heads=4,
    n_kv_heads=4,
    d_hidden=32,
    position="learned",
    rope_base=10_000.0,
    norm="layer",
    norm_eps=1e-5,
    mlp="gelu",
    bias=True,
    tied=True,
    **OFF,
    dropout=0.0,
    mup_base_width=0,
    pad_vocab_to=16,
    dtype="float32",
    attention="reference",
    scan=True,
    remat="none",
    saved=(),
    offloaded=(),
)
CHANGES: dict[str, Any] = dict(
    n_kv_heads=2, position="rope", norm="rms", mlp="swiglu", bias=False, qk_norm=True, tied=False
)
CONFIGS = {"gpt2": GPT2, "modern": ModelConfig(**{**vars(GPT2), **CHANGES})}
CLOSE: dict[str, Any] = dict(atol=1e-5, rtol=1e-5)

tokens_BT = jax.random.randint(jax.random.key(1), (8, 12), 0, GPT2.vocab_size)
init = jax.jit(gpt.init, static_argnames="cfg")
forward = jax.jit(gpt.forward, static_argnames=("cfg", "capture"))


@functools.cache
def noisy(cfg: ModelConfig) -> dict:
    """Parameters away from their start, so that biases and scales count and attention is far from uniform."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: gpt.init(jax.random.key(0), cfg))
    return tree.map_named(
        lambda name, leaf: jnp.asarray(0.2 * rng.normal(size=leaf.shape) + name.endswith("scale"), jnp.float32), shapes
    )


def in_float64(params: dict) -> dict:
    """For use under `jax.enable_x64`."""
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)


def mean_nll(params, tokens_BT, cfg, **inputs):
    logits_BTV = gpt.forward(params, tokens_BT, cfg, **inputs).logits_BTV
    return optax.softmax_cross_entropy_with_integer_labels(logits_BTV[:, :-1], tokens_BT[:, 1:]).mean()


nll = jax.jit(mean_nll, static_argnames="cfg")
nll_and_grad = jax.jit(jax.value_and_grad(mean_nll), static_argnames="cfg")


def assert_trees_close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **(tolerance or CLOSE)), a, b)


def later_changed(t: int) -> jax.Array:
    """The tokens with all after position t replaced."""
    return jnp.where(jnp.arange(12)[None] > t, (tokens_BT + 1) % GPT2.vocab_size, tokens_BT)
