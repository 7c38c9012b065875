"""Spikes of the loss: found, told from noise, and left out in the same way however often a run is interrupted."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax import config, tree
from gptjax.commands import train
from gptjax.config import BadInput
from gptjax.data.batches import Batches
from gptjax.training import checkpoint, loop, spikes, step
from tests.reliability import runs
from tests.tiny import make_config, mesh_of
from tests.training.test_loop import Story, state_of

SPIKE = make_config("spike.action=log").spike


@functools.partial(jax.jit, static_argnames="n")
def scores(losses, n):
    def one(window, loss):
        z, window = spikes.judge(window, loss)
        return window, z

    return jax.lax.scan(one, jnp.full(n, -1.0), losses)[1]


def test_noise_around_a_falling_loss_is_no_spike():
    rng = np.random.default_rng(0)
    steps = np.arange(10_000)
    losses = 3 + 6 * np.exp(-steps / 800) + 0.05 * rng.standard_normal(steps.size)
    assert scores(losses.astype(np.float32), SPIKE.window).max() < SPIKE.threshold


@pytest.mark.parametrize("sigmas", [10, 100])
def test_a_spike_is_found_at_its_step_and_alone(sigmas):
    rng = np.random.default_rng(1)
    losses, at = 3 + 0.05 * rng.standard_normal(4000), np.arange(200, 4000, 100)
    losses[at] += 0.05 * sigmas
    found = np.nonzero(scores(losses.astype(np.float32), SPIKE.window) > SPIKE.threshold)[0]
    assert found.tolist() == at.tolist()


def test_before_the_window_is_full_nothing_is_a_spike_and_a_lasting_step_up_is_soon_the_rule():
    losses = np.full(400, 3.0, np.float32)
    losses[100] = 50.0
    losses[200:] = 5.0
    found = np.nonzero(scores(losses, 128) > 6)[0]
    assert found.tolist() == list(range(200, 264))


def test_the_loop_begins_again_after_the_spiked_batch():
    story = Story()
    update = story.update

    def with_z(state, batch):
        state, metrics = update(state, batch)
        return state, metrics | {"spike/z": jnp.float32(9 if batch == 3 else 0)}

    story.update = with_z
    keys = ["n_steps=6", "log_every=10", "eval_every=0", "save_every=2", "keep_every=2", "spike.action=rollback"]
    loop.train(make_config(*keys), state_of(0), 0, story.tools())
    assert story.told[:5] == ["line 0", "save 2", "line 3", "wait", "back, on at 4"]
    assert [word for word in story.told if word.startswith("save")] == ["save 2", "save 6 with 6"]


@pytest.mark.parametrize("keep_every", [0, 3])
def test_going_back_needs_checkpoints_that_are_kept(keep_every):
    with pytest.raises(
        BadInput, match=f"keep_every={keep_every} must be a multiple of save_every=2, .* try keep_every="
    ):
        make_config("spike.action=rollback", "save_every=2", f"keep_every={keep_every}")


# The loss falls all the way, so that only what a spoilt batch gives lies above the median.
KEYS = {"n_steps": 30, "save_every": 4, "keep_every": 4, "spike__window": 8, "spike__threshold": 2, "eval_every": 0}


@pytest.fixture
def spiking(monkeypatch):
    """Batches 13 and 21 predict noise."""
    make_batch = Batches.__call__

    def spoilt(batches, number):
        made = make_batch(batches, number)
        noise = np.random.default_rng(number).integers(128, 256, made.targets_BT.shape, np.int32)
        return made._replace(targets_BT=noise) if number in (13, 21) else made

    monkeypatch.setattr(Batches, "__call__", spoilt)


def stopped_after(n):
    """What stands for `rounds.together`: tells the loop to stop when it asks for the n-th time."""
    asked = iter(range(n - 1))
    return lambda stop: lambda: next(asked, None) is None


def rows(run):
    return {row["step"]: row for row in runs.rows(run) if "train/nll" in row}


def final(run):
    """The weights at the end, and what run.json says of spikes."""
    shapes = step.abstract_state(config.load("configs/base.py", runs.overrides()), mesh_of(1, 1, 1, 1)).params
    state, _ = checkpoint.restore_fields(f"{run}/checkpoints", {"params": shapes}, 30)
    found = json.loads((run / "run.json").read_text())["spikes"]
    return tree.named(state), [(spike["step"], spike["action"]) for spike in found]


@pytest.mark.prove
@pytest.mark.parametrize(("action", "as_before"), [("skip", 13), ("rollback", 12)])
def test_a_run_that_spikes_is_the_same_however_often_it_is_interrupted(
    action, as_before, spiking, tmp_path, monkeypatch
):
    """Spikes at 13 and 21; stopped just before the first. What was left out leaves the weights as they were before."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    keys = KEYS | {"spike__action": action}
    assert runs.alone(runs.command(whole, tmp_path / "cache", **keys)) == 0
    with monkeypatch.context() as patch:
        patch.setattr(train.rounds, "together", stopped_after(14))
        assert runs.alone(runs.command(cut, tmp_path / "cache", **keys)) == 75
    assert runs.alone(runs.command(cut, tmp_path / "cache", **keys)) == 0

    norms = {at: row["param/norm"] for at, row in rows(whole).items()}
    assert [at for at in norms if norms[14] == norms[at]] == [as_before, 14]
    assert {at: row["train/nll"] for at, row in rows(cut).items()} == {
        at: row["train/nll"] for at, row in rows(whole).items()
    }
    (ours, our_spikes), (theirs, their_spikes) = final(cut), final(whole)
    assert our_spikes == their_spikes == [(13, action), (21, action)]
    assert all(np.array_equal(leaf, theirs[name]) for name, leaf in ours.items())


def test_a_run_can_begin_to_look_for_spikes(tmp_path):
    """As after a divergence: the checkpoint has no window of losses, or one of another size."""
    keys = KEYS | {"n_steps": 4}
    for change in ({}, {"spike__action": "skip"}, {"spike__action": "log", "spike__window": 16}):
        assert runs.alone(runs.command(tmp_path / "run", tmp_path / "cache", **(keys | change))) == 0
        keys["n_steps"] += 4
    assert list(rows(tmp_path / "run")) == list(range(12))
    assert ["spike/z" in row for row in rows(tmp_path / "run").values()] == [False] * 4 + [True] * 8
