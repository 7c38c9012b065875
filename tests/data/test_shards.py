"""Run as a program (`test_shards.py TASK CACHE`), this file is the child process of the tests that kill and measure."""

import hashlib
import json
import pathlib
import re
import resource
import subprocess
import sys
import time

import numpy as np
import pytest

from gptjax import progress
from gptjax.config import BadInput
from gptjax.data import shards
from gptjax.data.alphabets import Bytes, Tokenizer, characters_of
from gptjax.data.documents import Corpus, Piece
from gptjax.data.store import open_store, verify

SAMPLE = ["To be, or not to be", "", "naïve café ☃", "x", "a longer document " * 9]


class Fake(Corpus):
    """Documents from a list, in pieces of so many characters."""

    def __init__(self, texts, piece_chars=1000, name="fake"):
        super().__init__(name, None, {})
        self.texts, self.piece_chars = texts, piece_chars

    def documents(self, split):
        for number, text in enumerate(self.texts):
            for start in range(0, max(1, len(text)), self.piece_chars):
                yield Piece(str(number), text[start : start + self.piece_chars], start == 0)

    def fingerprint(self, split):
        return hashlib.sha256("\0".join(self.texts).encode()).hexdigest()


class Counting(Bytes):
    """Bytes that remembers what it was given, and can die."""

    def __init__(self, dies_after=10**9):
        super().__init__({})
        self.seen, self.dies_after = [], dies_after

    def encode(self, text):
        if len(self.seen) >= self.dies_after:
            raise KeyboardInterrupt
        self.seen.append(text)
        return super().encode(text)


class Given(Tokenizer):
    """Says what it is told to."""

    def __init__(self, ids, vocab_size):
        self.name, self.ids, self.vocab_size, self.end_of_text, self.files = "given", ids, vocab_size, 0, {}

    def encode(self, text):
        return np.array(self.ids, np.int32)


def stream_of(texts):
    return np.array([byte for text in texts for byte in b"\0" + text.encode()] + [0], np.int32)


@pytest.fixture
def small(monkeypatch):
    """Shards of 64 tokens and groups of 20 characters."""
    monkeypatch.setattr(shards, "SHARD_TOKENS", 64)
    monkeypatch.setattr(shards, "GROUP_CHARS", 20)


@pytest.mark.parametrize("shard_tokens", [5, 64, 2**26])
@pytest.mark.parametrize("group_chars", [1, 50, 2**22])
def test_the_stream_is_every_document_opened_and_the_last_closed(tmp_path, monkeypatch, shard_tokens, group_chars):
    monkeypatch.setattr(shards, "SHARD_TOKENS", shard_tokens)
    monkeypatch.setattr(shards, "GROUP_CHARS", group_chars)
    store = shards.build(Fake(SAMPLE, piece_chars=11), "train", Bytes({}), tmp_path)
    expected = stream_of(SAMPLE)
    np.testing.assert_array_equal(store.read(0, 10**12), expected)
    for start, stop in [(0, 1), (5, 5), (6, 71), (63, 65), (200, 10**12)]:
        np.testing.assert_array_equal(store.read(start, stop), expected[start:stop])
    starts = np.array([0, 1, 60, len(expected) - 3, len(expected) + 50])
    padded = np.concatenate([expected, np.zeros(100, np.int32)])
    np.testing.assert_array_equal(store.windows(starts, 9), [padded[start : start + 9] for start in starts])
    counts = {key: store.manifest[key] for key in ("n_tokens", "n_documents", "n_bytes")}
    assert counts == {"n_tokens": len(expected), "n_documents": 5, "n_bytes": sum(len(t.encode()) for t in SAMPLE)}
    assert [shard["n_tokens"] for shard in store.manifest["shards"][:-1]] == [shard_tokens] * (len(store.borders) - 2)
    verify(store)


@pytest.mark.parametrize("tokenizer", [Bytes({}), characters_of(SAMPLE[:3])])
def test_where_pieces_are_cut_changes_no_token(tmp_path, tokenizer):
    hashes = {
        shards.build(Fake(SAMPLE, size), "train", tokenizer, tmp_path / str(size)).manifest["shards"][0]["sha256"]
        for size in (1, 3, 1000)
    }
    assert len(hashes) == 1


@pytest.mark.parametrize(("vocab_size", "width"), [(2, 1), (256, 1), (257, 2), (65_536, 2), (65_537, 4)])
def test_tokens_take_the_fewest_bytes_that_hold_the_vocabulary(tmp_path, vocab_size, width):
    store = shards.build(Fake(["x"]), "train", Given([vocab_size - 1, 1], vocab_size), tmp_path)
    assert store.read(0, 9).tolist() == [0, vocab_size - 1, 1, 0]
    raw = (store.folder / "tokens-00000.bin").read_bytes()
    assert raw == b"".join(i.to_bytes(width, "little") for i in (0, vocab_size - 1, 1, 0))


def test_text_is_tokenised_once_and_again_when_text_or_tokenizer_change(tmp_path):
    first = shards.build(Fake(SAMPLE), "train", Bytes({}), tmp_path)
    again = shards.build(Fake(SAMPLE), "train", Counting(dies_after=0), tmp_path)  # would die if it were asked
    other_text = shards.build(Fake(SAMPLE[:1]), "train", Bytes({}), tmp_path)
    other_tokenizer = shards.build(Fake(SAMPLE), "train", characters_of(SAMPLE), tmp_path)
    assert first.folder == again.folder
    assert len({store.folder for store in (first, other_text, other_tokenizer)}) == 3


@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
def test_a_corpus_without_text_is_refused_by_name(tmp_path, texts):
    with pytest.raises(BadInput, match="corpus fake: its valid split holds no text"):
        shards.build(Fake(texts), "valid", Bytes({}), tmp_path)


@pytest.mark.parametrize(("ids", "problem"), [([3, 8], "id 8"), ([-1, 2], "id -1"), ([3, 0], "end_of_text")])
def test_ids_a_tokenizer_must_not_give_are_refused(tmp_path, ids, problem):
    with pytest.raises(BadInput, match=f"corpus fake.*({problem}.*given|given.*{problem})"):
        shards.build(Fake(["x"]), "train", Given(ids, vocab_size=8), tmp_path)


@pytest.mark.parametrize("dies_after", range(0, 60, 7))
def test_a_build_goes_on_after_its_finished_shards(tmp_path, small, dies_after):
    corpus = Fake([f"document {i}: " + "z" * i for i in range(40)], piece_chars=25)
    whole = shards.build(corpus, "train", Counting(), tmp_path / "whole")
    broken, rest = Counting(dies_after), Counting()
    with pytest.raises(KeyboardInterrupt):
        shards.build(corpus, "train", broken, tmp_path / "cut")
    finished = {file: file.stat().st_ino for file in finished_shards(tmp_path / "cut")}
    cut = shards.build(corpus, "train", rest, tmp_path / "cut")
    assert cut.manifest == whole.manifest
    verify(cut)
    assert all(file.stat().st_ino == inode for file, inode in finished.items())
    n_bytes_of = lambda texts: sum(len(text.encode()) + 1 for text in texts)
    assert (
        n_bytes_of(broken.seen) + n_bytes_of(rest.seen) <= whole.n_tokens + 64 + 100
    )  # at most a shard and a group twice


def finished_shards(cache):
    """Of a build under way, the files that its journal names."""
    return [
        journal.with_name(shard["file"])
        for journal in cache.glob("*/journal.json")
        for shard in json.loads(journal.read_bytes())["shards"]
    ]


def child(task, cache):
    return subprocess.Popen([sys.executable, __file__, task, str(cache)], stdout=subprocess.PIPE, text=True)


def test_a_killed_build_ends_like_one_that_was_left_alone(tmp_path):
    """SIGKILL while it writes; the child says at its end how many pieces it tokenised."""
    process = child("slow", tmp_path / "cut")
    while len(finished_shards(tmp_path / "cut")) < 5 and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -9
    process.communicate()
    assert not list((tmp_path / "cut").glob("*/manifest.json"))
    finished = len(finished_shards(tmp_path / "cut"))
    again, alone = child("fast", tmp_path / "cut"), child("fast", tmp_path / "alone")
    n_again, n_alone = (int(process.communicate(timeout=60)[0]) for process in (again, alone))
    cut, whole = (open_store(next((tmp_path / name).iterdir())) for name in ("cut", "alone"))
    assert cut.manifest == whole.manifest and finished >= 5
    verify(cut)
    assert n_alone == 400 and n_again <= 400 - 10 * (finished - 2)


def test_processes_that_build_one_store_at_once_tokenise_it_once(tmp_path):
    builders = [child("slow", tmp_path) for _ in range(3)]
    counts = sorted(int(process.communicate(timeout=60)[0]) for process in builders)
    assert counts == [0, 0, 400]
    (folder,) = tmp_path.iterdir()
    verify(open_store(folder))


def test_a_text_larger_than_memory_may_be_tokenised(tmp_path):
    """100 MB of text must not grow the process by half of that."""
    grown, n_tokens = map(int, child("large", tmp_path).communicate(timeout=120)[0].split())
    assert n_tokens > 100e6 and grown < 50e6


def run_child(task, cache):
    if task == "large":
        page = "All happy families are alike. " * 40_000
        build = lambda texts, name: shards.build(Fake(texts, 10**6, name), "train", Bytes({}), cache)
        Fake.fingerprint = lambda self, split: self.name
        build([page] * 5, "warm")  # what groups need at once is no growth with the text
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        store = build([page] * 84, "large")
        unit = 1 if sys.platform == "darwin" else 1024
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit, store.n_tokens
    shards.SHARD_TOKENS, shards.GROUP_CHARS = 1000, 100

    class Slow(Counting):
        def encode(self, text):
            time.sleep(0.002 if task == "slow" else 0)
            return super().encode(text)

    tokenizer = Slow()
    shards.build(Fake([f"{i:099}" for i in range(400)]), "train", tokenizer, cache)
    return (len(tokenizer.seen),)


def test_only_a_long_build_says_so_away_from_a_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(shards, "GROUP_CHARS", 20)
    said = {}
    for name, seconds, shown in [("short", 0.001, True), ("long", 0.1, True), ("silent", 0.1, False)]:
        clock = iter(np.arange(0, 1000, seconds))
        monkeypatch.setattr(progress.time, "monotonic", lambda clock=clock: float(next(clock)))
        shards.build(Fake(["word " * 20] * 50), "train", Bytes({}), tmp_path / name, progress=shown)
        said[name] = capsys.readouterr().err
    assert said["short"] == said["silent"] == ""
    assert re.fullmatch(r"tokenising fake/train: \d+\.\d MB of text in \d+ s\n", said["long"])


if __name__ == "__main__":
    print(*run_child(sys.argv[1], pathlib.Path(sys.argv[2])))
