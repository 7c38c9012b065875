"""Adapters: no change at first, what the paper says afterwards, and never a second model in memory."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from gptjax import config, tree
from gptjax.config import BadInput, LoraConfig
from gptjax.model import adapters, gpt, lora
from gptjax.planning import parameters
from gptjax.training import sharding
from tests.tiny import make_config, mesh_of

CFG = make_config("model.mlp=swiglu", "model.n_kv_heads=2", "model.tied=false", "init_from=x", "lora.matrices=.*")
LORA = LoraConfig(3, 6.0, ".*")
TOKENS_BT = jnp.asarray(np.random.default_rng(0).integers(0, 64, (2, 16)), jnp.int32)


@functools.cache
def weights():
    return jax.jit(gpt.init, static_argnames="cfg")(jax.random.key(0), CFG.model)


@functools.cache
def fresh():
    return jax.jit(functools.partial(lora.with_adapters, cfg=LORA))(jax.random.key(1), weights())


def trained():
    """With adapters that have learned something."""
    draw = lambda name, leaf: jnp.asarray(np.random.default_rng(leaf.size).normal(size=leaf.shape) / 10, jnp.float32)
    return tree.map_named(lambda name, leaf: draw(name, leaf) if adapters.is_adapter(name) else leaf, fresh())


@functools.partial(jax.jit, static_argnames="merge")
def logits(params, merge):
    return gpt.forward(params, TOKENS_BT, CFG.model, merge=merge).logits_BTV


MERGE = lora.merging(LORA)


def test_fresh_adapters_change_no_bit():
    assert sum(map(adapters.is_adapter, tree.named(fresh()))) == 2 * len(adapters.FORMS)
    np.testing.assert_array_equal(logits(fresh(), MERGE), logits(weights(), None))


def test_fresh_adapters_are_those_of_peft():
    for name, leaf in tree.named(fresh()).items():
        if adapters.is_adapter(name):
            zero = (adapters.A if name.split("_lora")[0] in adapters.LOOKUPS else adapters.B) in name
            assert np.all(leaf == 0) if zero else np.std(leaf) > 0
    spread = np.abs(fresh()["blocks"]["attn"]["w_q_lora_a"])
    bound = 1 / math.sqrt(CFG.model.d_model)
    assert 0.95 * bound < spread.max() <= bound and np.std(fresh()["w_tok_lora_b"]) == pytest.approx(1, rel=0.3)


@pytest.mark.parametrize("name", adapters.FORMS)
def test_merged_is_applied(name):
    """x (w + alpha / rank a b) beside x w + alpha / rank (x a) b, by matrices alone (Hu et al. 2021, equation 3)."""
    leaves, layer = tree.named(trained()), np.index_exp[1] if "/" in name else np.index_exp[:]
    key = ("blocks/" if "/" in name else "") + name
    w, a, b = (np.asarray(leaves[key + suffix][layer], np.float64) for suffix in ("", adapters.A, adapters.B))
    merged = np.asarray(tree.named(lora.merged(trained(), LORA))[key][layer], np.float64)
    if name == "mlp/w_in":  # each gate for itself
        w, a, b, merged = w[1], a[1], b[1], merged[1]
    if name == "w_head":
        w, merged = w.T, merged.T
    ins = math.prod(a.shape[:-1])
    x = np.random.default_rng(1).normal(size=(5, ins))
    flat = lambda matrix: matrix.reshape(ins, -1)
    applied = x @ flat(w) + 6.0 / 3 * (x @ flat(a)) @ b.reshape(3, -1)
    assert np.abs(x @ flat(w) - applied).max() > 0.05
    np.testing.assert_allclose(x @ flat(merged), applied, rtol=0, atol=1e-5)


def test_a_model_merged_beforehand_is_one_merged_layer_by_layer():
    beforehand, inside = logits(lora.merged(trained(), LORA), None), logits(trained(), MERGE)
    np.testing.assert_allclose(beforehand, inside, rtol=0, atol=1e-5)
    assert np.abs(inside - logits(weights(), None)).max() > 0.05


def test_no_gradient_of_a_whole_stack_is_made():
    """The backward pass of one layer makes its matrix's gradient, and keeps the adapters' alone."""
    model = dataclasses.replace(CFG.model, remat="full", n_layers=5)
    shapes = jax.eval_shape(functools.partial(gpt.init, cfg=model), jax.random.key(0))
    params = jax.eval_shape(functools.partial(lora.with_adapters, cfg=LORA), jax.random.key(0), shapes)
    leaves = tree.named(params)
    small, large = ({n: x for n, x in leaves.items() if adapters.is_adapter(n) == kind} for kind in (True, False))

    def total(small, large):
        return gpt.forward(tree.nested(small | large), TOKENS_BT, model, merge=MERGE).logits_BTV.sum()

    made = [var.aval.shape for eqn in equations(jax.make_jaxpr(jax.grad(total))(small, large).jaxpr) for var in eqn]
    stacks = {leaf.shape for name, leaf in large.items() if "/w_" in name}
    assert len(stacks) > 3 and not stacks & set(made)
    assert {leaf.shape for name, leaf in small.items() if "/w_" in name} <= set(made)
    whole = jax.make_jaxpr(jax.grad(lambda large: total(small_zeros(small), large)))(large)
    assert stacks <= {var.aval.shape for eqn in equations(whole.jaxpr) for var in eqn}


def small_zeros(small):
    return {name: jnp.zeros(leaf.shape) for name, leaf in small.items()}


def equations(jaxpr):
    """What every equation gives, at any depth."""
    for eqn in jaxpr.eqns:
        yield eqn.outvars
        for inner in core.jaxprs_in_params(eqn.params):
            yield from equations(inner)


def test_adapters_lie_where_the_formula_says():
    found = parameters.with_adapters(dataclasses.replace(CFG, lora=LORA))
    shapes = {name: leaf.shape for name, leaf in tree.named(fresh()).items()}
    assert {name: one.shape for name, one in found.items()} == shapes
    on = mesh_of(1, 2, 2, 1)
    for name, one in found.items():
        if adapters.is_adapter(name):
            spec = tuple(sharding.spec(name, one.shape, on))
            assert one.axes == spec + (None,) * (len(one.axes) - len(spec)), name


@pytest.mark.parametrize(
    ("cfg", "says"),
    [
        (LoraConfig(2, 1.0, "attn/w_q"), "fits no matrix; did you mean blocks/attn/w_"),
        (LoraConfig(2, 1.0, "blocks/attn/b_q"), "fits no matrix"),
        (LoraConfig(33, 1.0, ".*/w_q"), "blocks/attn/w_q has 32 inputs and 32 outputs; try 32"),
    ],
)
def test_adapters_that_cannot_be_are_refused(cfg, says):
    with pytest.raises(BadInput, match=says):
        lora.with_adapters(jax.random.key(0), weights(), cfg)


def test_adapters_of_gpt2_are_less_than_a_hundredth():
    cfg = config.load("configs/gpt2_124m.py", ["lora.rank=8", "init_from=gpt2"])
    assert parameters.count(cfg) == (294_912, 124_632_576)
