"""Private gradients, held against gradients taken one example at a time and clipped in NumPy."""

import dataclasses
import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies

from gptjax import tree
from gptjax.config import BadInput
from gptjax.model import lora
from gptjax.training import loss, private, sharding, step, tuning
from tests.tiny import make_batch, make_config, mesh_of

ONE, CLIP = (1, 1, 1, 1), 0.3
PRIVATE = [f"privacy.clip_norm={CLIP}", "privacy.noise_multiplier=2", "privacy.max_batch=8", "batch_tokens=64"]
SMALL = ["model.n_layers=2", "model.d_model=16", "model.n_heads=2", "model.n_kv_heads=2", "model.d_hidden=16"]
SGD = ["optim.name=sgd", "optim.clip_norm=0", "optim.peak_lr=1", "optim.schedule=constant", "optim.weight_decay=0"]
MODERN = (
    "model.mlp=swiglu", "model.norm=rms", "model.tied=false", "model.qk_norm=true", "model.scan=false",
    "loss.z_weight=1e-3", "loss.n_chunks=2",
)  # fmt: skip
ADAPTED = ("init_from=x", "lora.rank=2", "lora.matrices=.*", "model.remat=full")
FROZEN = ("tune.patterns=w_tok,blocks/.*/mlp/w_in", "tune.rates=0,0", "accumulate=2")
USUAL = [((), "vmap"), ((), "ghost"), (MODERN, "vmap")]
RARE = [(MODERN, "ghost"), (ADAPTED, "ghost"), (ADAPTED, "vmap"), (FROZEN, "vmap"), (FROZEN, "ghost")]
KINDS = [*USUAL, *(pytest.param(*kind, marks=pytest.mark.prove) for kind in RARE)]


def private_config(*overrides):
    return make_config(*SMALL, *SGD, "optim.warmup_steps=0", *PRIVATE, *overrides)


def private_batch(cfg):
    """Six rows of uneven weights, and two that are empty."""
    batch = make_batch(dataclasses.replace(cfg, batch_tokens=128), weights="uneven")
    weights_BT = batch.weights_BT.copy()
    weights_BT[:, 0], weights_BT[[2, 7]] = 1, 0
    return batch._replace(weights_BT=weights_BT)


def weights_of(cfg):
    """Parameters of which no gradient is 0 for being fresh: adapters' products are 0 at first."""
    params = step.init_state(cfg, mesh_of(*ONE)).params
    return jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(leaf.size), leaf.shape), params)


@functools.cache
def setting(overrides, method):
    """The sums of a batch under a method, jitted; the parameters and the batch."""
    cfg, on = private_config(*overrides, f"privacy.method={method}"), mesh_of(*ONE)
    sums = jax.jit(lambda params, batch: step.over_mesh(params, batch, cfg, None, on))
    return cfg, sums, weights_of(cfg), private_batch(cfg)


@functools.cache
def one_by_one(overrides):
    """Flat gradients of every example of the batch by what is trained, without any code of private.py: (B, P)."""
    cfg, _, params, batch = setting(overrides, "ghost")
    trained, frozen = tuning.split(params, cfg)

    @jax.jit
    def of_row(trained, row):
        def mean(trained):
            whole = tree.joined(trained, frozen)
            total, found = loss.summed(whole, row, cfg.model, cfg.loss, merge=lora.merging(cfg.lora))
            return total / jnp.maximum(found["n_tokens"], 1)

        return jax.grad(mean)(trained)

    rows = [jax.tree.map(lambda x_BT, at=at: x_BT[at : at + 1], batch) for at in range(8)]
    return np.stack([flat(of_row(trained, row)) for row in rows])


def flat(grads):
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(grads)])


def clipped_slowly(grads_BP):
    norms_B = np.linalg.norm(grads_BP, axis=1)
    return (grads_BP * np.minimum(1, CLIP / np.maximum(norms_B, 1e-30))[:, None]).sum(0)


@pytest.mark.parametrize(("overrides", "method"), KINDS)
def test_the_sum_is_that_of_gradients_clipped_one_by_one(overrides, method):
    grads_BP = one_by_one(overrides)
    norms_B = np.linalg.norm(grads_BP, axis=1)
    assert norms_B[2] == norms_B[7] == 0 and norms_B.max() > CLIP, "some are clipped, and empty rows have none"
    _, sums, params, batch = setting(overrides, method)
    found, grads = sums(params, batch)
    np.testing.assert_allclose(flat(grads), clipped_slowly(grads_BP), rtol=0, atol=1e-5 * CLIP)
    assert np.isfinite(found["nll"]) and found["nll"] > 0


@pytest.mark.parametrize("method", ["ghost", "vmap"])
def test_one_example_moves_the_sum_by_clip_norm_at_most(method):
    _, sums, params, batch = setting((), method)
    whole = flat(sums(params, batch)[1])
    moved = []
    for left_out in range(8):
        weights_BT = batch.weights_BT.copy()
        weights_BT[left_out] = 0
        moved.append(np.linalg.norm(whole - flat(sums(params, batch._replace(weights_BT=weights_BT))[1])))
    assert max(moved) <= CLIP * (1 + 1e-6)
    norms_B = np.linalg.norm(one_by_one(()), axis=1)
    np.testing.assert_allclose(moved, np.minimum(norms_B, CLIP), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", ["ghost", "vmap"])
def test_an_example_whose_gradient_is_not_finite_counts_as_none(method):
    _, sums, params, batch = setting((), method)
    params = params | {"w_tok": params["w_tok"].at[63].set(1e30)}
    clean, bad = (x_BT.copy() for x_BT in (batch.inputs_BT, batch.inputs_BT))
    clean[clean == 63], bad[bad == 63] = 1, 1
    targets_BT = np.where(batch.targets_BT == 63, 1, batch.targets_BT)
    bad[4, 3] = 63
    weights_BT = batch.weights_BT.copy()
    weights_BT[4] = 0
    with_it = sums(params, batch._replace(inputs_BT=bad, targets_BT=targets_BT))[1]
    without = sums(params, batch._replace(inputs_BT=clean, targets_BT=targets_BT, weights_BT=weights_BT))[1]
    assert np.isfinite(flat(without)).all()
    moved = np.linalg.norm(flat(with_it) - flat(without))
    assert moved <= CLIP * (1 + 1e-6)


NUMBERS = strategies.one_of(
    strategies.floats(width=32, allow_nan=True, allow_infinity=True, allow_subnormal=True),
    strategies.sampled_from([0.0, 1e-45, 1e-38, 1e-20, 1e19, 3e38, -3e38, np.inf, np.nan]),
)


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(strategies.lists(NUMBERS, min_size=6, max_size=6), strategies.sampled_from([1e-6, 0.3, 1.0, 1e6]))
def test_no_gradient_is_longer_than_clip_norm_whatever_it_holds(numbers, clip_norm):
    grads = {"a": jnp.array(numbers[:4], jnp.float32), "b": {"c": jnp.array(numbers[4:], jnp.float32)}}
    found, by = private.clipped(grads, clip_norm)
    assert np.isfinite(flat(found)).all() and np.linalg.norm(flat(found)) <= clip_norm
    norm = np.linalg.norm(flat(grads))
    if np.isfinite(norm) and 1e-18 < norm < clip_norm:
        np.testing.assert_allclose(flat(found), flat(grads), rtol=0, atol=1.2e-38)  # subnormal numbers may become 0
    assert 0 <= by <= 1


def test_norms_of_many_small_entries_are_not_rounded_away():
    grads = {"w": jnp.full((2**13, 2**13), 1e-3)}  # added one after another in float32 they would end at half of it
    assert np.linalg.norm(np.asarray(private.clipped(grads, 1.0)[0]["w"])) == pytest.approx(1, rel=1e-5)


N_KEYS = 3000


@functools.cache
def updates_of_many_keys():
    """What the step adds to some parameters, for many keys: (K, P), and what the gradients alone would add."""
    cfg, _, params, batch = setting((), "ghost")
    state, batch = step.state_from(params, cfg, mesh_of(*ONE)), jax.tree.map(jnp.asarray, batch)
    names = ("norm_out/scale", "norm_out/bias")

    @jax.jit
    def moved(key):
        after, _ = step.train_step(state, batch, key, cfg=cfg, on=mesh_of(*ONE))
        before, after = tree.named(params), tree.named(after.params)
        return jnp.concatenate([after[name] - before[name] for name in names])

    keys = np.random.default_rng(0).integers(0, 2**32, (N_KEYS, 2), np.uint32)
    found_KP = np.concatenate([np.asarray(jax.vmap(moved)(part), np.float64) for part in np.split(keys, 10)])
    trained, _ = tuning.split(params, cfg)
    sizes = {name: leaf.size for name, leaf in tree.named(trained).items()}
    ends = dict(zip(sizes, np.cumsum(list(sizes.values())), strict=True))
    exact = -clipped_slowly(one_by_one(())) / cfg.mean_rows
    return found_KP, np.concatenate([exact[ends[name] - sizes[name] : ends[name]] for name in names]), cfg


def test_the_update_has_the_mean_and_the_covariance_of_the_slow_reference():
    found_KP, exact_P, cfg = updates_of_many_keys()
    sd = 2 * CLIP / cfg.mean_rows  # noise_multiplier x clip_norm / expected rows, of which 4 are not the 6 that came
    off_P = (found_KP.mean(0) - exact_P) / (sd / N_KEYS**0.5)
    assert np.abs(off_P).max() < 4.5, "of 32 standard normal numbers"
    covariance = np.cov(found_KP.T) / sd**2
    assert np.abs(np.diag(covariance) - 1).max() < 4.5 * (2 / N_KEYS) ** 0.5
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 5 / N_KEYS**0.5, "of 496"
    kurtosis = (((found_KP - exact_P) / sd) ** 4).mean()
    assert kurtosis == pytest.approx(3, abs=5 * (96 / found_KP.size) ** 0.5)


def test_noise_is_of_the_key_and_the_step():
    cfg, grads = private_config(), {"w": jnp.zeros(1000), "b": jnp.zeros(1000)}
    draw = lambda key, at: private.noised(grads, jnp.array(key, jnp.uint32), jnp.int32(at), cfg)
    first = draw([1, 2], 0)
    others = [draw([1, 2], 1)["w"], draw([1, 3], 0)["w"], draw([2, 2], 0)["w"], first["b"]]
    np.testing.assert_array_equal(first["w"], draw([1, 2], 0)["w"])
    assert all(abs(np.corrcoef(first["w"], other)[0, 1]) < 0.15 for other in others)


@pytest.mark.parametrize(
    ("sizes", "overrides"),
    [
        ((2, 2, 2, 1), ("privacy.method=ghost",)),
        pytest.param((1, 8, 1, 1), ("privacy.method=vmap",), marks=pytest.mark.prove),
        pytest.param((1, 8, 1, 1), ("privacy.method=ghost",), marks=pytest.mark.prove),
        pytest.param((1, 2, 2, 2), ("privacy.method=ghost",), marks=pytest.mark.prove),
        pytest.param((1, 4, 2, 1), ("privacy.method=vmap",), marks=pytest.mark.prove),
        pytest.param((2, 1, 2, 2), ("privacy.method=vmap",), marks=pytest.mark.prove),
        pytest.param((2, 2, 1, 1), ("privacy.method=ghost", "accumulate=2", *ADAPTED), marks=pytest.mark.prove),
        pytest.param((1, 4, 1, 1), ("privacy.method=vmap", "accumulate=2", *FROZEN[:2]), marks=pytest.mark.prove),
    ],
)
def test_a_mesh_trains_privately_as_one_device(sizes, overrides):
    cfg = private_config("model.bias=false", "model.norm=rms", *overrides)  # fewer leaves to compile noise for
    found = [after_two(cfg, shape) for shape in (ONE, sizes)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=2e-5), *found)


@functools.cache
def after_two(cfg, sizes):
    on = mesh_of(*sizes)
    state, update = step.init_state(cfg, on), step.make_update(cfg, on)
    for _ in range(2):
        state, metrics = update(state, sharding.put(private_batch(cfg), on), np.array([3, 4], np.uint32))
    assert metrics["update/norm"] > 1
    return jax.device_get(state.params)


def test_layers_frozen_within_a_parameter_are_for_vmap_alone():
    some = private_config("tune.patterns=blocks/0/.*", "tune.rates=0", "privacy.method=ghost")
    with pytest.raises(BadInput, match="try privacy.method='vmap'"):
        private.check(step.abstract_state(some, mesh_of(*ONE)).params, some)
    by_vmap = dataclasses.replace(some, privacy=dataclasses.replace(some.privacy, method="vmap"))
    private.check(step.abstract_state(by_vmap, mesh_of(*ONE)).params, by_vmap)
