"""Attention by tiles against the reference, written out and in its loop, and the memory it holds."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.model import attention, blockwise
from gptjax.model.attention import Slots
from tests.model.small import CONFIGS, mean_nll, noisy

H = 8


@pytest.fixture(params=["written out", "in a loop"])
def form(request, monkeypatch):
    """Tiles of a size that makes several of them out of few positions."""
    monkeypatch.setattr(blockwise, "BLOCK", 8)
    monkeypatch.setattr(blockwise, "TILE", 8)
    monkeypatch.setattr(blockwise, "WRITTEN_OUT", 1024 if request.param == "written out" else 0)


def inputs(T, N, K, dtype="float64"):
    rng = np.random.default_rng(T)
    return [jnp.asarray(rng.normal(size=(2, T, n, H)), dtype) for n in (N, K, K, N)]


def value_and_gradients(kernel, arrays, segments_BT):
    q, k, v, d = arrays
    slots = Slots(None, segments_BT, segments_BT)
    mixed, pull = jax.vjp(lambda q, k, v: attention.attention(q, k, v, slots, kernel), q, k, v)
    return mixed, *pull(d)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("T", "N", "K"), [(1, 2, 2), (8, 4, 2), (21, 4, 4), (24, 4, 1)])
def test_values_and_gradients_are_the_references(form, T, N, K, packed):
    """Lengths below, at and between multiples of a tile; segments that end inside a tile and at its edge."""
    with jax.enable_x64(True):
        segments_BT = jnp.array([[0] * 5 + [1] * 11 + [2] * 8, [3] * 24])[:, :T] if packed else None
        arrays = inputs(T, N, K)
        found = value_and_gradients("blockwise", arrays, segments_BT)
        for ours, wanted in zip(found, value_and_gradients("reference", arrays, segments_BT), strict=True):
            np.testing.assert_allclose(ours, wanted, rtol=1e-10, atol=1e-12)


def test_large_scores_do_not_overflow(form):
    """The softmax is taken below its running maximum: scores of hundreds stay finite in float32."""
    q, k, v, d = inputs(21, 2, 2, "float32")
    steep = [60 * q, k, v, d]
    found = value_and_gradients("blockwise", steep, None)
    for ours, wanted in zip(found, value_and_gradients("reference", steep, None), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-3, atol=1e-3)


def test_bfloat16_sums_in_float32(form):
    """Against the same rounded inputs in float64, at bfloat16's own resolution of 2^-8, on the scale of the result."""
    rounded = inputs(24, 4, 2, "bfloat16")
    with jax.enable_x64(True):
        exact = value_and_gradients("reference", [jnp.asarray(x, "float64") for x in rounded], None)
        exact = [np.asarray(x) for x in exact]
    for ours, wanted in zip(value_and_gradients("blockwise", rounded, None), exact, strict=True):
        assert ours.dtype == jnp.bfloat16
        assert np.abs(np.asarray(ours, np.float64) - wanted).max() < 2**-6 * np.abs(wanted).max()


def test_memory_grows_as_the_length():
    """Four times the positions hold four times the temporary memory; the reference's scores over ten times."""

    def held(kernel, T):
        x = jax.ShapeDtypeStruct((1, T, 2, 64), jnp.float32)
        loss = lambda q, k, v: jnp.sum(attention.attention(q, k, v, Slots(None, None, None), kernel) ** 2)
        analysis = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(x, x, x).compile().memory_analysis()
        assert analysis is not None
        return analysis.temp_size_in_bytes

    assert held("blockwise", 16_384) < 4.5 * held("blockwise", 4096)
    assert held("reference", 4096) > 10 * held("reference", 1024)


def test_half_of_the_square_is_skipped():
    """Products of the forward pass, by the compiler's count: 10 of 16 tiles for four blocks of rows."""

    def flops(kernel, T=4 * blockwise.BLOCK):
        x = jax.ShapeDtypeStruct((1, T, 1, 64), jnp.float32)
        attend = lambda q, k, v: attention.attention(q, k, v, Slots(None, None, None), kernel)
        analysis = jax.jit(attend).lower(x, x, x).cost_analysis()
        assert analysis is not None
        return analysis["flops"]

    assert flops("blockwise") < 0.7 * flops("reference")


def test_the_loop_over_layers_holds_no_masks(monkeypatch):
    """At one number of tokens, a model's memory does not depend on the length, with documents and without."""
    monkeypatch.setattr(blockwise, "TILE", 32)
    monkeypatch.setattr(blockwise, "WRITTEN_OUT", 0)

    def held(B, T, packed):
        cfg = dataclasses.replace(CONFIGS["modern"], attention="blockwise", context=T)
        tokens_BT = jax.ShapeDtypeStruct((B, T), jnp.int32)
        segments_BT = tokens_BT if packed else None
        loss = lambda params, tokens_BT, segments_BT: mean_nll(params, tokens_BT, cfg, segments_BT=segments_BT)
        analysis = jax.jit(jax.grad(loss)).lower(noisy(cfg), tokens_BT, segments_BT).compile().memory_analysis()
        assert analysis is not None
        return analysis.temp_size_in_bytes

    for packed in (False, True):
        assert held(1, 1024, packed) < 1.2 * held(16, 64, packed)
