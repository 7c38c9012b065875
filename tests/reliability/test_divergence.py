"""NaN and infinities at every phase of a run: it stops within a step, keeps what is finite, and can be replayed."""

import json
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax import config
from gptjax.commands import train
from gptjax.data.batches import Batches
from gptjax.training import checkpoint, divergence, step
from tests.reliability import runs
from tests.reliability.draws import draw
from tests.tiny import make_batch, make_config, mesh_of

PHASES = ("loss", "gradient", "eval", "state")
BAD = (np.nan, np.inf, -np.inf)
MARK = 2.0  # the weight of every token in the batch whose gradient is spoilt; the loss is a mean, and stays


class Fault:
    """Spoils one number of a run, and the same one each time that the run is done again."""

    def __init__(self, phase: str, at: int, value: float, leaf: int, patch: pytest.MonkeyPatch):
        self.phase, self.at, self.value, self.leaf = phase, at, value, leaf
        make_batch, make_evaluate = Batches.__call__, train.make_evaluate
        patch.setattr(Batches, "__call__", lambda batches, number: self.batch(make_batch(batches, number), number))
        patch.setattr(train, "compiled", lambda compile: self.update(compile()))
        patch.setattr(train, "make_evaluate", lambda opened: self.evaluate(make_evaluate(opened)))

    def batch(self, made, number):
        weight = {"loss": self.value, "gradient": MARK}.get(self.phase)
        return made if weight is None or number != self.at else made._replace(weights_BT=made.weights_BT * weight)

    def update(self, compiled):
        def update(state, batch):
            number = int(state.step)
            state, metrics = compiled(state, batch)
            if self.phase == "state" and number == self.at - 1:
                leaves, structure = jax.tree.flatten(state)
                floats = [index for index, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating)]
                index = floats[self.leaf % len(floats)]
                spoilt = np.array(leaves[index])
                spoilt.flat[spoilt.size // 2] = self.value
                leaves[index] = jax.device_put(spoilt, leaves[index].sharding)
                state = jax.tree.unflatten(structure, leaves)
            return state, metrics

        update.memory_analysis = compiled.memory_analysis
        return update

    def evaluate(self, evaluate):
        calls = iter(range(1000))

        def spoilt(params):
            is_bad = self.phase == "eval" and next(calls) >= self.leaf
            return {name: self.value if is_bad else value for name, value in evaluate(params).items()}

        return spoilt


@pytest.fixture
def compiled(monkeypatch):
    """The update of the tiny run, in which a marked batch spoils the gradient; compiled once for all draws."""
    gradients, cfg = step.over_mesh, config.load("configs/base.py", runs.overrides())

    def spoilt(params, batch, *given):
        nll, found = gradients(params, batch, *given)
        factor = jnp.where(batch.weights_BT[0, 0] == MARK, jnp.float32(np.nan), 1)
        return nll, jax.tree.map(lambda leaf: leaf * factor, found)

    monkeypatch.setattr(step, "over_mesh", spoilt)
    done = train.trace_update(cfg, mesh_of(1, 1, 1, 1)).compile()
    monkeypatch.setattr(train, "trace_update", lambda *_: types.SimpleNamespace(compile=lambda: done))


@pytest.fixture
def one(compiled, tmp_path_factory, capsys):
    """A run with one fault, and its replay; the outcome says what they did."""
    cache = tmp_path_factory.mktemp("cache")

    def outcome(rng, i):
        phase, value = PHASES[i % len(PHASES)], BAD[rng.integers(len(BAD))]
        leaf = int(rng.integers(1000 if phase == "state" else 4))
        at = 3 * (leaf + 1) if phase == "eval" else int(rng.integers(1, 12))
        run = tmp_path_factory.mktemp("runs") / "run"
        words = runs.command(run, cache, eval_every=3, save_every=int(rng.integers(1, 6)), log_every=5)
        with pytest.MonkeyPatch.context() as patch:
            fault = Fault(phase, at, value, leaf, patch)
            code, error = runs.alone(words), capsys.readouterr().err
            fault.leaf = 0 if phase == "eval" else leaf
            files = sorted(str(path) for path in run.rglob("*") if path.is_file())
            found = re.search(
                r"diverged: (.* at step (\d+), batch \(seed 0, step (\d+)\));.* replay: gptjax (.*)", error
            )
            if code != 3 or found is None:
                return f"{phase}: exit {code}"
            again, shown = runs.alone([*words, f"--replay={found[2]}"]), capsys.readouterr()
        stopped = int(found[2])
        if stopped != at or found[2] != found[3] or f"--replay={stopped}" not in found[4]:
            return f"{phase}: stopped at the wrong step"
        if again != 3 or found[1] not in shown.err:
            return f"{phase}: another replay"
        if sorted(str(path) for path in run.rglob("*") if path.is_file()) != files:
            return f"{phase}: the replay wrote"
        kept = checkpoint.steps(f"{run}/checkpoints")
        finite = all(is_finite(run, number) for number in kept)
        return (
            f"{phase}: stopped, replayed" if finite and all(number <= stopped for number in kept) else f"{phase}: saved"
        )

    return outcome


def is_finite(run, number):
    shapes = step.abstract_state(make_config_of(run), mesh_of(1, 1, 1, 1))
    state, _ = checkpoint.restore_fields(f"{run}/checkpoints", shapes._asdict(), number)
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


def make_config_of(run):
    header = json.loads((run / "run.json").read_text())
    return config.from_dict(header["config"])


WHOLE = {f"{phase}: stopped, replayed" for phase in PHASES}


def test_what_is_not_finite_stops_a_run_within_a_step_and_is_replayed(one):
    assert draw("divergence", 4, one, keep=False).keys() == WHOLE


@pytest.mark.prove
def test_what_is_not_finite_at_every_phase(one):
    assert draw("divergence", 60, one, keep=True).keys() == WHOLE


def test_a_moment_or_average_that_is_infinite_shows_in_its_very_update():
    """An infinite second moment divides its update to 0; only what is added to the norm tells of it."""
    cfg, on = make_config("optim.ema_decay=0.9"), mesh_of(1, 1, 1, 1)
    update, batch, state = step.make_update(cfg, on), make_batch(cfg), step.init_state(cfg, on)
    norm_of = lambda state: float(update(jax.tree.map(jnp.copy, state), batch)[1]["update/norm"])
    leaves, structure = jax.tree.flatten(state._replace(params=None))
    assert 0 < norm_of(state) < np.inf
    floats = [index for index, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    for index in floats:
        spoilt = [leaf.at[(0,) * leaf.ndim].set(np.inf) if at == index else leaf for at, leaf in enumerate(leaves)]
        assert not np.isfinite(norm_of(jax.tree.unflatten(structure, spoilt)._replace(params=state.params)))
    assert len(floats) == 3 * len(jax.tree.leaves(state.params))


def test_a_replay_of_a_run_that_is_finite_prints_the_bits_of_its_line(tmp_path, capsys):
    words = runs.command(tmp_path / "run", tmp_path / "cache")
    assert runs.alone(words) == 0
    expected = next(row for row in runs.rows(tmp_path / "run") if row["step"] == 9)
    capsys.readouterr()
    assert runs.alone([*words, "--replay=9"]) == 0
    said = capsys.readouterr().out
    assert "from step 8 to batch 9 again" in said
    for name in ("train/nll", "grad/norm", "update/norm"):
        assert f"{name} is {divergence.bits(expected[name])}" in said


def test_a_replay_of_a_step_that_no_run_has_is_refused(tmp_path, capsys):
    assert runs.alone([*runs.command(tmp_path / "run", tmp_path / "cache"), "--replay=13"]) == 2
    assert "--replay=13: must be a step of the run, 0 to 12" in capsys.readouterr().err
