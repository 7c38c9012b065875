import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import tracemalloc
from collections import Counter

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gptjax.config import BadInput, TokenizerConfig
from gptjax.data import corpora, documents, tokenizers
from gptjax.data.corpora import open_corpus


@pytest.fixture
def shared() -> pathlib.Path:
    if "GPTJAX_TEST_DATA" not in os.environ:
        pytest.skip("needs the shared test data: set GPTJAX_TEST_DATA")
    return pathlib.Path(os.environ["GPTJAX_TEST_DATA"])


def texts(corpus: corpora.Corpus, split: str) -> dict[str, str]:
    """The documents of a split by name; fails where pieces are empty or do not say which document they belong to."""
    found: dict[str, str] = {}
    for piece in corpus.documents(split):
        assert piece.text
        assert piece.first == (piece.document not in found)
        assert piece.first or piece.document == list(found)[-1]
        found[piece.document] = found.get(piece.document, "") + piece.text
    return found


def elsewhere(expression: str, **environment: str) -> str:
    """What an expression about `corpora` prints in a fresh Python."""
    code = f"import sys\nfrom gptjax.data import corpora\nprint({expression})"
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, check=True, capture_output=True, text=True
    ).stdout.strip()


# python


def word_runs(text: str) -> set[tuple[str, ...]]:
    """Of 13 words: the overlap measure of Brown et al. 2020, appendix C."""
    words = text.split()
    return set(zip(*(words[at:] for at in range(13)), strict=False))


@pytest.fixture(scope="module")
def python() -> corpora.Corpus:
    return open_corpus("python")


def test_python_holds_out_families_and_nothing_that_training_repeats(python):
    train, valid = texts(python, "train"), texts(python, "valid")
    assert not {corpora.family(name) for name in train} & {corpora.family(name) for name in valid}
    runs_of = {name: runs for name, text in valid.items() if (runs := word_runs(text))}
    all_runs = set().union(*runs_of.values())
    seen = set().union(*(word_runs(text) & all_runs for text in train.values()))
    repeated = {name: len(runs & seen) / len(runs) for name, runs in runs_of.items()}
    assert max(repeated.values()) < 0.25, max(repeated, key=repeated.__getitem__)


def test_python_is_a_twentieth_held_out_with_prose_and_code_on_both_sides(python):
    train, valid = texts(python, "train"), texts(python, "valid")
    sizes = [sum(len(text) for text in side.values()) for side in (train, valid)]
    assert 0.03 < sizes[1] / sum(sizes) < 0.07
    for side in (train, valid):
        assert {name.startswith("topics/") for name in side} == {True, False}
        assert not any("test" in pathlib.PurePath(name).parts for name in side)
    at = [number for number, name in enumerate(train) if name.startswith("topics/")]
    assert min(at) < len(train) / 10 and max(at) > len(train) * 9 / 10  # not all prose first


@pytest.mark.parametrize("spec", ["python", "synthetic"])
def test_a_made_corpus_is_the_same_in_every_process_and_needs_no_tfds(spec):
    expression = f"corpora.open_corpus({spec!r}).fingerprint('valid'), 'tensorflow_datasets' in sys.modules"
    assert elsewhere(expression, PYTHONHASHSEED="7") == f"{open_corpus(spec).fingerprint('valid')} False"


def test_synthetic_words_follow_each_other_as_it_says():
    train, valid = (
        [text.removesuffix(".\n").split() for text in texts(open_corpus("synthetic"), split).values()]
        for split in ("train", "valid")
    )
    pairs = Counter(pair for words in train for pair in zip(words, words[1:], strict=False))
    before = Counter(word for words in train for word in words[:-1])
    total = before.total()
    entropy = -sum(n / total * math.log2(n / before[first]) for (first, _), n in pairs.items())
    assert abs(entropy - 1.75) < 0.02  # some words have one follower twice, so it is a little less
    held_out = {pair for words in valid for pair in zip(words, words[1:], strict=False)}
    assert max(Counter(first for first, _ in pairs.keys() | held_out).values()) == 4
    assert not set(map(tuple, train)) & set(map(tuple, valid))


# text


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.text(st.sampled_from("ab\n\r é€😀\ufeff"), min_size=1, max_size=200), piece=st.integers(4, 40))
def test_a_file_is_its_two_splits_to_the_byte(text, piece, tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "PIECE_BYTES", piece)
    (tmp_path / "a.txt").write_bytes(text.encode())
    corpus = open_corpus(f"text:{tmp_path}/a.txt")
    train, valid = (texts(corpus, split).get("a.txt", "") for split in ("train", "valid"))
    assert train + valid == text.removeprefix("\ufeff")
    assert not valid or train[-1] in "\n " and len(valid.encode()) <= len(text.encode()) / 10 + 1


def test_of_few_documents_the_last_lines_are_held_out(tmp_path):
    lines = [f"line {n}\n" for n in range(10, 60)]
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(name + "\n" + "".join(lines))
    corpus = open_corpus(f"text:{tmp_path}/*.txt")
    assert texts(corpus, "valid") == dict.fromkeys(("a.txt", "b.txt"), "".join(lines[-5:]))


def test_a_large_file_is_one_document_that_is_never_held_whole(tmp_path):
    size = 32 * 2**20
    (tmp_path / "large.txt").write_bytes(b"some words on a line\n" * (size // 21))
    tracemalloc.start()
    pieces = [(piece.first, len(piece.text)) for piece in open_corpus(f"text:{tmp_path}/large.txt").documents("train")]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(pieces) > 20 and [first for first, _ in pieces].count(True) == 1
    assert peak < 8 * documents.PIECE_BYTES < size / 3


def test_gpt2_tokens_of_the_pieces_are_those_of_the_document(shared, tmp_path, monkeypatch):
    text = (shared / "tiny_shakespeare/input.txt").read_text(encoding="utf-8")[:20_000].replace(":\n", ":\n\n  \n ")
    (tmp_path / "a.txt").write_text(text)
    gpt2 = tokenizers.make(TokenizerConfig("gpt2", str(shared / "gpt2-bpe")), 50257, lambda: [])
    monkeypatch.setattr(documents, "PIECE_BYTES", 300)
    pieces = [piece.text for piece in open_corpus(f"text:{tmp_path}/a.txt").documents("train")]
    assert len(pieces) > 60
    np.testing.assert_array_equal(np.concatenate(gpt2.encode_batch(pieces)), gpt2.encode("".join(pieces)))


def write_rows(file: pathlib.Path, rows: list[str], field: str) -> None:
    if file.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.table({"n": [1] * len(rows), field: rows}), file)
    else:
        file.write_text("\n\n".join(json.dumps({"n": 1, field: row}) for row in rows))


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize("field", ["text", "body"])
def test_of_many_documents_whole_ones_are_held_out_and_copies_stay_together(suffix, field, tmp_path):
    rows = [f"row {n % 300}\nabout something" for n in range(600)]
    write_rows(tmp_path / f"a.{suffix}", rows, field)
    corpus = open_corpus(f"text:{tmp_path}/*.{suffix}" + (":body" if field == "body" else ""))
    train, valid = (texts(corpus, split) for split in ("train", "valid"))
    assert sorted([*train.values(), *valid.values()]) == sorted(rows)
    assert 10 <= len(valid) <= 60 and not set(train.values()) & set(valid.values())
    write_rows(tmp_path / f"a.{suffix}", ["a new row", *rows], field)
    moved = texts(corpus, "valid")
    assert [text for text in moved.values() if text != "a new row"] == list(valid.values())


def test_a_pattern_takes_files_in_order_and_a_colon_may_be_in_a_name(tmp_path):
    (tmp_path / "b:c").mkdir()
    for name in ("z.md", "a.txt", "b:c/x[1].py"):
        (tmp_path / name).write_text(f"{name}\nmore\n")
    (tmp_path / "empty.py").write_text("")
    assert list(texts(open_corpus(f"text:{tmp_path}/**/*.*"), "train")) == ["a.txt", "b:c/x[1].py", "z.md"]
    assert list(texts(open_corpus(f"text:{tmp_path}/b:c/x[1].py"), "train")) == ["x[1].py"]


def test_a_fingerprint_is_of_names_and_text_and_is_remembered_while_files_stand_unchanged(tmp_path, monkeypatch):
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
        (folder / "a.txt").write_text("some text\n" * 20)
    of = lambda folder, split="train", name="*.txt": open_corpus(f"text:{folder}/{name}", tmp_path).fingerprint(split)
    first = of(folders[0])
    assert first == of(folders[1]) != of(folders[0], "valid")
    with monkeypatch.context() as patch:
        patch.setattr(corpora.TextFiles, "documents", lambda *_: pytest.fail("read again"))
        assert of(folders[0]) == first
    with monkeypatch.context() as patch:
        patch.setattr(documents, "PIECE_BYTES", 16)
        assert open_corpus(f"text:{folders[0]}/*.txt").fingerprint("train") == first  # however it is cut
    (folders[0] / "a.txt").write_text("some test\n" * 20)
    (folders[1] / "a.txt").rename(folders[1] / "b.txt")
    assert len({first, of(folders[0]), of(folders[1])}) == 3


# TensorFlow Datasets


def test_tfds_gives_the_text_without_tensorflow(shared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(shared / "tfds"))
    corpus = open_corpus("tfds:tiny_shakespeare")
    train, valid = texts(corpus, "train"), texts(corpus, "valid")
    assert [*train, *valid] == ["train/0", "validation/0", "test/0"]
    text = (shared / "tiny_shakespeare/input.txt").read_text(encoding="utf-8")
    assert "".join([*train.values(), *valid.values()]) == text
    assert "tensorflow" not in sys.modules
    assert open_corpus("tfds:tiny_shakespeare:text").fingerprint("valid") == corpus.fingerprint("valid")


def test_tfds_holds_out_of_train_where_it_has_no_other_split(shared, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    shutil.copytree(shared / "tfds/tiny_shakespeare", tmp_path / "tiny_shakespeare", copy_function=shutil.copyfile)
    file = tmp_path / "tiny_shakespeare/1.0.0/dataset_info.json"
    info = json.loads(file.read_text())
    file.chmod(0o644)
    file.write_text(json.dumps(info | {"splits": info["splits"][:1]}))
    corpus = open_corpus("tfds:tiny_shakespeare")
    train, valid = texts(corpus, "train"), texts(corpus, "valid")
    assert train.keys() == valid.keys() == {"train/0"}
    assert 0.0999 < len(valid["train/0"]) / len(valid["train/0"] + train["train/0"]) < 0.1


# errors


@pytest.mark.parametrize(
    "spec, words",
    [
        ("pyton", "no corpus 'pyton'; did you mean python\\? It is one of python, synthetic, tfds:NAME"),
        ("text:", "did you mean text:GLOB"),
        ("tfds:tiny_shakespeare", "not prepared in .*; run: gptjax prepare --corpus=tfds:tiny_shakespeare$"),
        ("tfds:tiny_shakespear", "no such set; did you mean tfds:tiny_shakespeare\\?"),
        ("text:HERE/bookz/*.txt", "matches no file; did you mean HERE/books\\?"),
        ("text:HERE/x/y/*.txt", "matches no file; the nearest folder that exists is HERE$"),
        ("text:HERE/pictures", "nothing in that folder is a .txt, .md, .py, .jsonl, .parquet file$"),
        ("text:HERE/books/*.{txt,md}", "braces stand for nothing here: name a folder"),
        ("HERE/books/*.txt", "no corpus 'HERE/books/\\*.txt'; did you mean text:HERE/books/\\*.txt\\? It is one of"),
        ("text:HERE/books/empty.txt", "HERE/books/empty.txt: empty$"),
        ("text:HERE/books/image.png", "image.png: gptjax reads .txt, .md, .py, .jsonl, .parquet, not .png"),
        ("text:HERE/books/latin.txt:body", "latin.txt: has no field 'body'"),
        ("text:HERE/books/latin.txt", "HERE/books/latin.txt: not UTF-8 at byte 2097160; save it as UTF-8, as `iconv"),
        ("text:HERE/books/nul.txt", "nul.txt: U\\+0000 at byte 2097152;"),
        ("text:HERE/books/word.txt", "its valid split is empty; there is too little text"),
        ("text:HERE/rows/field.jsonl", "field.jsonl, line 3: no field 'text'; it has title, body$"),
        ("text:HERE/rows/field.jsonl:body", "field.jsonl, line 1: no field 'body'; it has text$"),
        ("text:HERE/rows/list.jsonl", "list.jsonl, line 1: no field 'text'; it is no object"),
        ("text:HERE/rows/broken.jsonl", "broken.jsonl, line 2: not JSON"),
        ("text:HERE/rows/number.jsonl", "number.jsonl, line 1: the field 'text' is int, not text"),
        ("text:HERE/rows/half.jsonl", "half.jsonl, line 1: the field 'text' holds half of a surrogate pair"),
        ("text:HERE/rows/nul.jsonl", "nul.jsonl, line 1: U\\+0000 at byte 1;"),
        ("text:HERE/rows/good.parquet:txt", "good.parquet: no column 'txt'; it has n, text$"),
        ("text:HERE/rows/bad.parquet", "bad.parquet: not Parquet"),
    ],
)
def test_bad_input_is_told_in_one_line(spec, words, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    (tmp_path / "books").mkdir()
    (tmp_path / "rows").mkdir()
    (tmp_path / "pictures").mkdir()
    contents = {
        "books/empty.txt": b"",
        "books/image.png": b"x",
        "pictures/image.png": b"x",
        "books/latin.txt": b"12345678" + b"1234567\n" * 2**18 + b"\xe9t\xe9" + b"\nmore words" * 2**16,
        "books/nul.txt": b"1234567\n" * 2**18 + b"\0" + b"\nmore words" * 2**16,
        "books/word.txt": b"word",
        "rows/field.jsonl": b'{"text": "a"}\n\n{"title": "b", "body": "c"}\n',
        "rows/list.jsonl": b'["a"]\n',
        "rows/broken.jsonl": b'{"text": "a"}\n{"text": \n',
        "rows/number.jsonl": b'{"text": 1}\n',
        "rows/half.jsonl": b'{"text": "\\ud800"}\n',
        "rows/nul.jsonl": b'{"text": "a\\u0000b"}\n',
        "rows/bad.parquet": b"rubbish",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    write_rows(tmp_path / "rows/good.parquet", ["a", "b"], "text")
    with pytest.raises(BadInput, match=words.replace("HERE", str(tmp_path))) as caught:
        corpus = open_corpus(spec.replace("HERE", str(tmp_path)))
        [corpus.fingerprint(split) for split in corpus.splits]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "spec, words", [("tfds:lm1b", r"pip install 'gptjax\[prepare\]'"), ("python", "only tfds:NAME")]
)
def test_preparing_without_tensorflow_says_what_to_install(spec, words, monkeypatch):
    monkeypatch.setattr(corpora.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=words):
        corpora.prepare(spec)
