"""A disk that is full, read-only or broken ends a run with one line within a step, and costs no checkpoint."""

import errno
import functools
import gc
import os
import pathlib
import shutil
import subprocess
import time
import warnings

import numpy as np
import pytest

from gptjax.data.batches import Prefetch
from gptjax.runs.faults import StorageFailed, told_of_storage
from gptjax.runs.log import Appended, LocalFileSystem
from gptjax.training import checkpoint, integrity
from gptjax.training.checkpoint import Checkpoints
from tests.reliability.draws import draw
from tests.reliability.test_interruptions import lines

KINDS = {"full": errno.ENOSPC, "read-only": errno.EROFS, "broken": errno.EIO, "over quota": errno.EDQUOT}

PLACES = {
    "a save's manifest": (integrity, "seal"),
    "a save's commit": (os, "rename"),
    "a line of the log": (os, "write"),
    "run.json": (os, "replace"),
}


def log_write(self: Appended, line: bytes) -> None:
    with told_of_storage(str(self.file.name)):
        os.write(self.file.fileno(), line)


def failing(begun, train, work: pathlib.Path, errors, rng: np.random.Generator, i: int) -> str:
    run = work / str(i)
    shutil.copytree(begun, run)
    word = list(KINDS)[rng.integers(len(KINDS))]
    where, (owner, name) = list(PLACES.items())[rng.integers(len(PLACES))]

    def fails(*args, **kwargs):
        raise OSError(KINDS[word], os.strerror(KINDS[word]), where)

    errors.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Appended, "write", log_write)
        patch.setattr(owner, name, fails)
        code = train(run, 12, 2)
    said = errors.readouterr().err
    folder = f"{run}/checkpoints"
    kept = checkpoint.newest_good(folder, functools.partial(checkpoint.verified, folder))
    told = said.count("\n") == 1 and os.strerror(KINDS[word]) in said and "Traceback" not in said
    if code != 1 or not told or kept is None:
        return f"{word} at {where}: code {code}, kept {kept}: {said}"
    went_on = train(run, 12, 4) == 0 and sorted(lines(run)) == list(range(12))
    shutil.rmtree(run)
    return "one line, the older checkpoint kept, then went on" if went_on else f"{word} at {where}: did not go on"


@pytest.fixture(autouse=True)
def quiet_orbax():
    """A write that fails leaves a coroutine of Orbax's that nobody awaits, which Python tells whenever it finds it."""
    yield
    with warnings.catch_warnings(action="ignore"):
        gc.collect()


def outcomes(begun, train, tmp_path, capfd, n: int, *, keep: bool):
    found = draw("disk", n, functools.partial(failing, begun, train, tmp_path, capfd), keep=keep)
    assert set(found) == {"one line, the older checkpoint kept, then went on"}, found


def test_a_failing_disk_is_one_line(begun, train, tmp_path, capfd):
    outcomes(begun, train, tmp_path, capfd, 4, keep=False)


@pytest.mark.prove
def test_failing_disks_are_one_line_each(begun, train, tmp_path, capfd):
    outcomes(begun, train, tmp_path, capfd, 40, keep=True)


@pytest.fixture
def done(monkeypatch):
    """The saves and updates of a run, in order; each update comes once the save before it is over, or has failed."""
    did, under_way, save, batch_of = [], [], Checkpoints.save, Prefetch.__call__

    def saved(self, step, *args):
        did.append(f"save {step}")
        save(self, step, *args)
        under_way[:] = [self.manager]

    def updated(self, step):
        deadline = time.monotonic() + 30
        while under_way and under_way[0].is_saving_in_progress() and time.monotonic() < deadline:
            time.sleep(0.001)
        did.append(f"update {step}")
        return batch_of(self, step)

    monkeypatch.setattr(Checkpoints, "save", saved)
    monkeypatch.setattr(Prefetch, "__call__", updated)
    return did


@pytest.mark.parametrize("where", ["a save's manifest", "a save's commit"])
def test_a_write_that_fails_behind_a_step_is_told_before_the_next(
    where, begun, train, done, tmp_path, monkeypatch, capfd
):
    owner, name = PLACES[where]
    real = getattr(owner, name)

    def fails(path, *args):
        if "/checkpoints/" in str(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return real(path, *args)

    shutil.copytree(begun, tmp_path / "run")
    monkeypatch.setattr(owner, name, fails)
    capfd.readouterr()
    assert train(tmp_path / "run", 12, 6) == 1
    assert done == ["update 4", "update 5", "save 6", "update 6"]
    assert f"{tmp_path}/run/checkpoints/6 cannot be written: Input/output error" in capfd.readouterr().err


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"only root may mount: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_is_told_before_the_next_step_and_then_goes_on(small_disk, begun, train, done, capfd):
    run = small_disk / "run"
    shutil.copytree(begun, run)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize - 60_000))
    capfd.readouterr()
    assert train(run, 400, 5) == 1
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and "cannot be written: No space left on device; free some space there" in said
    assert done == ["update 4", "save 5", "update 5"]
    assert checkpoint.verified(f"{run}/checkpoints", max(checkpoint.steps(f"{run}/checkpoints")))
    filler.unlink()
    assert train(run, 8, 4) == 0 and sorted(lines(run))[:8] == list(range(8))


def test_a_read_only_disk_is_refused_before_any_compile(small_disk, begun, train, capfd):
    shutil.copytree(begun, small_disk / "run")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert train(small_disk / "run", 8, 4) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and f"--workdir={small_disk}/run: Read-only file system; name a directory" in said


@pytest.mark.parametrize("kind", KINDS.values())
def test_the_number_is_found_in_the_words_of_tensorstore_too(kind):
    words = f"INTERNAL: Error writing 'a/b' [OS error {kind}: {errno.errorcode[kind]} {os.strerror(kind)}]"
    with pytest.raises(StorageFailed, match=f"here cannot be written: {os.strerror(kind)}; "):
        with told_of_storage("here"):
            raise ValueError(words)


def test_an_error_that_is_no_disk_s_passes_as_it_is():
    for error in (ValueError("cannot reshape"), OSError(errno.EINVAL, "Invalid argument")):
        with pytest.raises(type(error)):
            with told_of_storage("here"):
                raise error


def test_a_line_that_the_disk_takes_in_parts_is_whole(tmp_path, monkeypatch):
    log = Appended(LocalFileSystem(), str(tmp_path / "metrics"))
    whole, file = b"a longer line\n", log.file

    class Slow:
        name = file.name

        def write(self, line):
            return file.write(line[:3])

    monkeypatch.setattr(log, "file", Slow())
    log.write(whole)
    file.close()
    assert (tmp_path / "metrics.jsonl").read_bytes() == whole
