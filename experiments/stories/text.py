"""Held-out Shakespeare in passages: what stands before, and how it goes on. TFDS `tiny_shakespeare`, prepared.

The plays lie one after another and the last tenth is held out, so what is asked comes from other scenes than what was
trained on. TFDS cuts it in two: "validation" is the development half, and what a run evaluates on while it trains comes
from its beginning; "test" is the other. A passage that shares a run of 13 words with the training text is left out.
"""

import functools
from collections.abc import Iterator

from experiments import halves, leaks
from gptjax.data import corpora

CORPUS = "tfds:tiny_shakespeare"
PLACES = {"train": "train/", halves.VALID: "validation/", halves.TEST: "test/"}  # how TFDS's names of documents begin
BEFORE, AFTER = 300, 200  # characters; each passage starts and ends between two words


@functools.cache
def text(split: str) -> str:
    """Of "train", or of a half of what is held out: "valid" or "test"."""
    pieces = corpora.open_corpus(CORPUS).documents("train" if split == "train" else "valid")
    return "".join(piece.text for piece in pieces if piece.document.startswith(PLACES[split]))


@functools.cache
def passages(split: str) -> list[tuple[str, str]]:
    """(what stands before, how it goes on) of every passage that the training text does not hold, in order."""
    found = list(cut(text(split)))
    return leaks.unseen(found, ["".join(passage) for passage in found], [text("train")])


def cut(whole: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at + BEFORE + AFTER < len(whole):
        middle = whole.index(" ", at + BEFORE)
        end = whole.find(" ", middle + AFTER)
        if end < 0:
            return
        yield whole[at:middle], whole[middle:end]
        at = end
