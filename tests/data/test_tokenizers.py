import functools
import io
import json
import multiprocessing
import os
import pathlib
import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptjax.config import BadInput, TokenizerConfig
from gptjax.data import tokenizers
from gptjax.data.subwords import END_OF_TEXT, SentencePiece

NAMES = ("bytes", "characters", "gpt2", "bpe", "sentencepiece")
TRAINING_TEXT = [
    f"The {noun} sat on {n} mats,\n\tand didn't it say: {noun}s ✓?\n" for n in range(60) for noun in ("cat", "Dög")
]
TORTURE = (
    "",
    " ",
    "   leading and trailing   ",
    "it's we'll I'M you'd they've 'tis 're",
    "tabs\t\tand\r\nlines\n\n\n  indented\n \n",
    "12345 3.14 x86_64 ½ ⅷ ٣٤ ²",
    "naïve café e\u0301 Å Å ﬁ ß İi",
    "日本語と中文 한국어 עברית العربية हिन्दी",
    "👩‍👩‍👧‍👦🏳️‍🌈 𝔘𝔫𝔦 \U0010ffff\ufffd\ufeff",
    "a\u00a0b\u2003c\u3000d\u0085e\u2028f\u200bg\x1ch",
    "<|endoftext|> <|endoftext|>x <s></s> ▁ \u2581\u2581a <0x41>",
    "def f(x):\n    return {**x, '_': [~1]}  # !?!\n",
    "\x00\x01\x7f",
)


def folder_of(name: str) -> pathlib.Path:
    if "GPTJAX_TEST_DATA" not in os.environ:
        pytest.skip(f"needs {name} of the shared test data: set GPTJAX_TEST_DATA")
    return pathlib.Path(os.environ["GPTJAX_TEST_DATA"]) / name


@functools.cache
def sentencepiece_model(**settings) -> bytes:
    import sentencepiece

    found = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TRAINING_TEXT), model_writer=found, minloglevel=2, hard_vocab_limit=False, **settings
    )
    return found.getvalue()


@functools.cache
def made(name: str) -> tokenizers.Tokenizer:
    if name == "sentencepiece":
        exact = {"vocab_size": 320, "byte_fallback": True, "normalization_rule_name": "identity"}
        return SentencePiece({"sentencepiece.model": sentencepiece_model(**exact)})
    path = str(folder_of("gpt2-bpe")) if name == "gpt2" else ""
    n_characters = len(set("".join(TRAINING_TEXT)))
    vocab_size = {"bytes": 256, "characters": n_characters + 17, "gpt2": 50257, "bpe": 300}[name]
    return tokenizers.make(TokenizerConfig(name, path), vocab_size, lambda: TRAINING_TEXT)


def check_exact(tokenizer: tokenizers.Tokenizer, text: str) -> None:
    ids_T = tokenizer.encode(text)
    assert tokenizer.decode(ids_T) == text
    assert tokenizer.token_bytes[ids_T].sum() == len(text.encode())
    assert tokenizer.end_of_text not in ids_T


@pytest.mark.parametrize("name", NAMES)
def test_any_text_comes_back_and_its_bytes_are_counted(name):
    tokenizer = made(name)

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(st.text() | st.lists(st.sampled_from(["the cat", " ", "\n", "▁", END_OF_TEXT, "ö", "'s", "0"])).map("".join))
    def comes_back(text):
        # Of U+0000 `bytes` makes end_of_text, as architecture decision 5 says; only it, and only there.
        check_exact(tokenizer, text.replace("\0", "") if name == "bytes" else text)

    comes_back()
    for text in TORTURE:
        check_exact(tokenizer, text.replace("\0", "") if name == "bytes" else text)


@pytest.mark.parametrize("name", NAMES)
def test_a_token_spells_the_bytes_that_it_counts_for(name):
    tokenizer = made(name)
    n_bytes = [len(tokenizer.spelled(i)) for i in range(tokenizer.vocab_size)]
    np.testing.assert_array_equal(n_bytes, np.floor(tokenizer.token_bytes))  # half a byte is none
    text = TRAINING_TEXT[0]
    assert b"".join(tokenizer.spelled(i) for i in tokenizer.encode(text).tolist()) == text.encode()
    assert all(tokenizer.spelled(i) == b"" for i in tokenizer.special.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_its_texts_one_by_one(name):
    texts = [*TORTURE, *TRAINING_TEXT[:4]]
    for ids_T, text in zip(made(name).encode_batch(texts), texts, strict=True):
        np.testing.assert_array_equal(ids_T, made(name).encode(text))


@pytest.mark.parametrize("name", NAMES)
def test_end_of_text_is_silent_and_broken_utf8_becomes_the_replacement_character(name):
    tokenizer = made(name)
    ids_T = tokenizer.encode("day")
    assert tokenizer.token_bytes[tokenizer.end_of_text] == 0
    assert tokenizer.decode([tokenizer.end_of_text, *ids_T.tolist(), tokenizer.end_of_text]) == "day"
    rare_T = tokenizer.encode("\U0001f701")  # every tokenizer cuts it up
    assert set(tokenizer.decode(rare_T[:-1])) == {"\ufffd"}


def pretokens(text: str) -> list[str]:
    """GPT-2's words, its pattern with letters and numbers told by Unicode category in place of \\p{L} and \\p{N}.

    Each character is first replaced by one of five that stand for its class, which Python's `re` can match.
    """

    def kind(character):
        if character.isspace() and character not in "\x1c\x1d\x1e\x1f":  # str.isspace counts four more than Unicode
            return " " if character == " " else "\t"
        return {"L": "L", "N": "0"}.get(unicodedata.category(character)[0], "'" if character == "'" else ".")

    kinds = "".join(map(kind, text))
    pattern = re.compile(r" ?L+| ?0+| ?[.']+|\s+(?!\S)|\s+")
    words, at = [], 0
    while at < len(text):
        contraction = re.compile(r"'(?:s|t|re|ve|m|ll|d)").match(text, at)
        match = contraction or pattern.match(kinds, at)
        assert match
        words.append(text[at : match.end()])
        at = match.end()
    return words


def test_gpt2_agrees_with_a_second_implementation():
    """Byte-pair merges written out plainly, from the published algorithm, on text made to break them."""
    folder = folder_of("gpt2-bpe")
    vocab = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    lines = (folder / "vocab.bpe").read_text(encoding="utf-8").split("\n")[1:-1]
    ranks = {tuple(line.split()): rank for rank, line in enumerate(lines)}
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letter_of = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}

    def encode(text):
        for word in pretokens(text):
            parts = [letter_of[byte] for byte in word.encode()]
            while pairs := [pair for pair in zip(parts, parts[1:], strict=False) if pair in ranks]:
                best = min(pairs, key=ranks.__getitem__)
                merged = []
                while parts:
                    size = 2 if tuple(parts[:2]) == best else 1
                    merged.append("".join(parts[:size]))
                    parts = parts[size:]
                parts = merged
            yield from (vocab[part] for part in parts)

    for text in [*TORTURE, *TRAINING_TEXT, pathlib.Path(__file__).read_text(encoding="utf-8")]:
        assert made("gpt2").encode(text).tolist() == list(encode(text)), text


def test_gpt2_has_its_published_ids():
    assert made("gpt2").encode("Hello, my name is").tolist() == [15496, 11, 616, 1438, 318]  # the GPT-2 documentation's
    assert made("gpt2").end_of_text == 50256


@pytest.mark.parametrize("names", [("vocab.json", "merges.txt"), ("tokenizer.json",)])
def test_gpt2_is_the_same_from_any_of_its_files(names, tmp_path):
    source = folder_of("gpt2-bpe")
    merges = (source / "vocab.bpe").read_text(encoding="utf-8").split("\n")[1:-1]
    model = {"type": "BPE", "vocab": json.loads((source / "encoder.json").read_bytes())}
    before = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    as_hugging_face = {
        "normalizer": None,
        "pre_tokenizer": before,
        "model": model | {"merges": [*map(str.split, merges)]},
    }
    contents = {
        "vocab.json": (source / "encoder.json").read_bytes(),
        "merges.txt": (source / "vocab.bpe").read_bytes(),
        "tokenizer.json": json.dumps(as_hugging_face).encode(),
    }
    for name in names:
        (tmp_path / name).write_bytes(contents[name])
    for path in (tmp_path, tmp_path / names[0]):
        found = tokenizers.make(TokenizerConfig("gpt2", str(path)), 50257, lambda: [])
        assert found.fingerprint == made("gpt2").fingerprint


def test_training_bpe_again_gives_the_same_tokenizer():
    again = tokenizers.make(TokenizerConfig("bpe", ""), 300, lambda: iter(TRAINING_TEXT))
    other = tokenizers.make(TokenizerConfig("bpe", ""), 300, lambda: [text.upper() for text in TRAINING_TEXT])
    assert again.fingerprint == made("bpe").fingerprint != other.fingerprint
    assert len(again.encode(TRAINING_TEXT[0])) < len(TRAINING_TEXT[0]) / 2


def test_characters_are_one_token_each_and_others_are_spelled():
    tokenizer = made("characters")
    assert len(tokenizer.encode("The Dög")) == 7
    assert tokenizer.encode("€").tolist() == [1 + int(digit, 16) for digit in "e282ac"]
    assert tokenizer.decode([1]) == "\ufffd" and tokenizer.decode([1, *tokenizer.encode("cat").tolist()]) == "\ufffdcat"


def encode_elsewhere(folder: pathlib.Path, text: str) -> list[int]:
    return tokenizers.load(folder).encode(text).tolist()


def test_a_saved_tokenizer_is_the_same_in_another_process(tmp_path):
    folders = {name: tmp_path / "deep" / name for name in NAMES}
    for name, folder in folders.items():
        made(name).save(folder)
        made(name).save(folder)
        assert tokenizers.load(folder).fingerprint == made(name).fingerprint
    made("bpe").save(folders["characters"])  # replaces another tokenizer whole
    assert tokenizers.load(folders["characters"]).fingerprint == made("bpe").fingerprint
    made("characters").save(folders["characters"])
    assert len({made(name).fingerprint for name in NAMES}) == len(NAMES)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        for name, folder in folders.items():
            assert pool.apply(encode_elsewhere, (folder, TORTURE[7])) == made(name).encode(TORTURE[7]).tolist()


def test_sentencepiece_ends_with_bos_where_there_is_no_eos():
    no_eos = SentencePiece({"sentencepiece.model": sentencepiece_model(vocab_size=60, eos_id=-1)})
    assert no_eos.end_of_text == 1 != made("sentencepiece").end_of_text


@pytest.mark.parametrize(
    "name, vocab_size, content, words",
    [
        ("bytes", 300, None, "model.vocab_size=300, but the bytes tokenizer has 256 entries; set model.vocab_size=256"),
        ("characters", 5, "", r"set model.vocab_size=\d\d"),
        ("bpe", 90_000, "", r"the bpe tokenizer has \d+ entries"),
        ("bpe", 300, None, r"tokenizer.path='.*nowhere': .*no tokenizer there.*the folder `tokenizer` of a run"),
        ("gpt2", 50257, None, r"tokenizer.path='.*nowhere': .*merges.txt.*openai-community/gpt2"),
        ("gpt2", 50257, {"vocab.json": b"{", "merges.txt": b""}, "not GPT-2's files"),
        ("gpt2", 50257, {"vocab.json": b'{"<|endoftext|>": 0}', "merges.txt": b""}, "the vocabulary lacks '!'"),
        ("sentencepiece", 60, None, r"tokenizer.path='.*nowhere': no such file; .*\.model"),
        ("sentencepiece", 60, b"rubbish", "not a SentencePiece model"),
        ("sentencepiece", 60, "endless", "neither an eos nor a bos"),
    ],
)
def test_bad_input_is_told_in_one_line(name, vocab_size, content, words, tmp_path):
    path = tmp_path / "nowhere"
    if content == "endless":
        content = sentencepiece_model(vocab_size=60, eos_id=-1, bos_id=-1)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        path.mkdir()
        for file, text in content.items():
            (path / file).write_bytes(text)
    with pytest.raises(BadInput, match=words) as caught:
        tokenizers.make(TokenizerConfig(name, "" if content == "" else str(path)), vocab_size, lambda: TRAINING_TEXT)
    assert "\n" not in str(caught.value)


def test_loading_where_nothing_was_saved_names_the_folder(tmp_path):
    with pytest.raises(BadInput, match=f"{tmp_path}: no tokenizer there"):
        tokenizers.load(tmp_path)
