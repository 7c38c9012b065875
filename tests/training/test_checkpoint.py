"""What is restored is what was saved, bit for bit, whatever happened in between; what is kept is what was promised."""

import dataclasses
import json
import logging
import math
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from gptjax import tree
from gptjax.config import BadInput
from gptjax.runs.faults import StorageFailed
from gptjax.training import checkpoint
from gptjax.training.checkpoint import Checkpoints, DamagedCheckpoint
from gptjax.version import VERSION
from tests.training.states import ABSTRACT, ABSTRACT_ONE, State, assert_same_bits, make_one, make_state, saved_at


def test_the_whole_state_comes_back_bit_for_bit(tmp_path):
    checkpoints = Checkpoints(str(tmp_path), keep_last=2, keep_every=0)
    meta = {"config": {"optim": {"peak_lr": 1e-3}, "tags": ["a"]}, "tokenizer": "abc"}
    for step in (3, 7):
        checkpoints.save(step, make_state(step), meta, None)
    checkpoints.wait()
    written_by = {"format": checkpoint.FORMAT, "gptjax": VERSION}
    for step in (3, 7):
        state, restored_meta = checkpoints.restore(ABSTRACT, step)
        assert isinstance(state, State) and restored_meta == written_by | meta
        assert_same_bits(state, make_state(step))
        assert next(iter(state.params["b"].devices())) == jax.local_devices()[0]
    assert json.loads((tmp_path / "7/meta/metadata").read_text()) == written_by | meta
    checkpoints.close()


def test_a_save_is_not_disturbed_by_the_next_step_reusing_its_memory(tmp_path):
    step = jax.jit(lambda state: jax.tree.map(lambda x: x + 1, state), donate_argnums=0)
    checkpoints = Checkpoints(str(tmp_path), keep_last=2, keep_every=0)
    state = make_state(1)
    checkpoints.save(1, state, {}, None)
    for _ in range(3):
        state = step(state)
    jax.block_until_ready(state)
    checkpoints.wait()
    assert_same_bits(checkpoints.restore(ABSTRACT, 1)[0], make_state(1))
    checkpoints.close()


@pytest.mark.parametrize("shape, spec", [((8, 1), ("x",)), ((2, 4), (None, "y", "x")), ((1, 1), ())])
def test_a_state_sharded_over_eight_devices_comes_back_on_any_mesh(tmp_path_factory, shape, spec):
    def placed(shape, spec):
        devices = np.array(jax.devices()[: math.prod(shape)]).reshape(shape)
        mesh = jax.sharding.Mesh(devices, ("x", "y"), axis_types=(AxisType.Auto,) * 2)
        layout = lambda x: NamedSharding(mesh, PartitionSpec(*(spec if x.ndim == 3 else ())))
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=layout(x)), ABSTRACT)

    folder = tmp_path_factory.getbasetemp() / "sharded"
    if not folder.exists():
        layout = jax.tree.map(lambda struct: struct.sharding, placed((8, 1), (None, "x")))
        checkpoints = Checkpoints(str(folder), keep_last=1, keep_every=0)
        checkpoints.save(5, jax.device_put(make_state(5), layout), {}, None)
        checkpoints.close()
    wanted = placed(shape, spec if shape != (8, 1) else (None, None, "x"))
    fields, _ = checkpoint.restore_fields(str(folder), dataclasses.asdict(wanted) | {"opt_state": wanted.opt_state}, 5)
    state = State(**fields, ema=None)
    assert_same_bits(state, make_state(5))
    assert state.params["blocks"]["w"].sharding == wanted.params["blocks"]["w"].sharding


def test_weights_are_read_without_the_optimizer_state(tmp_path):
    def bytes_read(fields) -> int:
        before = pathlib.Path("/proc/self/io").read_text()
        checkpoint.restore_fields(folder, {field: getattr(ABSTRACT, field) for field in fields}, 1)
        after = pathlib.Path("/proc/self/io").read_text()
        return int(after.split()[1]) - int(before.split()[1])

    folder = saved_at(tmp_path / "a", 1)
    assert_same_bits(
        checkpoint.restore_fields(folder, {"params": ABSTRACT.params}, 1)[0]["params"], make_state(1).params
    )
    weights = 4 * tree.count(ABSTRACT.params)
    everything, params_only = bytes_read(("params", "opt_state")), bytes_read(("params",))
    assert everything > 5 * weights  # the measure sees what is read, once to verify; compression saves some
    assert params_only < 2.4 * weights


@pytest.mark.parametrize(
    "keep_every, nlls, kept, best",
    [
        (0, [3.0, 1.0, 2.0, 2.5, 2.6], [2, 4, 5], 2),
        (0, [3.0, 1.0, 2.0, 0.5, 2.6, 2.7], [4, 5, 6], 4),  # the best moved on, the old one goes
        (3, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], [1, 3, 6, 7, 8], 1),
        (0, [None, None, None], [2, 3], None),
        (0, [2.0, float("nan"), None, float("-inf"), None], [1, 4, 5], 1),
        (0, [1.0, 1.0, 1.0, 2.0, 3.0], [3, 4, 5], 3),  # of equals, the newest
        (0, [2.0, 1.0, 1.0], [2, 3], 3),
    ],
)
def test_the_last_the_periodic_and_the_best_are_kept_in_silence(tmp_path, capfd, keep_every, nlls, kept, best):
    for restart in (False, True):
        folder = str(tmp_path / str(restart))
        checkpoints = Checkpoints(folder, keep_last=2, keep_every=keep_every)
        for step, nll in enumerate(nlls, 1):
            if restart:
                checkpoints.close()
                checkpoints = Checkpoints(folder, keep_last=2, keep_every=keep_every)
            checkpoints.save(step, {"w": jnp.float32(step)}, {}, nll)
        checkpoints.wait()
        assert (checkpoints.steps(), checkpoints.best(), checkpoints.latest()) == (kept, best, kept[-1])
        checkpoints.close()
    assert capfd.readouterr() == ("", "")


def test_a_step_that_is_there_is_not_saved_again(tmp_path):
    saved_at(tmp_path, 4)
    checkpoints = Checkpoints(str(tmp_path), keep_last=2, keep_every=0)
    checkpoints.save(4, make_state(5), {"config": "other"}, 1.0)
    checkpoints.wait()
    state, meta = checkpoints.restore(ABSTRACT, 4)
    assert_same_bits(state, make_state(4))
    assert meta["config"] == {"seed": 4}
    checkpoints.close()


def test_an_unfinished_step_is_not_chosen_and_is_cleaned_by_the_job_that_writes(tmp_path):
    assert (checkpoint.steps(str(tmp_path / "none")), checkpoint.latest(str(tmp_path))) == ([], None)
    assert checkpoint.newest_good(str(tmp_path), lambda step: step) is None
    saved_at(tmp_path, 2)
    half = tmp_path / "9.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "2", half)
    assert checkpoint.latest(str(tmp_path)) == 2 and half.exists()  # a reader touches nothing
    checkpoints = Checkpoints(str(tmp_path), keep_last=2, keep_every=0)
    assert checkpoints.latest() == 2
    checkpoints.save(3, make_state(3), {}, None)
    checkpoints.close()
    assert not half.exists() and checkpoint.steps(str(tmp_path)) == [2, 3]


CHILD = """
import sys, numpy
from gptjax.training.checkpoint import Checkpoints
state = {"w": numpy.random.default_rng(3).random((13, 1024, 1024), numpy.float32)}
checkpoints = Checkpoints(sys.argv[1], keep_last=2, keep_every=0)
checkpoints.save(1, state, {}, None)
checkpoints.wait()
checkpoints.save(2, state, {}, None)
checkpoints.wait()
"""


def test_a_run_killed_in_the_middle_of_a_save_goes_on_from_the_one_before(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)])
    while child.poll() is None and not [p for p in tmp_path.glob("2.orbax-checkpoint-tmp*/**/d/*") if p.is_file()]:
        time.sleep(0.001)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "the save was over before the kill"
    assert list(tmp_path.glob("2.orbax*")), "the kill did not come in the middle of the save"
    checkpoints = Checkpoints(str(tmp_path), keep_last=2, keep_every=0)
    assert checkpoints.latest() == 1
    state, _ = checkpoints.restore({"w": jax.ShapeDtypeStruct((13, 1024, 1024), jnp.float32)}, 1)
    assert_same_bits(state, {"w": np.random.default_rng(3).random((13, 1024, 1024), np.float32)})
    checkpoints.save(2, state, {}, None)
    checkpoints.close()
    assert checkpoint.steps(str(tmp_path)) == [1, 2] and not list(tmp_path.glob("*orbax*"))


@pytest.mark.parametrize("surfaces", ["check", "save", "wait"])
def test_the_error_of_a_background_save_surfaces_and_the_older_one_stays(tmp_path, capfd, surfaces):
    """A limit on the size of files stands in for a full disk."""
    checkpoints = Checkpoints(str(tmp_path), keep_last=1, keep_every=0)
    checkpoints.save(1, make_one(1), {}, None)
    checkpoints.wait()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(StorageFailed, match=f"{tmp_path}/2 cannot be written: File too large; raise"):
            checkpoints.save(2, make_one(2), {}, None)
            deadline = time.monotonic() + 30
            while surfaces == "check" and time.monotonic() < deadline:
                checkpoints.check()
            {"check": lambda: None, "wait": checkpoints.wait, "save": lambda: checkpoints.save(3, {}, {}, None)}[
                surfaces
            ]()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert checkpoints.latest() == 1
    assert_same_bits(checkpoints.restore(ABSTRACT_ONE, 1)[0], make_one(1))
    assert capfd.readouterr() == ("", "")
    checkpoints.close()


def test_another_model_is_told_from_damage(tmp_path):
    folder = saved_at(tmp_path, 1)
    checkpoints = Checkpoints(folder, keep_last=2, keep_every=0)
    wider = dataclasses.replace(ABSTRACT, params=ABSTRACT.params | {"b": jax.ShapeDtypeStruct((17,), jnp.bfloat16)})
    for wanted, words in [
        (wider, r"params/b it holds \(16,\), asked for was \(17,\)"),
        (dataclasses.replace(ABSTRACT, ema=ABSTRACT.params), r"ema/b it holds nothing, asked for was \(16,\)"),
        (dataclasses.replace(ABSTRACT, opt_state=()), "opt_state/.* asked for was nothing"),
    ]:
        with pytest.raises(BadInput, match=words) as caught:
            checkpoints.restore(wanted, 1)
        assert not isinstance(caught.value, DamagedCheckpoint)
    checkpoints.close()


def test_a_store_that_cannot_be_written_is_refused():
    with pytest.raises(BadInput, match="s3://bucket/run/checkpoints: checkpoints need a local folder or gs://"):
        Checkpoints("s3://bucket/run/checkpoints", keep_last=1, keep_every=0)


def test_only_orbax_is_silenced(monkeypatch):
    heard = []
    absl = logging.getLogger("absl")
    monkeypatch.setattr(absl, "handle", lambda record: heard.append(bool(absl.filter(record))))
    for path in ("site-packages/grain/reader.py", "site-packages/orbax/checkpoint/manager.py"):
        absl.handle(logging.LogRecord("absl", logging.ERROR, path, 1, "words", (), None))
    assert heard == [True, False]
