"""Captured activations are the real ones, edits act and have gradients, and neither costs anything when unused."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.model import gpt
from tests.model.small import CLOSE, forward, mean_nll, tokens_BT


@pytest.mark.parametrize("variant", [dict(), dict(remat="full", scan=False)], ids=str)
def test_activations_are_the_real_ones(cfg, params, variant):
    cfg = dataclasses.replace(cfg, **variant)
    seen = forward(params, tokens_BT, cfg, capture=gpt.POINTS).activations
    assert {point: x.shape for point, x in seen.items()} == {
        "residual_in": (2, 8, 12, 16),
        "queries": (2, 8, 12, 4, 4),
        "keys": (2, 8, 12, cfg.n_kv_heads, 4),
        "values": (2, 8, 12, cfg.n_kv_heads, 4),
        "attn_probs": (2, 8, 4, 12, 12),
        "mixed_heads": (2, 8, 12, 4, 4),
        "attn_out": (2, 8, 12, 16),
        "mlp_hidden": (2, 8, 12, 32),
        "mlp_out": (2, 8, 12, 16),
        "residual_out": (2, 8, 12, 16),
        "final": (8, 12, 16),
    }
    np.testing.assert_array_equal(seen["residual_in"][1:], seen["residual_out"][:-1])
    np.testing.assert_allclose(seen["residual_in"] + seen["attn_out"] + seen["mlp_out"], seen["residual_out"], **CLOSE)
    np.testing.assert_allclose(seen["attn_probs"].sum(-1), 1, **CLOSE)
    of_heads_LBSNH = np.repeat(seen["values"], cfg.n_heads // cfg.n_kv_heads, axis=3)
    mixed_LBTNH = np.einsum("LBNTS,LBSNH->LBTNH", seen["attn_probs"], of_heads_LBSNH)
    np.testing.assert_allclose(mixed_LBTNH, seen["mixed_heads"], **CLOSE)
    if not cfg.qk_norm and cfg.position == "learned":
        scores_LBNTS = np.einsum("LBTNH,LBSNH->LBNTS", seen["queries"], seen["keys"]) / cfg.d_head**0.5
        scores_LBNTS = np.where(np.tri(12, dtype=bool), scores_LBNTS, -np.inf)
        np.testing.assert_allclose(jax.nn.softmax(scores_LBNTS), seen["attn_probs"], **CLOSE)
    for weights, writes, hidden, equation in (
        ("attn", "attn_out", "mixed_heads", "LBTNH,LNHD->LBTD"),
        ("mlp", "mlp_out", "mlp_hidden", "LBTF,LFD->LBTD"),
    ):
        p = params["blocks"][weights]
        bias = p["b_out"][:, None, None] if cfg.bias else 0
        np.testing.assert_allclose(np.einsum(equation, seen[hidden], p["w_out"]) + bias, seen[writes], **CLOSE)


def test_ablating_a_head_is_zeroing_its_output_weights(cfg, params):
    ablate = {"mixed_heads": lambda x_BTNH, layer: jnp.where(layer == 1, x_BTNH.at[:, :, 2].set(0), x_BTNH)}
    attn = params["blocks"]["attn"]
    without = params | {"blocks": params["blocks"] | {"attn": attn | {"w_out": attn["w_out"].at[1, 2].set(0)}}}
    edited = jax.jit(lambda: gpt.forward(params, tokens_BT, cfg, edits=ablate, capture=("mixed_heads",)))()
    np.testing.assert_allclose(edited.logits_BTV, forward(without, tokens_BT, cfg).logits_BTV, **CLOSE)
    alive_LN = np.any(np.asarray(edited.activations["mixed_heads"]), axis=(1, 2, 4))  # captured after the edit
    np.testing.assert_array_equal(alive_LN, [[True] * 4, [True, True, False, True]])


def test_patching_every_layer_in_turn_compiles_once(cfg, params):
    """The residual after any layer, taken from a run on other tokens, gives the logits of that run."""
    other_BT = (tokens_BT + 1) % cfg.vocab_size
    other = forward(params, other_BT, cfg, capture=("residual_out",))
    traces = []

    @jax.jit
    def patched(saved_LBTD, target):
        traces.append(1)
        patch = {"residual_out": lambda x_BTD, layer: jnp.where(layer == target, saved_LBTD[layer], x_BTD)}
        return gpt.forward(params, tokens_BT, cfg, edits=patch).logits_BTV

    for target in range(cfg.n_layers):
        np.testing.assert_allclose(patched(other.activations["residual_out"], target), other.logits_BTV, **CLOSE)
    assert len(traces) == 1


def test_an_edit_has_a_gradient(cfg, params):
    """Attribution: the slope at a layer's residual predicts how the loss moves when something small is added there."""
    cfg = dataclasses.replace(cfg, remat="full")

    @jax.jit
    @jax.value_and_grad
    def shifted(shift_LBTD):
        edits = {"residual_out": lambda x_BTD, layer: x_BTD + shift_LBTD[layer]}
        return mean_nll(params, tokens_BT, cfg, edits=edits)

    none_LBTD = jnp.zeros((2, 8, 12, 16))
    _, slope_LBTD = shifted(none_LBTD)
    for layer in range(2):
        step_LBTD = none_LBTD.at[layer].set(0.1 * slope_LBTD[layer] / jnp.linalg.norm(slope_LBTD[layer]))
        measured = shifted(step_LBTD)[0] - shifted(-step_LBTD)[0]
        np.testing.assert_allclose(2 * jnp.vdot(slope_LBTD, step_LBTD), measured, rtol=0.01)


def test_editing_the_final_activation_changes_the_logits_by_the_head(cfg, params):
    shift_D = jax.random.normal(jax.random.key(6), (16,))
    layers = []

    def add(x_BTD, layer):
        layers.append(layer)
        return x_BTD + shift_D[None, None]

    edited = jax.jit(lambda: gpt.forward(params, tokens_BT, cfg, edits={"final": add}).logits_BTV)()
    head_VD = params["w_tok" if cfg.tied else "w_head"]
    real = slice(0, cfg.vocab_size)
    expected = forward(params, tokens_BT, cfg).logits_BTV[..., real] + (head_VD @ shift_D)[None, None, real]
    np.testing.assert_allclose(edited[..., real], expected, **CLOSE)
    assert layers == [cfg.n_layers]


def test_no_edits_and_no_capture_leave_no_trace(cfg, params):
    def trace(**inputs):
        jaxpr = jax.make_jaxpr(lambda params: gpt.forward(params, tokens_BT, cfg, **inputs).logits_BTV)(params)
        return re.sub("0x[0-9a-f]+", "", str(jaxpr)), [e for e in jaxpr.eqns if e.primitive.name == "scan"]

    plain, (loop,) = trace()
    assert len(loop.outvars) == 1  # the residual stream alone leaves the loop
    assert plain == trace(edits={}, capture=())[0]
    points = set(gpt.POINTS) - {"attn_probs"}  # which selects the reference kernel and asks it to lay out its weights
    assert plain == trace(edits={point: lambda x, layer: x for point in points})[0]
    assert plain != trace(edits={"mlp_out": lambda x, layer: x * 2})[0]


@pytest.mark.parametrize("asked", [dict(edits={"mlp_outt": abs}), dict(capture=("mlp_outt",))], ids=str)
def test_an_unknown_point_is_refused_by_name(cfg, params, asked):
    with pytest.raises(KeyError, match="mlp_outt.*residual_in"):
        gpt.forward(params, tokens_BT, cfg, **asked)
