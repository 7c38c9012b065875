"""The function that the model computes: causal, calibrated at the start, the same however it is compiled."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax import tree
from gptjax.config import BadInput
from gptjax.model import gpt
from tests.model.small import (
    CLOSE,
    CONFIGS,
    forward,
    in_float64,
    init,
    later_changed,
    mean_nll,
    nll,
    nll_and_grad,
    noisy,
    tokens_BT,
)

NAMES = {  # shapes at V 64, D 16, N 4, H 4, F 32, L 2, context 16
    "both": {
        "w_tok": (64, 16),
        "norm_out/scale": (16,),
        "blocks/norm_attn/scale": (2, 16),
        "blocks/norm_mlp/scale": (2, 16),
        "blocks/attn/w_q": (2, 16, 4, 4),
        "blocks/attn/w_out": (2, 4, 4, 16),
        "blocks/mlp/w_out": (2, 32, 16),
    },
    "gpt2": {
        "w_pos": (16, 16),
        "norm_out/bias": (16,),
        "blocks/norm_attn/bias": (2, 16),
        "blocks/norm_mlp/bias": (2, 16),
        "blocks/attn/w_k": (2, 16, 4, 4),
        "blocks/attn/w_v": (2, 16, 4, 4),
        "blocks/attn/b_q": (2, 4, 4),
        "blocks/attn/b_k": (2, 4, 4),
        "blocks/attn/b_v": (2, 4, 4),
        "blocks/attn/b_out": (2, 16),
        "blocks/mlp/w_in": (2, 1, 16, 32),
        "blocks/mlp/b_in": (2, 1, 32),
        "blocks/mlp/b_out": (2, 16),
    },
    "modern": {
        "w_head": (64, 16),
        "blocks/attn/w_k": (2, 16, 2, 4),
        "blocks/attn/w_v": (2, 16, 2, 4),
        "blocks/attn/norm_q/scale": (2, 4),
        "blocks/attn/norm_k/scale": (2, 4),
        "blocks/mlp/w_in": (2, 2, 16, 32),
    },
}


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_have_stable_names_and_shapes(name):
    params = jax.eval_shape(lambda: gpt.init(jax.random.key(0), CONFIGS[name]))
    assert type(params) is dict and type(params["blocks"]["attn"]) is dict
    assert {leaf: array.shape for leaf, array in tree.named(params).items()} == NAMES["both"] | NAMES[name]
    assert {array.dtype for array in tree.named(params).values()} == {jnp.dtype("float32")}


def test_fresh_parameters_are_drawn_as_for_gpt2(cfg):
    """Deviation 0.02, and less for what is added to the residual stream; no bias; no two layers alike.

    So the first loss is ln of the vocabulary, not of its padded size (59 and 64: 0.08 nats apart).
    """
    cfg = dataclasses.replace(cfg, d_model=64, d_hidden=256)
    params = init(jax.random.key(0), cfg=cfg)
    for name, leaf in tree.named(params).items():
        kind = name.split("/")[-1]
        if kind.startswith("w_"):
            expected = 0.02 / 2 if kind == "w_out" else 0.02
            np.testing.assert_allclose(np.std(leaf), expected, rtol=0.1, err_msg=name)
        else:
            np.testing.assert_array_equal(leaf, 1 if kind == "scale" else 0)
    w_LDNH = params["blocks"]["attn"]["w_q"]
    assert abs(np.corrcoef(np.ravel(w_LDNH[0]), np.ravel(w_LDNH[1]))[0, 1]) < 0.1
    assert abs(nll(params, tokens_BT, cfg) - np.log(cfg.vocab_size)) < 0.03


@pytest.mark.parametrize("t", [0, 5, 10])
def test_logits_ignore_the_future(cfg, params, t):
    seen, changed = (forward(params, x_BT, cfg).logits_BTV for x_BT in (tokens_BT, later_changed(t)))
    np.testing.assert_array_equal(seen[:, : t + 1], changed[:, : t + 1])
    assert not np.allclose(seen[:, t + 1, : cfg.vocab_size], changed[:, t + 1, : cfg.vocab_size])


def test_padding_of_the_vocabulary_gets_neither_probability_nor_gradient(cfg, params):
    probs_BTV = jax.nn.softmax(forward(params, tokens_BT, cfg).logits_BTV)
    assert probs_BTV.shape[-1] == 64 and not np.any(probs_BTV[..., cfg.vocab_size :])
    slope = nll_and_grad(params, tokens_BT, cfg)[1]
    head_VD = slope["w_tok" if cfg.tied else "w_head"]
    assert not np.any(head_VD[cfg.vocab_size :]) and np.all(np.any(head_VD[: cfg.vocab_size], axis=1))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))


@pytest.mark.parametrize("variant", [dict(scan=False, remat="dots"), dict(remat="full")], ids=str)
def test_scan_and_remat_change_no_number(cfg, params, variant):
    """Loss and gradients to 1e-10 in float64, relative to the largest entry of each parameter's gradient."""
    with jax.enable_x64(True):
        with_cfg = lambda cfg: nll_and_grad(in_float64(params), tokens_BT, cfg)
        assert_relatively_close(with_cfg(cfg), with_cfg(dataclasses.replace(cfg, **variant)), "float64", 1e-10)


@pytest.mark.parametrize("variant", [dict(scan=False, remat="dots"), dict(remat="full")], ids=str)
def test_scan_and_remat_drop_the_same_units(variant):
    cfg = dataclasses.replace(CONFIGS["gpt2"], dropout=0.3)
    with_cfg = lambda cfg: nll_and_grad(noisy(CONFIGS["gpt2"]), tokens_BT, cfg, key=jax.random.key(2, impl="rbg"))
    assert_relatively_close(with_cfg(cfg), with_cfg(dataclasses.replace(cfg, **variant)), "float32", 1e-5)


def assert_relatively_close(a, b, dtype, tolerance):
    """A bias of the keys shifts all scores of a query alike: its true gradient is 0 on the scale of b_q's."""
    a, b = tree.named(a), tree.named(b)
    scale = {name: np.abs(leaf).max() for name, leaf in a.items()}
    for name, leaf in a.items():
        assert leaf.dtype == b[name].dtype == dtype
        if name.endswith("b_k"):
            at_most = tolerance * scale[name.replace("b_k", "b_q")]
            assert np.abs(leaf).max() < at_most and np.abs(b[name]).max() < at_most
        else:
            np.testing.assert_allclose(leaf, b[name], rtol=0, atol=tolerance * scale[name], err_msg=name)


def test_remat_holds_less_and_recomputes_what_it_says():
    """In the one compiled layer, dots repeats the scores and their mixing, full the 5 matmuls that others read."""

    def lowered(remat):
        return nll_and_grad.lower(noisy(CONFIGS["gpt2"]), tokens_BT, dataclasses.replace(CONFIGS["gpt2"], remat=remat))

    none, dots, full = map(lowered, ("none", "dots", "full"))
    n_matmuls = [step.as_text().count("stablehlo.dot_general") for step in (none, dots, full)]
    assert np.diff(n_matmuls).tolist() == [2, 3]
    analyses: list[Any] = [step.compile().memory_analysis() for step in (none, dots, full)]
    held, held_dots, held_full = (analysis.temp_size_in_bytes for analysis in analyses)
    assert held_full < held_dots < 0.7 * held


def test_written_out_layers_are_recomputed_too():
    """Without a barrier the compiler would merge each recomputed GELU with the one in the forward pass."""
    cfg = dataclasses.replace(CONFIGS["gpt2"], remat="dots", scan=False)
    compiled = nll_and_grad.lower(noisy(CONFIGS["gpt2"]), tokens_BT, cfg).compile()
    assert str(compiled.as_text()).count(" tanh(") == 2 * cfg.n_layers


@pytest.mark.parametrize("scan", [True, False])
def test_scan_is_one_loop_and_unrolled_is_none(cfg, params, scan):
    cfg = dataclasses.replace(cfg, scan=scan)
    assert (" while(" in str(forward.lower(params, tokens_BT, cfg).compile().as_text())) == scan


def test_logits_that_nobody_reads_are_not_computed(cfg, params):
    def compiled(read):
        forward = jax.jit(lambda params: read(gpt.forward(params, tokens_BT, cfg, capture=("final",))))
        return str(forward.lower(params).compile().as_text())

    assert "[8,12,64]" in compiled(lambda out: out.logits_BTV)
    assert "[8,12,64]" not in compiled(lambda out: out.activations["final"])


def test_unembed_of_the_final_activation_is_the_logits(cfg, params):
    cfg = dataclasses.replace(cfg, logit_softcap=2.0)
    out = forward(params, tokens_BT, cfg, capture=("final",))
    assert out.activations["final"].shape == (8, 12, 16)
    logits_BTV = jax.jit(gpt.unembed, static_argnames="cfg")(params, out.activations["final"], cfg)
    np.testing.assert_allclose(logits_BTV, out.logits_BTV, **CLOSE)


def test_softcap_bounds_the_logits(cfg, params):
    free, capped = (
        forward(params, tokens_BT, dataclasses.replace(cfg, logit_softcap=c)).logits_BTV[..., : cfg.vocab_size]
        for c in (0.0, 0.5)
    )
    assert np.abs(free).max() > 1
    np.testing.assert_allclose(capped, 0.5 * np.tanh(free / 0.5), **CLOSE)


def test_bfloat16_is_close_and_its_logits_are_float32(cfg, params):
    narrow = dataclasses.replace(cfg, dtype="bfloat16")
    a, b = (forward(params, tokens_BT, c, capture=("attn_probs", "residual_out")) for c in (cfg, narrow))
    assert b.logits_BTV.dtype == b.activations["attn_probs"].dtype == jnp.float32
    assert b.activations["residual_out"].dtype == jnp.bfloat16
    np.testing.assert_allclose(b.activations["attn_probs"].sum(-1), 1, rtol=1e-6)  # not so for a bfloat16 softmax
    a_BTV, b_BTV = (out.logits_BTV[..., : cfg.vocab_size] for out in (a, b))
    assert 0 < np.std(a_BTV - b_BTV) < 0.02 * np.std(a_BTV)  # one rounding is 0.002


def test_packed_documents_read_as_if_alone(cfg, params):
    columns_BT = jnp.broadcast_to(jnp.arange(12)[None], (8, 12))
    segments_BT = jnp.where(columns_BT < 5, 0, 1)
    positions_BT = jnp.where(columns_BT < 5, columns_BT, columns_BT - 5)
    packed = forward(params, tokens_BT, cfg, segments_BT=segments_BT, positions_BT=positions_BT).logits_BTV
    np.testing.assert_allclose(packed[:, :5], forward(params, tokens_BT[:, :5], cfg).logits_BTV, **CLOSE)
    np.testing.assert_allclose(packed[:, 5:], forward(params, tokens_BT[:, 5:], cfg).logits_BTV, **CLOSE)


def test_parallel_blocks_read_one_norm(cfg):
    """x + attn(norm(x)) + mlp(norm(x)): what attention writes does not reach the MLP of its own layer."""
    cfg = dataclasses.replace(cfg, parallel=True)
    params = noisy(cfg)
    assert "norm_mlp" not in params["blocks"]

    @jax.jit
    def layer_0(scale):
        edits = {"attn_out": lambda x_BTD, layer: scale * x_BTD}
        seen = gpt.forward(params, tokens_BT, cfg, edits=edits, capture=("mlp_out", "residual_out")).activations
        return seen["mlp_out"][0], seen["residual_out"][0]

    (mlp, out), (mlp_without, out_without) = layer_0(1.0), layer_0(0.0)
    np.testing.assert_array_equal(mlp, mlp_without)
    assert np.abs(out - out_without).max() > 0.1


def test_qk_norm_makes_attention_blind_to_the_scale_of_queries_and_keys(params, cfg):
    cfg = dataclasses.replace(cfg, qk_norm=True, bias=False, norm_eps=0.0)
    params = noisy(cfg)
    attn = params["blocks"]["attn"]
    louder = params | {"blocks": params["blocks"] | {"attn": attn | {"w_q": 3 * attn["w_q"], "w_k": 5 * attn["w_k"]}}}
    a, b = (forward(p, tokens_BT, cfg).logits_BTV for p in (params, louder))
    np.testing.assert_allclose(a, b, **CLOSE)


def test_rope_sees_only_distances():
    cfg = CONFIGS["modern"]

    def logits_at(positions_T):
        positions_BT = jnp.broadcast_to(positions_T[None], tokens_BT.shape)
        return forward(noisy(cfg), tokens_BT, cfg, positions_BT=positions_BT).logits_BTV[..., : cfg.vocab_size]

    near, far, stretched = map(logits_at, (jnp.arange(12), 100 + jnp.arange(12), 2 * jnp.arange(12)))
    np.testing.assert_allclose(near, far, atol=1e-4)
    assert np.abs(near - stretched).max() > 0.1


def test_more_positions_than_learned_are_refused_by_name():
    cfg = dataclasses.replace(CONFIGS["gpt2"], context=11)
    with pytest.raises(BadInput, match="12 slots.*model.context=11"):
        gpt.forward(noisy(cfg), tokens_BT, cfg)


def test_the_config_is_a_static_argument(cfg, params):
    traces = []
    step = jax.jit(lambda params, cfg: traces.append(1) or mean_nll(params, tokens_BT, cfg), static_argnames="cfg")
    step(params, cfg=cfg)
    step(params, cfg=dataclasses.replace(cfg))
    assert len(traces) == 1
