"""Tokenizers as the files that transformers' AutoTokenizer reads, where it has one that gives the same ids."""

import json
from collections.abc import Callable
from typing import Any

from gptjax.data.subwords import END_OF_TEXT, LETTERS
from gptjax.data.tokenizers import Tokenizer


def of(tokenizer: Tokenizer, context: int) -> dict[str, Any]:
    """{file: content}; empty for a tokenizer that transformers has nothing like."""
    if tokenizer.name not in SPECS:
        return {}
    spec = SPECS[tokenizer.name](tokenizer)
    end = next(token["content"] for token in spec["added_tokens"] if token["id"] == tokenizer.end_of_text)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": end,
        "eos_token": end,
        "unk_token": end,
        "pad_token": end,
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
    }
    return {"tokenizer.json": spec, "tokenizer_config.json": settings}


def of_merges(tokenizer: Tokenizer) -> dict[str, Any]:
    return {"truncation": None, "padding": None, "normalizer": None, "post_processor": None} | json.loads(
        tokenizer.files["tokenizer.json"]
    )


def of_bytes(tokenizer: Tokenizer) -> dict[str, Any]:
    """Byte-level BPE without merges, whose entries have the bytes for ids; byte 0 is the special token."""
    vocab = {END_OF_TEXT: 0} | {letter: byte for letter, byte in LETTERS.items() if byte}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    flags = {"special": True, "normalized": False, "single_word": False, "lstrip": False, "rstrip": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": 0, "content": END_OF_TEXT} | flags],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    }


SPECS: dict[str, Callable[[Tokenizer], dict[str, Any]]] = {"gpt2": of_merges, "bpe": of_merges, "bytes": of_bytes}
