"""Frozen parameters and factors of the learning rate: to the last bit, without state, and named or refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax import tree
from gptjax.config import BadInput
from gptjax.planning import parameters
from gptjax.training import sharding, step, tuning
from tests.tiny import make_batch, make_config, mesh_of

ONE = mesh_of(1, 1, 1, 1)
FROZEN = ("tune.patterns=w_tok,w_pos,blocks/0/.*", "tune.rates=0,0,0")

PLAIN = ("optim.name=sgd", "optim.b1=0", "optim.warmup_steps=0", "optim.weight_decay=0")


def updated(n_steps, *overrides):
    """Parameters before and after some updates, the last state and the metrics of the first update."""
    cfg = make_config("optim.weight_decay=0.1", "optim.schedule=constant", "model.attention=reference", *overrides)
    state = step.init_state(cfg, ONE)
    before, update, first = jax.device_get(state.params), step.make_update(cfg, ONE), {}
    for number in range(n_steps):
        state, metrics = update(state, sharding.put(make_batch(cfg, number), ONE))
        first = first or jax.device_get(metrics)
    return before, jax.device_get(state), first


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "adafactor"])
def test_what_is_frozen_keeps_its_bits_and_has_no_state(optimizer):
    before, state, _ = updated(3, *FROZEN, f"optim.name={optimizer}", "optim.ema_decay=0.5")
    old, new, average = (tree.named(params) for params in (before, state.params, state.eval_params))
    for name, leaf in old.items():
        still = [leaf] if name in ("w_tok", "w_pos") else [leaf[0]] if name.startswith("blocks/") else []
        for found in (new, average):
            kept = [found[name]] if name in ("w_tok", "w_pos") else [found[name][0]] if still else []
            assert [x.tobytes() for x in kept] == [x.tobytes() for x in still], name
        learns = leaf[1] if name.startswith("blocks/") else leaf
        assert still and name.startswith("w_") or not np.array_equal(learns, new[name][-1] if still else new[name])
    held = [name for name in tree.named((state.opt_state, state.ema)) if name.endswith(("w_tok", "w_pos"))]
    assert held == []


def test_a_zero_keeps_its_sign():
    cfg = make_config("tune.patterns=blocks/0/.*", "tune.rates=0")
    zeros = {"blocks": {"attn": {"w_q": jnp.array([[-0.0, 0.0], [-0.0, 0.0]])}}}
    updates = tuning.Rates(zeros, cfg).scaled({"blocks": {"attn": {"w_q": jnp.array([[1.0, -1.0], [0.0, 0.0]])}}})
    (kept,) = jax.tree.leaves(jax.tree.map(jnp.add, zeros, updates))
    assert np.signbit(kept[0]).tolist() == [True, False]


def test_frozen_parts_do_not_count_when_gradients_are_clipped():
    """With plain sgd an update is the gradient, clipped, times the learning rate."""
    before, state, metrics = updated(1, *FROZEN, *PLAIN, "optim.clip_norm=0.01")
    moved = jax.tree.map(np.subtract, state.params, before)
    assert metrics["grad/norm"] > 0.1
    assert float(tree.norm(moved)) == pytest.approx(0.01 * 1e-2, rel=1e-3)
    _, grads = jax.jit(functools.partial(step.summed_gradients, cfg=make_config(), key=None, unpack=None))(
        before, make_batch(make_config())
    )
    trained = {name: g[1:] if name.startswith("blocks/") else g for name, g in tree.named(grads).items()}
    del trained["w_tok"], trained["w_pos"]
    assert metrics["grad/norm"] == pytest.approx(float(tree.norm(trained)) / 128, rel=1e-4)
    assert tree.norm(grads) > 1.1 * tree.norm(trained)


def test_the_first_pattern_that_fits_is_the_factor_of_a_layer():
    before, whole, _ = updated(1, *PLAIN, "optim.clip_norm=0")
    slower = ("tune.patterns=blocks/1/attn/w_[qk],blocks/1/.*,norm.*", "tune.rates=0.5,0.1,2")
    _, tuned, _ = updated(1, *PLAIN, *slower, "optim.clip_norm=0")
    for name, leaf in tree.named(before).items():
        moved, now = (tree.named(state.params)[name] - leaf for state in (whole, tuned))
        second = 0.5 if name in ("blocks/attn/w_q", "blocks/attn/w_k") else 0.1
        expected = np.stack([moved[0], second * moved[1]]) if name.startswith("blocks/") else moved
        factor = 2.0 if name.startswith("norm_out") else 1.0
        np.testing.assert_allclose(now, factor * expected, rtol=2e-3, atol=3e-7, err_msg=name)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (["tune.patterns=blocks/attn/w_q", "tune.rates=0"], "did you mean blocks/[01]/attn/w_q"),
        (["tune.patterns=w_token", "tune.rates=0"], "'w_token' fits no parameter.*did you mean w_tok"),
        (["tune.patterns=.*", "tune.rates=0"], "nothing is left to train"),
        (["tune.patterns=w_tok", "tune.rates=0", "lora.rank=2", "init_from=x"], "'w_tok' fits no adapter"),
    ],
)
def test_a_pattern_that_fits_nothing_is_refused_with_the_nearest_name(keys, says):
    with pytest.raises(BadInput, match=says):
        step.abstract_state(make_config(*keys), ONE)


def test_the_formula_counts_what_is_trained():
    cfg = make_config("tune.patterns=w_tok,blocks/0/.*", "tune.rates=0,0", "model.pad_vocab_to=128")
    state = jax.eval_shape(lambda: step.first_state(jax.random.key(0), cfg))
    sizes = {name: leaf.size for name, leaf in tree.named(state.params).items()}
    layers = sum(size for name, size in sizes.items() if name.startswith("blocks/"))
    all_but_padding = sum(sizes.values()) - 64 * 32
    assert parameters.count(cfg) == (all_but_padding - layers // 2 - 64 * 32, all_but_padding)
    assert set(parameters.trained(cfg)) == sizes.keys() - {"w_tok"}
    assert parameters.said(3, 1000) == "1,000 parameters, 3 (0.3%) trained"
    assert parameters.said(*parameters.count(make_config())).endswith("all trained")
