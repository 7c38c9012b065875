"""Damage beside the shards: tokenizers, remembered fingerprints and TFDS's records."""

import os
import pathlib
import shutil

import pytest

from gptjax.config import BadInput
from gptjax.data import tokenizers
from gptjax.data.alphabets import characters_of
from gptjax.data.corpora import open_corpus
from gptjax.data.subwords import train_bpe

TEXTS = ["to be, or not to be: that is the question " * 9]


@pytest.mark.parametrize("made", [characters_of(TEXTS), train_bpe(270, TEXTS)], ids=lambda made: made.name)
def test_every_flipped_bit_of_a_tokenizer_is_refused_or_changes_nothing(made, tmp_path):
    made.save(tmp_path / "whole")
    for file in sorted((tmp_path / "whole").iterdir()):
        content = file.read_bytes()
        for at in range(0, len(content), max(1, len(content) // 60)):
            file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            with pytest.raises(BadInput, match=str(tmp_path / "whole")):
                tokenizers.load(tmp_path / "whole")
        file.write_bytes(content)
    assert tokenizers.load(tmp_path / "whole").fingerprint == made.fingerprint


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"sha256": 3}', b'{"sha256": "../x"}'])
def test_a_remembered_fingerprint_that_is_not_whole_is_made_again(content, tmp_path):
    (tmp_path / "a.txt").write_text("some notes\n" * 99)
    fingerprint = lambda: open_corpus(f"text:{tmp_path}/a.txt", tmp_path).fingerprint("train")
    first = fingerprint()
    (memory,) = (tmp_path / "fingerprints").iterdir()
    memory.write_bytes(content)
    assert fingerprint() == first and first in memory.read_text()


@pytest.fixture
def shakespeare(tmp_path, monkeypatch):
    """The file of a TFDS set's train split, in a copy of the set."""
    if "GPTJAX_TEST_DATA" not in os.environ:
        pytest.skip("needs the shared test data: set GPTJAX_TEST_DATA")
    given = pathlib.Path(os.environ["GPTJAX_TEST_DATA"]) / "tfds/tiny_shakespeare"
    shutil.copytree(given, tmp_path / "tiny_shakespeare", copy_function=shutil.copyfile)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    return next((tmp_path / "tiny_shakespeare").rglob("*train.array_record*"))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_tfds_file_is_named_though_array_record_opens_it_without_records(shakespeare, share):
    os.truncate(shakespeare, int(share * shakespeare.stat().st_size))
    with pytest.raises(BadInput, match="tfds:tiny_shakespeare, train record 0: cannot be read from .*tiny_shakespeare"):
        list(open_corpus("tfds:tiny_shakespeare").documents("train"))


def test_a_flipped_bit_of_a_tfds_file_is_named(shakespeare):
    content = bytearray(shakespeare.read_bytes())
    content[len(content) // 2] ^= 4
    shakespeare.write_bytes(content)
    with pytest.raises(BadInput, match="tfds:tiny_shakespeare, train record 0: cannot be read"):
        list(open_corpus("tfds:tiny_shakespeare").documents("train"))
