"""How near a text is to a reference, by edits and by first lines."""

from collections.abc import Sequence

import numpy as np

from gptjax.evaluation import scores
from gptjax.evaluation.accuracy import check, plain
from gptjax.evaluation.scores import Measure


def edit_similarity(texts: Sequence[str], references: Sequence[Sequence[str]]) -> Measure:
    """The mean of 1 - d / n: d the Levenshtein distance in characters, n the longer length; the nearest reference
    counts. Blanks at either end aside."""
    check(texts, references, "edit_similarity")
    values = [
        max(similarity(plain(text), plain(one)) for one in known) for text, known in zip(texts, references, strict=True)
    ]
    return scores.mean("edit_similarity", np.array(values, np.float64), "1-levenshtein/longest|strip|nfc")


def first_line_exact_match(texts: Sequence[str], references: Sequence[Sequence[str]]) -> Measure:
    """The share of texts of which the first line is that of a reference, blanks at either end aside."""
    check(texts, references, "first_line_exact_match")
    right = [first_line(text) in map(first_line, known) for text, known in zip(texts, references, strict=True)]
    return scores.mean("first_line_exact_match", np.array(right, np.float64), "first line|strip|nfc|case:mixed")


def first_line(text: str) -> str:
    return plain(plain(text).partition("\n")[0])


def similarity(one: str, other: str) -> float:
    """1 - Levenshtein distance / characters of the longer one: 1 of equal texts, two empty ones included."""
    longest = max(len(one), len(other))
    return 1.0 - distance(one, other) / longest if longest else 1.0


def distance(one: str, other: str) -> int:
    """Insertions, deletions and replacements of characters that make one the other (Levenshtein 1966)."""
    letters, at = np.frombuffer(other.encode("utf-32-le"), np.uint32), np.arange(len(other) + 1)
    row = at.copy()
    for letter in np.frombuffer(one.encode("utf-32-le"), np.uint32):
        kept = np.minimum(row[1:] + 1, row[:-1] + (letters != letter))
        row = np.concatenate([row[:1] + 1, kept])
        row = np.minimum.accumulate(row - at) + at  # what is inserted costs 1 a character from the left
    return int(row[-1])
