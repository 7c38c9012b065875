"""The formulas against the model itself: its parameters, the matmuls in its traced program, and XLA's own count."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import pytest
from jax.extend.core import ClosedJaxpr

from gptjax import config, tree
from gptjax.config import ModelConfig
from gptjax.model import gpt, presets
from gptjax.planning import flops

BASE = config.load("configs/base.py").model
TINY = dataclasses.replace(
    BASE, vocab_size=59, context=16, n_layers=3, d_model=32, d_hidden=80, pad_vocab_to=1, attention="reference"
)
MODERN = dict(position="rope", norm="rms", mlp="swiglu", bias=False, qk_norm=True, tied=False, n_kv_heads=2)
MATMULS = [  # what changes the shape or number of matmuls
    {},
    MODERN,
    dict(n_kv_heads=1),
    dict(mlp="swiglu"),
    dict(parallel=True),
    dict(tied=False, scan=False),
    dict(d_model=48, n_heads=2, n_kv_heads=2, position="rope"),
]
VARIANTS = [
    *MATMULS,
    *({name: value} for name, value in MODERN.items()),
    dict(bias=False, qk_norm=True),
    dict(bias=False, parallel=True),
    dict(mlp="relu2", logit_softcap=30.0),
]


def variant(changes: dict) -> ModelConfig:
    return dataclasses.replace(TINY, **changes)


def shapes(cfg: ModelConfig) -> dict:
    return jax.eval_shape(functools.partial(gpt.init, cfg=cfg), jax.random.key(0))


def loss_and_grad(params: dict, tokens_BT: jax.Array, cfg: ModelConfig):
    def mean_nll(params):
        log_probs_BTV = jax.nn.log_softmax(gpt.forward(params, tokens_BT, cfg).logits_BTV)
        return -log_probs_BTV[:, :, 0].mean()

    return jax.value_and_grad(mean_nll)(params)


def tokens(cfg: ModelConfig, batch: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((batch, cfg.context), jnp.int32)


def matmul_flops(jaxpr) -> int:
    """Two for each multiplication in the matmuls of a traced program, those of loops times their length."""
    total = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            lhs = eqn.invars[0].aval.shape
            total += 2 * math.prod(eqn.outvars[0].aval.shape) * math.prod(lhs[axis] for axis in contracted)
        times = eqn.params["length"] if eqn.primitive.name == "scan" else 1
        inner = [matmul_flops(leaf.jaxpr) for leaf in jax.tree.leaves(eqn.params) if isinstance(leaf, ClosedJaxpr)]
        one_of = eqn.primitive.name == "cond"  # a branch for each platform
        total += times * (max(inner) if one_of else sum(inner))
    return total


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_parameters_are_those_of_the_model(changes):
    cfg = variant(changes)
    assert flops.n_params(cfg) == tree.count(shapes(cfg))


def test_padding_of_the_vocabulary_counts_for_nothing():
    padded = variant(dict(pad_vocab_to=128))
    assert flops.n_params(padded) == flops.n_params(TINY) < tree.count(shapes(padded))
    assert flops.train_flops_per_token(padded) == flops.train_flops_per_token(TINY)


@pytest.mark.parametrize(
    ("preset", "published"),
    [
        (presets.gpt2("124M"), 124_439_808),
        (presets.gpt2("355M"), 354_823_168),
        (presets.gpt2("774M"), 774_030_080),
        (presets.gpt2("1.5B"), 1_557_611_200),
        (presets.llama("1B"), 1_235_814_400),
        (presets.llama("8B"), 8_030_261_248),
    ],
)
def test_published_counts(preset, published):
    assert flops.n_params(variant(preset)) == published


@pytest.mark.parametrize("changes", MATMULS, ids=str)
def test_flops_are_the_matmuls_of_the_program(changes):
    cfg, batch = variant(changes), 2
    traced = jax.make_jaxpr(functools.partial(loss_and_grad, cfg=cfg))(shapes(cfg), tokens(cfg, batch))
    assert matmul_flops(traced.jaxpr) == batch * cfg.context * (flops.train_flops_per_token(cfg) + unseen(cfg))


def unseen(cfg: ModelConfig) -> float:
    """FLOPs a token of attention to what comes after it, which the reference kernel computes and masks."""
    return 3 * cfg.n_layers * 4 * cfg.d_model * (cfg.context - 1) / 2


@pytest.mark.parametrize(
    "changes", [{}, MODERN, dict(parallel=True), dict(n_kv_heads=4, mlp="swiglu"), dict(tied=False)], ids=str
)
def test_flops_agree_with_xla(changes):
    # Wide, so that norms, softmax and activations, which XLA counts too, are below 1 %; lowered, never compiled.
    wide = dict(d_model=4096, n_heads=16, n_kv_heads=16, d_hidden=16_384, n_layers=2, context=64, vocab_size=32_000)
    cfg = variant({**wide, **changes, "scan": False})
    lowered = jax.jit(loss_and_grad, static_argnames="cfg").lower(shapes(cfg), tokens(cfg, 1), cfg=cfg)
    expected = cfg.context * (flops.train_flops_per_token(cfg) + unseen(cfg))
    counted = lowered.cost_analysis()
    assert counted is not None and counted["flops"] == pytest.approx(expected, rel=0.01)


def test_mfu_is_one_at_the_peak_of_all_devices_together():
    cfg = variant(dict(dtype="bfloat16"))
    two = ["TPU v4", "NVIDIA L4"]
    assert flops.mfu((275e12 + 121e12) / flops.train_flops_per_token(cfg), cfg, two) == pytest.approx(1)


def test_mfu_is_blank_where_a_peak_is_unknown():
    cfg = variant(dict(dtype="bfloat16"))
    assert flops.mfu(1e6, cfg, ["TPU v4", "a chip of tomorrow"]) is None
    assert flops.mfu(1e6, cfg, ["cpu"]) is None
    assert flops.mfu(1e6, variant(dict(dtype="float32")), ["TPU v4"]) is None
