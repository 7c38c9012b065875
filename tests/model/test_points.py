"""Captured activations are the real ones, edits act and have gradients, and neither costs anything when unused."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.model import gpt
from tests.model.small import CLOSE, forward, mean_nll, tokens_BT

VARIANTS = [dict(), dict(scan=False), dict(remat="full"), dict(remat="dots", scan=False)]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_activations_are_the_real_ones(cfg, params, variant):
    cfg = dataclasses.replace(cfg, **variant)
    seen = forward(params, tokens_BT, cfg, capture=gpt.POINTS).activations
    assert {point: x.shape for point, x in seen.items()} == {
        "residual_in": (3, 8, 12, 16),
        "attn_probs": (3, 8, 4, 12, 12),
        "mixed_heads": (3, 8, 12, 4, 4),
        "attn_out": (3, 8, 12, 16),
        "mlp_hidden": (3, 8, 12, 32),
        "mlp_out": (3, 8, 12, 16),
        "residual_out": (3, 8, 12, 16),
        "final": (8, 12, 16),
    }
    np.testing.assert_array_equal(seen["residual_in"][1:], seen["residual_out"][:-1])
    np.testing.assert_allclose(seen["residual_in"] + seen["attn_out"] + seen["mlp_out"], seen["residual_out"], **CLOSE)
    np.testing.assert_allclose(seen["attn_probs"].sum(-1), 1, **CLOSE)
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
    edited = jax.jit(lambda params: gpt.forward(params, tokens_BT, cfg, edits=ablate).logits_BTV)(params)
    np.testing.assert_allclose(edited, forward(without, tokens_BT, cfg).logits_BTV, **CLOSE)


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


@pytest.mark.parametrize("remat", ["none", "full"])
def test_an_edit_has_a_gradient(cfg, params, remat):
    """Adding x to the last residual and to the input of the last norm's output moves the loss by slope . x."""
    cfg = dataclasses.replace(cfg, remat=remat)

    def shifted(shift_LBTD):
        edits = {"residual_out": lambda x_BTD, layer: x_BTD + shift_LBTD[layer]}
        return mean_nll(params, tokens_BT, cfg, edits=edits)

    shifted = jax.jit(shifted)
    direction_LBTD = jax.random.normal(jax.random.key(5), (3, 8, 12, 16))
    for layer in range(3):
        step_LBTD = 1e-2 * jnp.zeros_like(direction_LBTD).at[layer].set(direction_LBTD[layer])
        slope = jax.jit(jax.grad(shifted))(jnp.zeros_like(direction_LBTD))
        measured = shifted(step_LBTD) - shifted(-step_LBTD)
        np.testing.assert_allclose(2 * jnp.vdot(slope, step_LBTD), measured, rtol=0.02, atol=1e-5)


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
    assert plain == trace(edits={point: lambda x, layer: x for point in gpt.POINTS})[0]
    assert plain != trace(edits={"mlp_out": lambda x, layer: x * 2})[0]


@pytest.mark.parametrize("asked", [dict(edits={"mlp_outt": None}), dict(capture=("mlp_outt",))], ids=str)
def test_an_unknown_point_is_refused_by_name(cfg, params, asked):
    with pytest.raises(KeyError, match="mlp_outt.*residual_in"):
        gpt.forward(params, tokens_BT, cfg, **asked)
