"""Prefill and steps over rows compute what the model computes over whole texts, on every way of multiplying."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.generation import engine, native, network, weights
from gptjax.generation.network import Machine
from gptjax.model import gpt
from tests.tiny import make_config

MODELS = {
    "gpt2": ("model.bias=true", "model.vocab_size=61"),
    "llama": ("model.position=rope", "model.norm=rms", "model.mlp=swiglu", "model.n_kv_heads=2", "model.tied=false",
              "model.bias=false"),
    "rest": ("model.parallel=true", "model.qk_norm=true", "model.mlp=relu2", "model.logit_softcap=3.0",
             "model.d_model=36", "model.d_hidden=50"),
}  # fmt: skip
ELSEWHERE = """
    context n_layers n_heads rope_base norm_eps dropout pad_vocab_to mup_base_width dtype attention scan remat saved
    offloaded
"""  # sizes that are any number, and keys that say how one trains
NATIVE = [False, pytest.param(True, marks=pytest.mark.skipif(not native.registered(), reason="no C++ compiler here"))]
forward = jax.jit(gpt.forward, static_argnames="cfg")
prefill = jax.jit(network.prefill, static_argnames="machine")
step = jax.jit(network.step, static_argnames="machine")


@functools.cache
def model(name):
    cfg = make_config(*MODELS[name]).model
    params = jax.jit(functools.partial(gpt.init, cfg=cfg))(jax.random.key(0))
    noise = lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(leaf.size), leaf.shape)  # biases, scales
    return cfg, jax.tree.map(noise, params)


def test_no_option_of_the_model_is_left_out():
    """A new one that generation does not know would give other text than was trained, without a word."""
    models = [make_config(*overrides).model for overrides in MODELS.values()]
    same = {field.name for field in dataclasses.fields(models[0]) if len({getattr(m, field.name) for m in models}) == 1}
    assert same == set(ELSEWHERE.split())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("use_kernel", NATIVE)
def test_ragged_rows_give_the_logits_of_whole_texts(name, use_kernel):
    cfg, params = model(name)
    packed, machine = weights.pack(params, cfg), Machine(cfg, use_kernel, None)
    text_BT = np.random.default_rng(0).integers(0, cfg.vocab_size, (3, 16)).astype(np.int32)
    whole_BTV = forward(params, text_BT, cfg).logits_BTV
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=2e-4)

    cache, lengths_R = network.empty(machine, 3, 16), np.array([1, 5, 8], np.int32)
    for row, n in enumerate(lengths_R):
        logits_V, cache = prefill(packed, text_BT[row, :8], n, cache, np.int32(row), machine=machine)
        close(logits_V, whole_BTV[row, n - 1])
    for _ in range(8):
        newest_R = text_BT[np.arange(3), lengths_R]
        logits_RV, cache = step(packed, newest_R, lengths_R, np.ones(3, np.int32), cache, machine=machine)
        close(logits_RV, whole_BTV[np.arange(3), lengths_R])
        lengths_R = lengths_R + 1


@pytest.mark.parametrize("use_kernel", NATIVE)
def test_a_row_that_rests_keeps_its_cache(use_kernel):
    cfg, params = model("llama")
    packed, machine = weights.pack(params, cfg), Machine(cfg, use_kernel, None)
    tokens_R, lengths_R = np.arange(2, dtype=np.int32), np.array([3, 16], np.int32)
    before = network.empty(machine, 2, 16)
    before = jax.tree.map(lambda x: x + 1, before)
    _, after = step(packed, tokens_R, lengths_R, np.array([1, 0], np.int32), before, machine=machine)
    np.testing.assert_array_equal(after.keys_LRKSH[:, 1], before.keys_LRKSH[:, 1])
    assert not np.array_equal(after.keys_LRKSH[:, 0, :, 3], before.keys_LRKSH[:, 0, :, 3])


@pytest.mark.skipif(not native.registered(), reason="no C++ compiler here")
@pytest.mark.parametrize("precision", weights.PRECISIONS)
@pytest.mark.parametrize("width", [7, 64, 100])
def test_the_kernel_multiplies_and_a_row_does_not_see_the_others(precision, width):
    rng = np.random.default_rng(0)
    x_RI = jnp.asarray(rng.standard_normal((21, width)), jnp.float32)
    matrix = weights.stored(jnp.asarray(rng.standard_normal((2, 70, width)), jnp.float32), precision)
    multiply = jax.jit(lambda active_R: native.product(x_RI, matrix.w_LOI, matrix.scale_LO, jnp.int32(1), active_R))
    all_RO = np.asarray(multiply(jnp.ones(21, jnp.int32)))
    expected = weights.product(x_RI, matrix, jnp.int32(1))
    np.testing.assert_allclose(all_RO, expected, rtol=2e-5, atol=2e-5)
    for n in (1, 2, 3, 8, 13):
        active_R = np.zeros(21, np.int32)
        active_R[rng.permutation(21)[:n]] = 1
        np.testing.assert_array_equal(multiply(active_R), np.where(active_R[:, None], all_RO, 0))


@pytest.mark.parametrize(("precision", "most"), [("float32", 0.0), ("bfloat16", 2**-8), ("int8", 0.5 / 127)])
def test_a_stored_weight_is_rounded_to_its_precision(precision, most):
    w_LOI = jax.random.normal(jax.random.key(0), (2, 5, 300)).at[0, 1].set(0.0)
    stored = weights.stored(w_LOI, precision)
    back = stored.w_LOI.astype(jnp.float32) * (1 if stored.scale_LO is None else stored.scale_LO[..., None])
    of_LO1 = jnp.max(jnp.abs(w_LOI), axis=-1, keepdims=True)
    apart = jnp.max(jnp.abs(back - w_LOI) / jnp.where(of_LO1 > 0, of_LO1, 1))
    assert apart <= most * (1 + 1e-5) and (apart > 0) == (most > 0)


def test_where_nothing_compiles_xla_multiplies(monkeypatch, tmp_path):
    monkeypatch.setattr(native, "CACHE", str(tmp_path))
    assert native.built("/bin/false") is None
    assert list(tmp_path.iterdir()) == []


def test_a_few_lengths_are_compiled():
    assert [engine.bucket(n, 1000) for n in (1, 16, 17, 64, 65, 600, 1000)] == [16, 16, 32, 64, 128, 1000, 1000]
