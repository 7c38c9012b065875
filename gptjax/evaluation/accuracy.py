"""Shares of what is right: tokens, sequences and whole texts."""

import unicodedata
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from gptjax.config import BadInput
from gptjax.evaluation import scores
from gptjax.evaluation.scores import Measure


def token_accuracy(hits_NT: Bool[np.ndarray, "N T"], weights_NT: Float[np.ndarray, "N T"]) -> Measure:
    """The share of weighted targets that are the model's likeliest token, every token alike."""
    hits_N, weights_N = ((values * weights_NT).astype(np.float64).sum(1) for values in (hits_NT, np.ones_like(hits_NT)))
    return scores.ratio("token_accuracy", hits_N, weights_N, "argmax|per:token")


def sequence_accuracy(hits_NT: Bool[np.ndarray, "N T"], weights_NT: Float[np.ndarray, "N T"]) -> Measure:
    """The share of examples of which every target that weighs anything is the model's likeliest token."""
    right_N = np.all(hits_NT | (weights_NT == 0), axis=1).astype(np.float64)
    return scores.mean("sequence_accuracy", right_N, "argmax|per:sequence")


def exact_match(texts: Sequence[str], references: Sequence[Sequence[str]]) -> Measure:
    """The share of texts that are one of their references, blanks at either end and Unicode forms (NFC) aside."""
    check(texts, references, "exact_match")
    right = [plain(text) in map(plain, known) for text, known in zip(texts, references, strict=True)]
    return scores.mean("exact_match", np.array(right, np.float64), "strip|nfc|case:mixed")


def plain(text: str) -> str:
    """What two texts are compared by: blanks at either end and Unicode forms (NFC) aside, case kept."""
    return unicodedata.normalize("NFC", text.strip())


def check(texts: Sequence[str], references: Sequence[Sequence[str]], metric: str) -> None:
    """Raises BadInput unless every text has at least one reference."""
    if len(texts) != len(references):
        raise BadInput(f"{metric}: {len(texts)} texts, but {len(references)} lists of references")
    if lacking := [number for number, known in enumerate(references) if not known]:
        raise BadInput(f"{metric}: example {lacking[0]} has no reference")
