"""A SIGKILL at any moment of a save, its commit or the removal of an old checkpoint loses no finished checkpoint."""

import functools
import glob
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from gptjax import tree
from gptjax.training import checkpoint
from gptjax.training.checkpoint import REMOVED, Checkpoints
from gptjax.training.integrity import MANIFEST
from tests.reliability.draws import draw
from tests.reliability.saver import state_of

ABSTRACT = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state_of(0))
AIMS = ("", f"*.orbax-checkpoint-tmp/{MANIFEST}", "", REMOVED)  # "" is any time; the others last a millisecond


@pytest.fixture(scope="module")
def saver():
    words = [sys.executable, "-m", "tests.reliability.saver"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process  # ends with its standard input, which `with` closes


def finished(run: pathlib.Path) -> list[int]:
    file = run / "finished"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def phase(folder: pathlib.Path) -> str:
    """What the kill came upon, by what it left."""
    (half,) = list(folder.glob("*.orbax-checkpoint-tmp")) or [None]
    if half is not None:
        return "commit" if (half / MANIFEST).exists() else "write"
    return "removal" if (folder / REMOVED).exists() else "pause"


def killed(saver, work: pathlib.Path, errors, rng: np.random.Generator, i: int) -> str:
    run = work / str(i)
    print(run, file=saver.stdin, flush=True)
    pid = int(saver.stdout.readline())
    deadline = time.monotonic() + 60
    while len(finished(run)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    wait_for = AIMS[i % len(AIMS)]
    while wait_for and time.monotonic() < deadline and not glob.glob(f"{run}/checkpoints/{wait_for}"):
        time.sleep(0.0001)
    assert time.monotonic() < deadline, f"{wait_for} never came up"
    time.sleep(rng.uniform(0, 0.001 if wait_for else 0.2))
    os.kill(pid, signal.SIGKILL)
    assert saver.stdout.readline() == "gone\n"
    folder = run / "checkpoints"
    came_upon, last = phase(folder), finished(run)[-1]
    found = checkpoint.newest_good(str(folder), functools.partial(checkpoint.verified, str(folder)), quarantine=True)
    if found is None or found < last or errors.readouterr().err:
        return f"lost: {found} after {last}, killed in {came_upon}"
    checkpoints = Checkpoints(str(folder), keep_last=2, keep_every=0)
    state = tree.named(checkpoints.restore(ABSTRACT, found)[0])
    checkpoints.save(found + 1, state_of(found + 1), {}, None)
    checkpoints.close()
    same = all(np.array_equal(state[name], leaf) for name, leaf in tree.named(state_of(found)).items())
    clean = sorted(path.name for path in folder.iterdir()) == sorted([str(found), str(found + 1)])
    shutil.rmtree(run)
    return f"nothing lost, killed in {came_upon}" if same and clean else f"lost: {same} {clean} in {came_upon}"


def outcomes(saver, tmp_path, capfd, n: int, *, keep: bool):
    found = draw("kills_during_saves", n, functools.partial(killed, saver, tmp_path, capfd), keep=keep)
    assert all(outcome.startswith("nothing lost") for outcome in found), found
    return found


def test_kills_during_saves_lose_nothing(saver, tmp_path, capfd):
    outcomes(saver, tmp_path, capfd, 8, keep=False)


@pytest.mark.prove
def test_many_kills_during_saves_lose_nothing(saver, tmp_path, capfd):
    found = outcomes(saver, tmp_path, capfd, 300, keep=True)
    assert {f"nothing lost, killed in {where}" for where in ("write", "commit", "removal")} <= set(found), found
