"""No damage to a checkpoint is loaded: it is named and put aside, and the one before is used."""

import functools
import os
import pathlib
import shutil

import jax
import numpy as np
import pytest

from gptjax.training import checkpoint
from gptjax.training.checkpoint import Checkpoints
from gptjax.training.integrity import LATER
from tests.reliability.draws import draw

SHAPE = jax.ShapeDtypeStruct((40, 256), np.float32)
ABSTRACT = {"params": {"w": SHAPE}, "moments": SHAPE}
KINDS = ("flip", "cut", "missing", "emptied", "swapped", "appended", "linked", "foreign")


def state_of(step: int) -> dict:
    draw = lambda n: np.random.default_rng([step, n]).normal(size=SHAPE.shape).astype(np.float32)
    return {"params": {"w": draw(0)}, "moments": draw(1)}


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """Checkpoints 1 and 2 of a run; files of 100 kB in all."""
    folder = tmp_path_factory.mktemp("whole")
    checkpoints = Checkpoints(str(folder), keep_last=2, keep_every=0)
    for step in (1, 2):
        checkpoints.save(step, state_of(step), {"config": {"seed": step}}, float(step))
    checkpoints.close()
    return folder


def damage(rng: np.random.Generator, newest: pathlib.Path) -> list[pathlib.Path]:
    """Does one thing to a file chosen by its bytes or as one of the files; returns what it did it to."""
    files = sorted(path for path in newest.rglob("*") if path.is_file())
    sizes = np.array([path.stat().st_size for path in files])
    file = files[rng.choice(len(files), p=sizes / sizes.sum() if rng.integers(2) else None)]
    content, kind = file.read_bytes(), KINDS[rng.integers(len(KINDS))]
    others = [path for path in files if path.read_bytes() != content]
    if kind == "flip":
        bit = int(rng.integers(8 * len(content)))
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
    elif kind == "cut":
        os.truncate(file, int(rng.integers(len(content))))
    elif kind == "missing":
        file.unlink()
    elif kind == "emptied":
        file.write_bytes(b"")
    elif kind == "swapped":
        other = others[rng.integers(len(others))]
        file.write_bytes(other.read_bytes())
        other.write_bytes(content)
        return [file, other]
    elif kind == "appended":
        file.write_bytes(content + rng.bytes(int(rng.integers(1, 9))))
    elif kind == "linked":
        file.rename(newest.parent / "elsewhere")
        file.symlink_to(newest.parent / "elsewhere")
    else:
        (file.parent / "foreign").write_bytes(content)
        return [file.parent / "foreign"]
    return [file]


def damaged(whole: pathlib.Path, work: pathlib.Path, errors, rng: np.random.Generator, i: int) -> str:
    run = work / str(i)
    shutil.copytree(whole, run)
    files = [str(file.relative_to(run / "2")) for file in damage(rng, run / "2")]
    found = checkpoint.newest_good(str(run), functools.partial(checkpoint.verified, str(run)), quarantine=True)
    said = errors.readouterr().err
    if found == 1:
        named = any(f"{run}/2 is damaged ({file}" in said for file in files) and said.count("\n") == 1
        aside = (run / "2.damaged").is_dir() and not (run / "2").exists()
        outcome = "named, and the one before used" if named and aside else f"unnamed: {files} {said}"
    else:
        checkpoints = Checkpoints(str(run), keep_last=2, keep_every=0)
        state, _ = checkpoints.restore(ABSTRACT, 2)
        checkpoints.close()
        same = all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (state, state_of(2))), strict=True))
        outcome = "harmless: Orbax's own stamp" if same and set(files) <= set(LATER) else f"silent: {files}"
    shutil.rmtree(run)
    return outcome


def outcomes(whole, tmp_path, capsys, n, *, keep):
    found = draw("damaged_checkpoints", n, functools.partial(damaged, whole, tmp_path, capsys), keep=keep)
    assert set(found) <= {"named, and the one before used", "harmless: Orbax's own stamp"}, found
    assert found["named, and the one before used"] > 0.7 * n


def test_damages_are_named(whole, tmp_path, capsys):
    outcomes(whole, tmp_path, capsys, 60, keep=False)


@pytest.mark.prove
def test_many_damages_are_named(whole, tmp_path, capsys):
    outcomes(whole, tmp_path, capsys, 2000, keep=True)
