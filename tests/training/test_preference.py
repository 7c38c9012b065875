"""DPO's loss and gradient against the formula, pair by pair; the reference stays where it was."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax import tree
from gptjax.model import gpt, lora
from gptjax.training import preference, sharding, step
from tests.tiny import make_config, make_pairs, mesh_of

PAIRS = ("init_from=x", "data.corpora=preferences:x", "dpo.beta=0.3", "batch_tokens=64", "model.attention=reference")
CFG, ADAPTED = make_config(*PAIRS), make_config(*PAIRS, "lora.rank=2")


def state_of(cfg):
    """A state that has moved away from its reference."""
    state = step.init_state(cfg, mesh_of(1, 1, 1, 1))
    moved = lambda name, x: x if "reference" in name else x + 0.05 * jax.random.normal(jax.random.key(x.size), x.shape)
    return state._replace(params=tree.map_named(moved, state.params))


def expected(policy, reference, batch):
    """Mean of equation 7 over the pairs, each dialog alone in its row; accuracy and margin too."""

    alone = lambda x_BT: jnp.asarray(x_BT.reshape(16, 4)[:14])  # the last row has one pair
    given_Nt, targets_Nt = alone(batch.inputs_BT), alone(batch.targets_BT)

    def log_likelihood_N(params):
        log_p_NtV = jax.nn.log_softmax(gpt.forward(params, given_Nt, CFG.model).logits_BTV)
        return jnp.take_along_axis(log_p_NtV, targets_Nt[..., None], axis=-1).sum(axis=(1, 2))

    ratio_N = log_likelihood_N(policy) - log_likelihood_N(reference)
    margin_P = 0.3 * (ratio_N[::2] - ratio_N[1::2])
    return -jnp.mean(jnp.log(jax.nn.sigmoid(margin_P))), margin_P


@pytest.mark.parametrize("chunks", [1, 4])
def test_loss_and_gradient_are_those_of_the_formula(chunks):
    cfg, batch = dataclasses.replace(CFG, loss=dataclasses.replace(CFG.loss, n_chunks=chunks)), make_pairs(CFG)
    params = state_of(cfg).params
    policy, reference = {name: params[name] for name in params if name != "reference"}, params["reference"]
    by_hand = jax.jit(jax.value_and_grad(functools.partial(expected, batch=batch), has_aux=True))
    (loss, margin_P), grads = by_hand(policy, reference)
    sums, found = jax.jit(functools.partial(step.summed_gradients, cfg=cfg, key=None, unpack=None))(params, batch)
    assert sums["pairs"] == len(margin_P) == 7
    rates = preference.rates(sums, "train")
    assert rates["train/dpo_loss"] == pytest.approx(float(loss), rel=1e-5) and abs(loss - np.log(2)) > 0.01
    assert rates["train/dpo_margin"] == pytest.approx(float(margin_P.mean()), rel=1e-3)
    assert rates["train/dpo_accuracy"] == pytest.approx(float((margin_P > 0).mean())) and 0 < (margin_P > 0).mean() < 1
    close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5)
    jax.tree.map(lambda one, other: close(one / 7, other), found, grads)


def test_the_reference_of_adapters_is_the_model_without_them():
    params, batch = state_of(ADAPTED).params, make_pairs(ADAPTED)
    base = {name: leaf for name, leaf in tree.named(params).items() if "_lora_" not in name}
    merged = lora.merged(params, ADAPTED.lora)
    sums = jax.jit(functools.partial(preference.summed, cfg=ADAPTED))(params, batch)[1]
    whole = jax.jit(functools.partial(preference.summed, cfg=CFG))(merged | {"reference": tree.nested(base)}, batch)[1]
    for name in preference.SUMS:
        assert float(sums[name]) == pytest.approx(float(whole[name]), rel=1e-4), name


def test_parts_of_a_batch_add_up_and_the_reference_stays():
    on, batch = mesh_of(1, 1, 1, 1), make_pairs(CFG)
    found = []
    for n in (1, 2):
        cfg = dataclasses.replace(CFG, accumulate=n)
        before = state_of(cfg)
        reference = jax.device_get(before.params["reference"])
        state, metrics = step.make_update(cfg, on)(before, sharding.put(batch, on))
        jax.tree.map(np.testing.assert_array_equal, state.params["reference"], reference)
        assert not any("reference" in name for name in tree.named(state.opt_state))
        found.append({name: float(value) for name, value in metrics.items()})
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    assert {"train/nll", "train/dpo_loss", "train/dpo_accuracy", "train/dpo_margin"} <= found[0].keys()
