"""Tokenizers of model folders that end texts with another token than GPT-2's, or add tokens to the vocabulary."""

import json
import pathlib
from typing import Any

import pytest
from tokenizers import ByteLevelBPETokenizer, Tokenizer

from gptjax.config import BadInput
from gptjax.data import subwords, tokenizers
from tests.interop.make_golden import TEXTS


def folder_with(tmp_path: pathlib.Path, settings: dict[str, Any], **changes: Any) -> pathlib.Path:
    """A learned tokenizer.json whose special tokens are <s>, </s> and, added later, <pad>."""
    learned = ByteLevelBPETokenizer()
    learned.train_from_iterator(TEXTS * 9, vocab_size=270, special_tokens=["<s>", "</s>"], show_progress=False)
    learned.add_special_tokens(["<pad>"])
    learned.save(str(tmp_path / "tokenizer.json"))
    spec = json.loads((tmp_path / "tokenizer.json").read_text()) | changes
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    return tmp_path


@pytest.mark.parametrize("eos", ["</s>", {"content": "</s>"}], ids=str)
def test_the_folders_eos_token_is_end_of_text(eos, tmp_path):
    ours = subwords.read_gpt2(str(folder_with(tmp_path, {"eos_token": eos})))
    theirs = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert (ours.end_of_text, ours.vocab_size) == (1, theirs.get_vocab_size())
    pad = ours.vocab_size - 1
    assert theirs.id_to_token(pad) == "<pad>"
    assert ours.token_bytes[[0, 1, pad]].tolist() == [0, 0, 0] and ours.token_bytes[2] == 1
    for text in TEXTS:
        assert ours.encode(text).tolist() == theirs.encode(text).ids
    assert ours.decode([1, *ours.encode("the cat").tolist(), pad]) == "the cat"
    ours.save(tmp_path / "saved")
    assert tokenizers.load(tmp_path / "saved").end_of_text == 1


def test_text_that_spells_a_special_token_is_text(tmp_path):
    ours = subwords.read_gpt2(str(folder_with(tmp_path, {"eos_token": "</s>"})))
    assert not {0, 1} & set(ours.encode("</s> <s><pad>").tolist())
    assert ours.decode(ours.encode("</s> <s><pad>")) == "</s> <s><pad>"


THE_TEXT, A_TOKEN = {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<s>", "type_id": 0}}
TEMPLATE = {"type": "TemplateProcessing", "single": [THE_TEXT], "pair": [], "special_tokens": {}}


def test_the_template_that_transformers_5_writes_behind_gpt2s_words_adds_nothing(tmp_path):
    ours = subwords.read_gpt2(str(folder_with(tmp_path, {"eos_token": "</s>"}, post_processor=TEMPLATE)))
    theirs = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert [ours.encode(text).tolist() for text in TEXTS] == [theirs.encode(text).ids for text in TEXTS]


@pytest.mark.parametrize(
    ("settings", "changes", "words"),
    [
        ({"eos_token": "</s>", "add_bos_token": True}, {}, "add_bos_token"),
        ({"eos_token": "</s>", "add_prefix_space": True}, {}, "add_prefix_space"),
        ({"eos_token": "<end>"}, {}, "the vocabulary lacks '<end>'"),
        ({"eos_token": "</s>"}, {"normalizer": {"type": "NFC"}}, "GPT-2's way"),
        ({"eos_token": "</s>"}, {"post_processor": TEMPLATE | {"single": [A_TOKEN, THE_TEXT]}}, "GPT-2's way"),
        ({"eos_token": "</s>"}, {"pre_tokenizer": {"type": "Whitespace"}}, "GPT-2's way"),
    ],
    ids=str,
)
def test_what_would_give_other_ids_is_refused(settings, changes, words, tmp_path):
    folder = folder_with(tmp_path, settings, **changes)
    with pytest.raises(BadInput, match=words):
        subwords.read_gpt2(str(folder))
