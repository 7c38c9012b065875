"""Terms of a logit add up to it, and the gradient says how it moves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.insight import attribution, contrast
from gptjax.model import gpt
from tests.insight.asked import CLOSE, CONFIGS, base_BT, question, source_BT
from tests.model.small import forward, in_float64


def added(found: attribution.Direct) -> np.ndarray:
    of_layers = found.heads_LBTN.sum((0, 3)) + found.attn_bias_LBT.sum(0) + found.mlp_LBT.sum(0)
    return np.asarray(found.embedding_BT + of_layers + found.norm_bias_BT)


def uncapped(logits, cfg):
    """The logits before the soft-cap."""
    return cfg.logit_softcap * np.arctanh(logits / cfg.logit_softcap) if cfg.logit_softcap else logits


@pytest.mark.parametrize("cfg", CONFIGS.values(), ids=CONFIGS)  # biases have terms of their own
def test_terms_add_up_to_the_logits(cfg, params):
    right_BT, wrong_BT = source_BT, (source_BT + 7) % cfg.vocab_size
    with jax.enable_x64():
        params = in_float64(params)
        logits_BTV = uncapped(np.asarray(forward(params, base_BT, cfg).logits_BTV)[..., :59], cfg)
        both = [attribution.direct(params, base_BT, right_BT, t, cfg) for t in (wrong_BT, None)]
        sums = [(added(found), np.asarray(found.total_BT)) for found in both]
    right, wrong = (np.take_along_axis(logits_BTV, np.asarray(t)[..., None], -1)[..., 0] for t in (right_BT, wrong_BT))
    for (sum_BT, total_BT), expected_BT in zip(sums, (right - wrong, right), strict=True):
        np.testing.assert_allclose(total_BT, expected_BT, rtol=0, atol=1e-10)
        np.testing.assert_allclose(sum_BT, expected_BT, rtol=0, atol=1e-10)


def test_a_term_is_what_the_logit_loses_with_it(cfg, params):
    """The last norm's scale held, a head that is taken out of the last layer's sum takes its term along."""
    found = attribution.direct(params, base_BT, source_BT, None, cfg)
    np.testing.assert_allclose(added(found), found.total_BT, **CLOSE)  # in float32 too
    seen = forward(params, base_BT, cfg, capture=("mixed_heads", "residual_out")).activations
    written_BTD = jnp.einsum("BTH,HD->BTD", seen["mixed_heads"][1][:, :, 2], params["blocks"]["attn"]["w_out"][1, 2])
    stream_BTD = seen["residual_out"][-1]
    centred = lambda x: x - x.mean(-1, keepdims=True) if cfg.norm == "layer" else x
    scale_BT1 = 1 / jnp.sqrt((centred(stream_BTD) ** 2).mean(-1, keepdims=True) + cfg.norm_eps)
    lost_BTD = centred(written_BTD) * scale_BT1 * params["norm_out"]["scale"][None, None]
    head_VD = params["w_tok" if cfg.tied else "w_head"]
    np.testing.assert_allclose(found.heads_LBTN[1, :, :, 2], (lost_BTD * head_VD[source_BT]).sum(-1), **CLOSE)


def test_the_gradient_says_how_an_input_moves_the_answer(cfg, params):
    """Against a small step along each embedding, in float64."""
    with jax.enable_x64():
        wide = jax.tree.map(jnp.asarray, in_float64(params))
        found_BT = np.asarray(attribution.gradient_x_input(wide, base_BT, question, cfg))
        assert found_BT.dtype == np.float64

        @jax.jit
        def answered(at, step):
            here_1T1 = (jnp.arange(10) == at)[None, :, None]
            scaled = lambda x, layer: jnp.where((layer == 0) & here_1T1, x * (1 + step), x)
            run = gpt.forward(wide, base_BT, cfg, edits={"residual_in": scaled}, capture=("final",))
            return contrast.measured(wide, run.activations["final"], question, cfg)

        for at in (0, 3, 7):
            slope_B = (answered(at, 1e-5) - answered(at, -1e-5)) / 2e-5
            np.testing.assert_allclose(found_BT[:, at], slope_B, rtol=1e-6, atol=1e-9)
    assert not found_BT[1, 6:].any() and np.abs(found_BT[1, :6]).min() > 1e-6  # asked after position 5
