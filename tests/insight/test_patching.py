"""Patches are taken from the one run, put into the other, and nothing else moves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.insight import contrast, patching
from gptjax.model import gpt
from tests.insight.asked import CLOSE, base_BT, question, source_BT
from tests.model.small import forward


def answered(params, cfg, **inputs):
    return np.asarray(jax.jit(lambda: patching.run(params, base_BT, question, cfg, **inputs)[0])())


def test_a_contrast_is_of_the_logits_after_its_position(cfg, params):
    out = forward(params, base_BT, cfg, capture=("final",))
    rows = np.arange(4)
    logits_BV = np.asarray(out.logits_BTV)[rows, np.asarray(question.at_B)]
    right_B, wrong_B = (logits_BV[rows, np.asarray(token_B)] for token_B in (question.right_B, question.wrong_B))
    found_B = contrast.measured(params, out.activations["final"], question, cfg)
    np.testing.assert_allclose(found_B, right_B - wrong_B, **CLOSE)
    alone_B = contrast.measured(params, out.activations["final"], question._replace(wrong_B=None), cfg)
    np.testing.assert_allclose(alone_B, right_B - np.log(np.exp(logits_BV).sum(-1)), **CLOSE)


def test_the_first_stream_at_a_position_is_the_run_with_that_token(cfg, params):
    found = patching.positions(params, base_BT, source_BT, question, cfg)
    assert found.values.shape == (3, 10, 4)
    for at in (0, 5, 9):
        swapped_BT = base_BT.at[:, at].set(source_BT[:, at])
        out = forward(params, swapped_BT, cfg, capture=("final",)).activations["final"]
        np.testing.assert_allclose(found.values[0, at], contrast.measured(params, out, question, cfg), **CLOSE)
    after_TB = np.arange(10)[:, None] > np.asarray(question.at_B) % 10
    np.testing.assert_allclose(found.moved[:, after_TB], 0, atol=1e-4)  # what comes later is not seen


def test_the_last_stream_where_it_is_asked_is_the_source_run(cfg, params):
    found = patching.positions(params, base_BT, source_BT, question, cfg, point="residual_out")
    for row, at in enumerate(np.asarray(question.at_B) % 10):
        np.testing.assert_allclose(found.values[-1, at, row], found.source_B[row], **CLOSE)
        assert found.moved[-1, at, row] == pytest.approx(1, abs=1e-4)


def test_a_place_is_patched_alone(cfg, params, point="mlp_out"):
    """Against one edit written out by hand."""
    seen = forward(params, source_BT, cfg, capture=(point,)).activations[point]
    found = patching.positions(params, base_BT, source_BT, question, cfg, point=point)
    put = lambda x_BTD, layer: jnp.where(layer == 1, x_BTD.at[:, 4].set(seen[1][:, 4]), x_BTD)
    np.testing.assert_allclose(found.values[1, 4], answered(params, cfg, edits={point: put}), **CLOSE)


def test_a_head_is_patched_alone(cfg, params):
    seen = forward(params, source_BT, cfg, capture=("mixed_heads", "attn_probs")).activations
    by = {
        "mixed_heads": lambda x, layer: jnp.where(layer == 1, x.at[:, :, 2].set(seen["mixed_heads"][1][:, :, 2]), x),
        "attn_probs": lambda x, layer: jnp.where(layer == 1, x.at[:, 2].set(seen["attn_probs"][1][:, 2]), x),
    }
    for point, put in by.items():
        found = patching.heads(params, base_BT, source_BT, question, cfg, point=point)
        assert found.values.shape == (3, 4, 4)
        np.testing.assert_allclose(found.values[1, 2], answered(params, cfg, edits={point: put}), **CLOSE)


def test_a_run_patched_into_itself_stays(cfg, params):
    found = patching.heads(params, base_BT, base_BT, question, cfg)
    np.testing.assert_allclose(found.values, jnp.broadcast_to(found.base_B, (3, 4, 4)), **CLOSE)
    np.testing.assert_array_equal(found.base_B, found.source_B)


def test_all_places_are_one_program(cfg, params, monkeypatch):
    traced = []
    monkeypatch.setattr(
        gpt, "forward", lambda *args, real=gpt.forward, **inputs: traced.append(1) or real(*args, **inputs)
    )
    lowered = patching.each.lower(params, base_BT, source_BT, question, cfg=cfg, point="residual_in", axis=1, chunk=5)
    assert len(traced) == 3  # the base run, the source run and the patched one
    assert lowered.as_text().count("func.func public") == 1
