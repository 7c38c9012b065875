"""What has been read of a log is kept, believed only while the log is the same, and the same as reading it anew."""

import collections
import os
import pathlib
import struct

import numpy as np
import pytest
from safetensors import safe_open

from benchmarks.analyze import log as synthetic
from gptjax.analysis import frames, kept, lines, logs
from gptjax.analysis.lines import Parser
from gptjax.analysis.logs import Log
from gptjax.analysis.rows import Gatherer, Rows, joined

N = 120  # lines of some 300 bytes
LOG = synthetic(0, N)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(logs, "SMALL", 20_000)
    return tmp_path / "cache/gptjax/analysis"


class Counting(Parser):
    """Counts the bytes that are read."""

    def __init__(self, fast: bool = False):
        super().__init__()
        self.read, self.bytes = lines.PATIENCE if fast else -(2**60), 0

    def __call__(self, content: bytes) -> tuple[Rows, collections.Counter[str]]:
        self.bytes += len(content)
        return super().__call__(content)


def read(path: pathlib.Path, fast: bool = False) -> tuple[Rows, int]:
    log, parse = Log(str(path)), Counting(fast)
    log.read_on(parse)
    assert not sum((part.left_out for part in log.parts), collections.Counter())
    return joined([part.rows for part in log.parts]), parse.bytes


def plain(content: bytes) -> Rows:
    gathered = Gatherer()
    for line in content.split(b"\n"):
        gathered.line(line)
    return gathered.rows()


def assert_same(found: Rows, expected: Rows) -> None:
    for one, other in zip(found[:3], expected[:3], strict=True):
        np.testing.assert_array_equal(one, other, strict=True)
    assert set(found.columns) == set(expected.columns)
    for name, column in expected.columns.items():
        for one, other in zip(found.columns[name], column, strict=True):
            np.testing.assert_array_equal(one, other, strict=True)


@pytest.mark.parametrize("fast", [False, True])
def test_a_log_is_read_once_and_then_from_what_is_kept(fast, tmp_path, cache):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(LOG)
    first, n_bytes = read(path, fast)
    assert n_bytes == len(LOG)
    again, n_bytes = read(path, fast)
    assert n_bytes == 0
    assert_same(first, plain(LOG))
    assert_same(again, plain(LOG))
    (file,) = cache.iterdir()
    with safe_open(file, "np") as opened:
        assert opened.metadata()["log"] == str(path)
    assert file.stat().st_size < len(LOG) / 4


def test_a_log_that_grows_is_read_on_from_where_it_was(tmp_path, cache):
    path = tmp_path / "metrics.jsonl"
    more = synthetic(1, 3 * N)
    whole = LOG + more
    for end in (len(LOG), len(LOG) + 1000, len(LOG) + 5000, len(whole) - 7, len(whole)):
        path.write_bytes(whole[:end])
        log, parse = Log(str(path)), Counting()
        log.read_on(parse)
        rows = joined([part.rows for part in log.parts])
        assert parse.bytes <= (end if end == len(LOG) else end - len(LOG) + 1)
        assert_same(rows, plain(whole[: whole.rfind(b"\n", 0, end) + 1]))
    assert len(list(cache.iterdir())) == 2


def test_one_reader_reads_on_too(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log, parse = Log(str(path)), Counting()
    for end in range(7_000, len(LOG), 6_000):
        path.write_bytes(LOG[:end])
        assert log.read_on(parse) and not log.read_on(parse)
        assert_same(joined([part.rows for part in log.parts]), plain(LOG[: LOG.rfind(b"\n", 0, end) + 1]))


@pytest.mark.parametrize("change", ["rewritten", "edited", "edited and grown", "shorter", "moved here"])
def test_what_is_kept_is_not_believed_of_another_log(change, tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(LOG)
    read(path)
    edited = LOG.replace(b'"step": 50,', b'"step": 51,')
    content = {
        "rewritten": synthetic(2, N), "edited": edited, "edited and grown": edited + LOG,
        "shorter": LOG[: LOG.find(b"\n") + 1],
        "moved here": synthetic(3, 2 * N),
    }[change]  # fmt: skip
    (tmp_path / "new").write_bytes(content)
    os.replace(tmp_path / "new", path)
    assert_same(read(path)[0], plain(content))
    assert_same(read(path)[0], plain(content))


@pytest.mark.parametrize(
    "damage", ["cut", "empty", "zeros", "a flipped bit", "another version", "no header", "a folder"]
)
def test_what_is_damaged_is_read_anew(damage, tmp_path, cache):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(LOG)
    read(path)
    (file,) = cache.iterdir()
    good = file.read_bytes()
    flipped = bytearray(good)
    flipped[-100] ^= 1
    made = {
        "cut": good[:-100], "empty": b"", "zeros": bytes(len(good)), "a flipped bit": bytes(flipped),
        "another version": good.replace(b'"version":"2"', b'"version":"0"'),
        "no header": struct.pack("<Q", 2**40) + good[8:],
    }  # fmt: skip
    file.unlink()
    file.mkdir() if damage == "a folder" else file.write_bytes(made[damage])
    rows, n_bytes = read(path)
    assert n_bytes == len(LOG)
    assert_same(rows, plain(LOG))


def test_without_a_place_to_keep_it_a_log_is_read_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(LOG)
    assert_same(read(path)[0], plain(LOG))


def test_the_oldest_make_room(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(kept, "MOST_BYTES", 30_000)
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "gone").symlink_to("nowhere")  # as a file that another process removes meanwhile
    for number in range(6):
        path = tmp_path / str(number) / "metrics.jsonl"
        path.parent.mkdir()
        path.write_bytes(LOG)
        frames.read([str(path.parent)])
        newest = pathlib.Path(kept.file_of(str(path), 0))
    assert sum(file.stat().st_size for file in cache.iterdir() if file.exists()) <= 30_000
    assert newest.exists()


@pytest.mark.parametrize("block", [700, 3000, 1_000_000])
def test_blocks_of_any_size_give_the_same(block, tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "BLOCK", block)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(LOG)
    assert_same(read(path)[0], plain(LOG))
    assert_same(read(path)[0], plain(LOG))


def test_runs_that_are_read_in_turn_keep_what_they_have(tmp_path):
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "metrics.jsonl").write_bytes(synthetic(number, N))
    for _ in range(2):
        for number, run in enumerate(frames.read([str(tmp_path)])):
            assert_same(run.rows, plain(synthetic(number, N)))
