"""Tokenizers that need no library: what every tokenizer has, bytes, and the characters of a text."""

import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float32, Int, Int32

NAME_FILE = "tokenizer_name.json"


class Tokenizer:
    """What every tokenizer has. `token_bytes` sums, over the tokens of any text, to the length of its UTF-8."""

    name: str
    vocab_size: int
    end_of_text: int  # never stands in what `encode` returns, and decodes to ""
    token_bytes: Float32[np.ndarray, " V"]
    special: dict[str, int]  # tokens that stand for no text, by how a chat template spells them
    files: dict[str, bytes]  # by name, all that defines it

    def encode(self, text: str) -> Int32[np.ndarray, " T"]:
        """The tokens of any text. What spells a special token stays text."""
        raise NotImplementedError

    def encode_batch(self, texts: Sequence[str]) -> list[Int32[np.ndarray, " _"]]:
        """`encode` of each, on all cores where the library can."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: Int[np.ndarray, " T"] | Sequence[int]) -> str:
        """The text; bytes that are not UTF-8, as a model may write them, become U+FFFD."""
        raise NotImplementedError

    def spelled(self, i: int) -> bytes:
        """The UTF-8 that a token stands for, which may be a part of a character; none of a special token."""
        raise NotImplementedError

    @property
    def fingerprint(self) -> str:
        """Sha256 of what defines it: two tokenizers that share it give the same ids for any text."""
        digest = hashlib.sha256(self.name.encode())
        for name, content in sorted(self.files.items()):
            digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
        return digest.hexdigest()

    def save(self, folder: pathlib.Path) -> None:
        """Makes the folder one that `load` reads, in one move: a folder that exists is whole."""
        files = {NAME_FILE: json.dumps({"name": self.name, "fingerprint": self.fingerprint}).encode(), **self.files}
        if all((folder / name).is_file() and (folder / name).read_bytes() == files[name] for name in files):
            return
        part = folder.with_name(f".{folder.name}.{os.getpid()}")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for name, content in files.items():
            (part / name).write_bytes(content)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)


class Bytes(Tokenizer):
    """Each byte of the UTF-8 is a token; byte 0 is end_of_text, so U+0000 (which corpora refuse) does not survive."""

    name, vocab_size, end_of_text = "bytes", 256, 0

    def __init__(self, files: dict[str, bytes]):
        self.files, self.special = files, {}
        self.token_bytes = np.ones(256, np.float32)
        self.token_bytes[self.end_of_text] = 0

    def encode(self, text: str) -> Int32[np.ndarray, " T"]:
        return np.frombuffer(text.encode(), np.uint8).astype(np.int32)

    def decode(self, ids: Int[np.ndarray, " T"] | Sequence[int]) -> str:
        return bytes(i for i in map(int, ids) if i != self.end_of_text).decode(errors="replace")

    def spelled(self, i: int) -> bytes:
        return b"" if i == self.end_of_text else bytes([i])


class Characters(Tokenizer):
    """Each character of the training text is a token; any other is spelled by the hexadecimal digits of its UTF-8.

    Ids: 0 is end_of_text, 1 to 16 are the digits 0 to f (half a byte each), then the characters in code point order.
    """

    name, end_of_text, first = "characters", 0, 17

    def __init__(self, files: dict[str, bytes]):
        self.files, self.special = files, {}
        characters = json.loads(files["characters.json"])
        self.bytes_of = [b""] * self.first + [character.encode() for character in characters]
        self.vocab_size = len(self.bytes_of)
        self.token_bytes = np.array([len(character) for character in self.bytes_of], np.float32)
        self.token_bytes[1 : self.first] = 0.5
        self.id_of = np.full(0x110000, -1, np.int32)  # by code point; 4.5 MB make encoding one look-up
        self.id_of[[ord(character) for character in characters]] = np.arange(self.first, self.vocab_size)

    def encode(self, text: str) -> Int32[np.ndarray, " T"]:
        ids_T = self.id_of[np.frombuffer(text.encode("utf-32-le"), np.uint32)]
        unknown = np.flatnonzero(ids_T < 0)
        if not len(unknown):
            return ids_T
        parts, start = [], 0
        for at in unknown.tolist():
            spelled = [int(digit, 16) + 1 for digit in text[at].encode().hex()]
            parts += [ids_T[start:at], np.array(spelled, np.int32)]
            start = at + 1
        return np.concatenate([*parts, ids_T[start:]])

    def decode(self, ids: Int[np.ndarray, " T"] | Sequence[int]) -> str:
        found, high = bytearray(), None  # `high` is a digit that waits for the second of its byte
        for i in map(int, ids):
            if 1 <= i < self.first and high is not None:
                found.append(16 * high + i - 1)
                high = None
            elif 1 <= i < self.first:
                high = i - 1
            else:
                found += (b"" if high is None else b"\xff") + self.bytes_of[i]
                high = None
        return (found + (b"" if high is None else b"\xff")).decode(errors="replace")

    def spelled(self, i: int) -> bytes:
        return self.bytes_of[i]  # nothing of half a byte


def characters_of(texts: Iterable[str]) -> Characters:
    """A tokenizer of every character in the texts; others will be spelled by the digits of their bytes."""
    seen: set[str] = set()
    for text in texts:
        seen.update(text)
    return Characters({"characters.json": json.dumps(sorted(seen), ensure_ascii=False).encode()})
