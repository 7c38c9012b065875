"""Logs that several processes read ahead: nothing but time may depend on them."""

import os
import pathlib

import pytest

from benchmarks.analyze import write
from gptjax.analysis import filling, frames, kept
from gptjax.analysis.logs import Log

N_RUNS = 5


@pytest.fixture
def runs(tmp_path, monkeypatch) -> pathlib.Path:
    write(tmp_path / "runs", N_RUNS, 1000)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(filling, "LEAST", 2**17)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    return tmp_path / "runs"


def values(found: list[frames.Run]) -> list[list[bytes]]:
    return [[run.rows.step.tobytes(), *(run.series(name).value.tobytes() for name in run.metrics)] for run in found]


def test_the_reader_finds_kept_what_other_processes_read(runs, monkeypatch, tmp_path):
    with monkeypatch.context() as alone:
        alone.setattr(filling, "ahead", lambda logs: None)
        alone.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
        expected = values(frames.read([str(runs)]))

    def never(*_):
        raise AssertionError("the reader reads a log that is kept")

    (tmp_path / "json.py").write_text("raise SystemExit('a file of the folder was imported')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Log, "go_on", never)
    assert values(frames.read([str(runs)])) == expected
    assert len(os.listdir(kept.folder())) == N_RUNS


@pytest.mark.parametrize("why", ["the processes fail", "nothing can be kept", "a log is gone"])
def test_what_they_could_not_keep_is_read_without_them(runs, monkeypatch, why):
    if why == "the processes fail":
        monkeypatch.setattr("sys.executable", "/bin/false")
    elif why == "nothing can be kept":
        monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    else:
        (runs / "run0002/metrics.jsonl").unlink()
    found = frames.read([str(runs)])
    assert [len(run.rows.step) for run in found] == [1000 * (why != "a log is gone" or n != 2) for n in range(N_RUNS)]


def test_none_start_where_there_is_little_to_read(runs, monkeypatch):
    monkeypatch.setattr(filling, "started", None)
    monkeypatch.setattr(filling, "LEAST", 2**25)
    assert len(frames.read([str(runs)])) == N_RUNS
    monkeypatch.setattr(filling, "LEAST", 1)
    assert len(frames.read([str(runs)])) == N_RUNS  # they are kept now
