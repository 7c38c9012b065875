"""What opening and reading a store find, and what they leave unread."""

import json
import os
import re
import time

import numpy as np
import pytest

from benchmarks.input import sparse_store
from gptjax.config import BadInput
from gptjax.data import checks, shards, store
from gptjax.data.alphabets import Bytes
from gptjax.data.store import open_store, verify
from tests.data.test_shards import Fake

BLOCK = checks.BLOCK


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three shards of two and a half blocks, the last shorter."""
    monkeypatch.setattr(shards, "SHARD_TOKENS", BLOCK * 5 // 2)
    text = "".join(map(chr, np.random.default_rng(0).integers(32, 127, 7 * BLOCK)))
    return shards.build(Fake([text]), "train", Bytes({}), tmp_path).folder


def flip(file, at):
    content = bytearray(file.read_bytes())
    content[at] ^= 4
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda file: os.truncate(file, 63), "63 bytes, expected 10240"),
        (lambda file: os.truncate(file, 10241), "10241 bytes, expected 10240"),
        (lambda file: file.unlink(), "0 bytes, expected 10240"),
    ],
)
def test_a_shard_of_the_wrong_size_is_named_with_both_sizes(folder, damage, words):
    damage(folder / "tokens-00001.bin")
    with pytest.raises(BadInput, match=f"tokens-00001.bin is damaged: {words}"):
        open_store(folder)


@pytest.mark.parametrize(
    ("at", "first", "last"), [(0, 0, 4096), (4095, 0, 4096), (4096, 4096, 8192), (10239, 8192, 12288)]
)
def test_a_flipped_bit_is_named_by_the_bytes_it_is_in_by_whoever_reads_them(folder, at, first, last):
    flip(folder / "tokens-00001.bin", at)
    words = re.escape(f"{folder}/tokens-00001.bin is damaged at bytes {first} to {last}; delete {folder}")
    start = 10240 + at
    opened = open_store(folder)
    for reading in (lambda: opened.read(start, start + 1), lambda: opened.windows(np.array([5, start - 3]), 9)):
        with pytest.raises(BadInput, match=words):
            reading()
    with pytest.raises(BadInput, match=words):
        verify(open_store(folder))
    assert len(opened.read(0, 10240)) == 10240  # another shard, which is whole


def test_shards_that_changed_places_are_found_though_each_is_whole(folder):
    first, second = folder / "tokens-00000.bin", folder / "tokens-00001.bin"
    first.rename(folder / "x")
    second.rename(first)
    (folder / "x").rename(second)
    with pytest.raises(BadInput, match="tokens-00000.bin is damaged at bytes 0 to 4096"):
        open_store(folder).read(0, 1)


def test_a_damaged_file_of_sums_is_named_itself(folder):
    flip(folder / checks.NAME, 5)
    with pytest.raises(BadInput, match="checks.bin is damaged: its sha256 is not"):
        open_store(folder).read(5000, 5001)
    os.truncate(folder / checks.NAME, 8)
    with pytest.raises(BadInput, match="checks.bin is damaged: 8 bytes, expected"):
        open_store(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_tokens": 5}, "its hash of itself does not hold"),
        ({"end_of_text": 1}, "its hash of itself does not hold"),
        ({"shards": "many"}, "shards is not list"),
        ({"end_of_text": None}, "end_of_text is not int"),
        ({"format": 99}, "format 99, this version reads 2"),
    ],
)
def test_a_manifest_that_was_changed_is_refused(folder, changes, words):
    file = folder / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_bytes()) | changes))
    with pytest.raises(BadInput, match=words):
        open_store(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dtype": "object"}, "dtype is 'object'"),
        ({"dtype": "float64"}, "dtype is 'float64'"),
        ({"end_of_text": 256}, "end_of_text is 256"),
        ({"shards": [3]}, "3 is no shard"),
        ({"shards": [{"file": "../x", "n_tokens": 3, "sha256": ""}]}, "shard 0 is called '../x'"),
        ({"shards": [{"file": "tokens-00000.bin", "n_tokens": 10**18, "sha256": ""}]}, "expected 1000000000000000000"),
        ({"n_tokens": 10**18}, "not 1000000000000000000"),
        ({"n_tokens": -1}, "not -1"),
    ],
)
def test_a_manifest_made_to_mislead_is_refused_before_anything_is_allocated(folder, changes, words):
    """Its hash of itself is right: it was written so."""
    file = folder / "manifest.json"
    file.write_text(json.dumps(store.signed(json.loads(file.read_bytes()) | changes)))
    with pytest.raises(BadInput, match=words):
        open_store(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, "3", "\xff"])
def test_a_manifest_that_cannot_be_read_is_named(folder, text):
    (folder / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(BadInput, match=re.escape(f"{folder}/manifest.json is damaged")):
        open_store(folder)


def test_a_folder_without_a_manifest_is_no_store(tmp_path):
    with pytest.raises(BadInput, match=re.escape(f"{tmp_path} is not a token store")):
        open_store(tmp_path)


def test_a_billion_tokens_are_opened_in_no_time_and_read_where_they_stand(tmp_path):
    """A sparse file, which takes no room on disk; what is past 2^31 bits of it is read like the rest."""
    made = sparse_store(tmp_path / "sparse", 256)
    before = time.process_time()
    opened = open_store(made)
    assert time.process_time() - before < 0.05
    assert opened.windows(np.array([10**9 - 3, 7]), 5).tolist() == [[0] * 5, [0] * 5] and opened.n_tokens == 10**9
    with (made / "tokens-00014.bin").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\1")
    with pytest.raises(BadInput, match="tokens-00014.bin is damaged at bytes"):
        open_store(made).read(10**9 - 1, 10**9)
