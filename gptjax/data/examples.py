"""Examples in a store: which of their tokens answer, and where each begins.

A store of examples holds `2 id + 1` for a token of an answer, `2 id` for any other and `2 x vocab_size` before each
example, so the shards, checks and journal of a store of text serve it as they are.
"""

import hashlib
import json

import numpy as np
from jaxtyping import Bool, Int32, Int64

from gptjax.config import BadInput
from gptjax.data.store import Store
from gptjax.data.templates import Form, Message
from gptjax.data.tokenizers import Tokenizer

FORMAT = 1  # of what an example becomes; raise it when that changes, and every store is built anew
BLOCK = 2**22  # tokens of a store looked at together


class Marked(Tokenizer):
    """The tokenizer of a store of examples: the JSON of messages in, their marked tokens out."""

    def __init__(self, tokenizer: Tokenizer, chat: dict[str, str]):
        self.form, self.chat, self.plain = Form(tokenizer, chat), chat, tokenizer
        self.name, self.end_of_text = f"{tokenizer.name} of dialogs", 2 * tokenizer.vocab_size
        self.vocab_size = self.end_of_text + 1

    @property
    def fingerprint(self) -> str:
        parts = [str(FORMAT), self.plain.fingerprint, json.dumps(self.chat, sort_keys=True)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def encode(self, text: str) -> Int32[np.ndarray, " T"]:
        messages = [Message(*message) for message in json.loads(text)]
        try:
            parts = self.form.example(messages)
        except BadInput as error:
            raise BadInput(f"{error}; it is the dialog that begins {messages[0].content[:60]!r}") from error
        return np.concatenate([2 * np.array(part.tokens, np.int32) + part.answer for part in parts])


class Examples:
    """The examples of a store, by arrays over all N of them."""

    def __init__(self, store: Store, end_of_text: int):
        self.store, self.end_of_text, self.border = store, end_of_text, store.manifest["end_of_text"]
        borders, edges, lasts = [], [], []
        before = self.border  # the token before the block
        for start in range(0, store.n_tokens, BLOCK):
            ids = np.concatenate([[before], store.read(start, start + BLOCK)])
            answers = (ids % 2 == 1) & (ids != self.border)
            edges.append(np.flatnonzero(answers[1:] & ~answers[:-1]) + start)
            (found,) = np.nonzero(ids[1:] == self.border)
            borders.append(found + start)
            lasts.append(ids[found])  # what stands before each border
            before = int(ids[-1])
        border_N, edges_K = np.concatenate(borders), np.concatenate(edges)
        last_N = np.concatenate(lasts)[1:]
        self.begins_N: Int64[np.ndarray, " N"] = border_N[:-1] + 1
        self.lengths_N: Int64[np.ndarray, " N"] = border_N[1:] - self.begins_N
        self.heads_N: Int64[np.ndarray, " N"] = edges_K[np.searchsorted(edges_K, self.begins_N)] - self.begins_N
        # An end of text is a target where an answer comes last and has not ended with one already.
        self.ends_N: Bool[np.ndarray, " N"] = (last_N % 2 == 1) & (last_N != 2 * end_of_text + 1)

    def read(self, start: int, n: int) -> tuple[Int32[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
        """`n` tokens from `start`, and which of them answer; a border is an end of text."""
        ids = self.store.read(start, start + n)
        borders = ids == self.border
        return np.where(borders, np.int32(self.end_of_text), ids // 2), (ids % 2 == 1) & ~borders
