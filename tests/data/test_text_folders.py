"""A folder as a corpus: all texts below it, and what is said of those that are not UTF-8."""

import pytest

from gptjax.config import BadInput
from gptjax.data.corpora import open_corpus

WORDS = "some words of a file\n" * 9


def test_a_folder_stands_for_every_text_below_it(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("b.MD", "in/a.txt", "c.png", ".hidden.txt"):
        (tmp_path / name).write_text(WORDS)
    corpus = open_corpus(f"text:{tmp_path}")
    assert [piece.document for piece in corpus.documents("train")] == ["b.MD", "in/a.txt"]
    assert corpus.provenance == {"files": 2, "bytes": 2 * len(WORDS), "other_files": 1}
    assert corpus.fingerprint("train") == open_corpus(f"text:{tmp_path}/**/*[Dt]").fingerprint("train")


def test_all_files_in_another_encoding_are_named_at_once(tmp_path):
    for number, text in enumerate((WORDS.encode(), WORDS.encode("utf-16"), b"caf\xe9\n" * 9, b"\xe9t\xe9")):
        (tmp_path / f"{number}.txt").write_bytes(text)
    with pytest.raises(BadInput) as refused:
        open_corpus(f"text:{tmp_path}").fingerprint("train")
    assert str(refused.value) == (
        f"{tmp_path}/1.txt: UTF-16; save it as UTF-8, as `iconv -f UTF-16 -t UTF-8` does; "
        f"so with {tmp_path}/2.txt, {tmp_path}/3.txt"
    )
