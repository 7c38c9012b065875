import dataclasses
import functools
from typing import Any

import jax
import numpy as np
import pytest

from gptjax import tree
from gptjax.commands.train import trace_update
from gptjax.training import loss, optim, sharding, step
from tests.tiny import make_batch, make_config, mesh_of

ONE = (1, 1, 1, 1)


@functools.cache
def trained(cfg, weights="ones"):
    """Parameters after one update on one device, as NumPy, and the loss before it."""
    mesh = mesh_of(*ONE)
    batch = sharding.put(make_batch(cfg, 0, weights), mesh)
    state, metrics = step.make_update(cfg, mesh)(step.init_state(cfg, mesh), batch)
    return jax.device_get(state.params), float(metrics["train/nll"])


def assert_close(a, b, atol):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=atol), a, b)


def test_one_batch_overfits_and_the_first_loss_is_ln_v():
    cfg = make_config("n_steps=80", "optim.schedule=constant")
    mesh = mesh_of(*ONE)
    state, update, batch = step.init_state(cfg, mesh), step.make_update(cfg, mesh), make_batch(cfg)
    losses = []
    for _ in range(80):
        state, metrics = update(state, sharding.put(batch, mesh))
        losses.append(float(metrics["train/nll"]))
    assert losses[0] == pytest.approx(np.log(64), abs=0.05)
    assert losses[-1] < 0.2
    assert int(state.step) == 80


@pytest.mark.parametrize("weights", ["ones", "uneven"])
def test_accumulated_parts_are_the_whole_batch(weights):
    cfg = make_config("optim.name=sgd", "optim.clip_norm=0", "optim.peak_lr=1")
    whole, whole_loss = trained(cfg, weights=weights)
    parts, parts_loss = trained(dataclasses.replace(cfg, accumulate=4), weights=weights)
    assert_close(whole, parts, 2e-6)
    assert whole_loss == pytest.approx(parts_loss, abs=1e-6)


def test_accumulation_holds_no_second_copy_of_the_gradient():
    small, on, held = (
        ["model.n_layers=8", "model.d_model=128", "model.d_hidden=512", "model.remat=full"],
        mesh_of(*ONE),
        [],
    )
    for n in (1, 4):
        cfg = make_config(f"accumulate={n}", *small)
        compiled: Any = trace_update(cfg, on).compile().memory_analysis()
        held.append(compiled.temp_size_in_bytes)
    gradient = sum(leaf.size * 4 for leaf in jax.tree.leaves(step.abstract_state(cfg, on).params))
    assert held[1] < held[0] + 0.05 * gradient


def test_the_parts_of_a_batch_hold_every_row_once():
    cfg = make_config()
    batch = make_batch(cfg)
    parts = loss.in_parts(batch, 4)
    assert parts.inputs_BT.shape == (4, 2, 16)
    np.testing.assert_array_equal(np.sort(parts.inputs_BT.reshape(-1, 16), axis=0), np.sort(batch.inputs_BT, axis=0))


@pytest.mark.parametrize("sizes", [(1, 8, 1, 1), (2, 2, 2, 1)])
def test_every_mesh_starts_from_the_same_bits(sizes):
    cfg = make_config()
    alone, spread = (jax.device_get(step.init_state(cfg, mesh_of(*s)).params) for s in (ONE, sizes))
    jax.tree.map(np.testing.assert_array_equal, alone, spread)


def test_fsdp_moves_weights_to_the_rows_and_not_rows_to_the_weights():
    """Each of 4 devices has the logits of its own 2 rows of 8, and no device those of all."""
    cfg = make_config("model.n_layers=1", "optim.name=sgd")
    mesh = mesh_of(1, 4, 1, 1)
    batch = sharding.put(make_batch(cfg), mesh)
    hlo = step.make_update(cfg, mesh).lower(step.abstract_state(cfg, mesh), batch).compile().as_text()
    assert "f32[2,16,64]" in hlo and "f32[8,16,64]" not in hlo


def test_the_step_compiles_once():
    cfg = make_config()
    mesh = mesh_of(1, 4, 1, 1)
    state, update = step.init_state(cfg, mesh), step.make_update(cfg, mesh)
    for number in range(3):
        state, _ = update(state, sharding.put(make_batch(cfg, number), mesh))
    assert update._cache_size() == 1


def test_dropout_is_a_function_of_seed_and_step():
    dropped = make_config("model.dropout=0.5")
    first, again, other = (
        trained(dataclasses.replace(dropped, seed=seed), weights=weights)[1]
        for seed, weights in ((0, "ones"), (0, "ones"), (1, "ones"))
    )
    assert first == again and first != other and first != trained(make_config())[1]


def test_dropout_differs_from_step_to_step():
    cfg = make_config("model.dropout=0.5", "optim.peak_lr=0", "optim.weight_decay=0")
    mesh = mesh_of(*ONE)
    state, update, batch = step.init_state(cfg, mesh), step.make_update(cfg, mesh), make_batch(cfg)
    losses = []
    for _ in range(2):
        state, metrics = update(state, sharding.put(batch, mesh))
        losses.append(float(metrics["train/nll"]))
    assert losses[0] != losses[1]


def test_the_average_follows_the_parameters():
    cfg = make_config("optim.ema_decay=0.75")
    mesh = mesh_of(*ONE)
    state = step.init_state(cfg, mesh)
    before = jax.device_get(state.params)
    state, _ = step.make_update(cfg, mesh)(state, sharding.put(make_batch(cfg), mesh))
    expected = jax.tree.map(lambda old, new: 0.75 * old + 0.25 * new, before, jax.device_get(state.params))
    assert_close(jax.device_get(state.eval_params), expected, 1e-6)
    assert tree.named(state.eval_params)["w_tok"] is not tree.named(state.params)["w_tok"]


def test_norms_and_rate_are_those_of_the_update():
    cfg = make_config("optim.name=sgd", "optim.clip_norm=0", "optim.weight_decay=0", "optim.b1=0")
    mesh = mesh_of(*ONE)
    state = step.init_state(cfg, mesh)
    before = jax.device_get(state.params)
    state, metrics = step.make_update(cfg, mesh)(state, sharding.put(make_batch(cfg), mesh))
    moved = jax.tree.map(lambda old, new: new - old, before, jax.device_get(state.params))
    assert float(metrics["update/norm"]) == pytest.approx(float(tree.norm(moved)), rel=1e-3)
    assert float(metrics["update/norm"]) == pytest.approx(
        float(metrics["optim/lr"]) * float(metrics["grad/norm"]), rel=1e-4
    )
    assert float(metrics["param/norm"]) == pytest.approx(float(tree.norm(before)), rel=1e-5)


@pytest.mark.parametrize(
    "kept",
    [
        ("model.saved=mlp_hidden,mixed_heads",),
        ("model.saved=mlp_out", "model.remat=dots"),
        ("model.offloaded=residual_in",),
    ],
)
def test_what_is_saved_changes_no_number(kept):
    plain, nll = trained(make_config("model.remat=full"))
    saving, nll_of_saving = trained(make_config("model.remat=full", *kept))
    assert_close(plain, saving, 1e-6)
    assert nll == pytest.approx(nll_of_saving, abs=1e-6)


def test_named_points_are_saved_and_others_computed_anew():
    def matmuls(*overrides):
        cfg, on = make_config("model.remat=full", *overrides), mesh_of(*ONE)
        batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), make_batch(cfg))
        return step.make_update(cfg, on).lower(step.abstract_state(cfg, on), batch).as_text().count("dot_general")

    assert matmuls("model.saved=attn_out") < matmuls()


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_the_first_moment_can_be_narrow(name):
    cfg = make_config(f"optim.name={name}", "optim.momentum_dtype=bfloat16")
    state = step.abstract_state(cfg, mesh_of(*ONE))
    kinds = [leaf.dtype for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]
    assert kinds.count("bfloat16") >= len(jax.tree.leaves(state.params)) - 2, kinds


@pytest.mark.parametrize("name", ["adamw", *(pytest.param(name, marks=pytest.mark.prove) for name in ("muon", "lion"))])
def test_a_narrow_first_moment_hardly_moves_the_parameters(name):
    cfg = make_config(f"optim.name={name}", "optim.momentum_dtype=bfloat16")
    params, nll = trained(cfg)
    wide, nll_of_wide = trained(make_config(f"optim.name={name}"))
    assert nll == nll_of_wide
    assert_close(params, wide, 1e-3)
