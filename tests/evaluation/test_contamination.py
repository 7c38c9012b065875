"""Which questions of an evaluation stood in the training text, held against sets of words."""

import re

import numpy as np
import pytest

from gptjax.evaluation import contamination
from gptjax.evaluation.contamination import FEWEST, found_in, grams_of

WORDS = [f"w{number}" for number in range(5)]  # so few that short n-grams recur by chance


def text(rng: np.random.Generator, n: int) -> str:
    return " ".join(rng.choice(WORDS, n))


def shared(questions: list[str], training: str, most: int) -> list[bool]:
    """By sets of tuples, as the paper says it."""
    plain = lambda said: re.sub(r"[\W_]+", " ", said.lower()).split()
    grams = lambda words, n: {tuple(words[at : at + n]) for at in range(len(words) - n + 1)}
    seen = {n: grams(plain(training), n) for n in range(FEWEST, most + 1)}
    found = []
    for question in questions:
        n = min(most, len(plain(question)))
        found.append(n >= FEWEST and bool(grams(plain(question), n) & seen[n]))
    return found


@pytest.mark.parametrize("block", [10**9, 100, 1])
def test_questions_are_found_where_an_n_gram_is_shared(block, monkeypatch):
    """Blocks of any size: an n-gram that goes over the border of two is found."""
    monkeypatch.setattr(contamination, "BLOCK_CHARS", block)
    rng = np.random.default_rng(0)
    texts = [text(rng, n) for n in rng.integers(1, 60, 200)]
    questions = [text(rng, n) for n in rng.integers(1, 20, 300)]
    questions += ["w0 W1; w2-w3_w4,\n'w0' w1 w3 w3 w3"]  # case, punctuation and blanks do not count
    texts += ["(W0) w1 w2 w3 w4 w0 w1 w3 w3 w3."]
    grams = {"short": grams_of(questions), "long": grams_of([text(rng, n) for n in range(13, 40)])}
    assert (grams["short"].n, grams["long"].n) == (8, 13)
    found = found_in(texts, grams)
    expected = shared(questions, " ".join(texts), 8)
    assert found["short"].tolist() == expected and expected[-1]
    assert 30 < sum(expected) < 270


def test_n_follows_the_lengths_of_the_questions():
    lengths = lambda *found: grams_of([" ".join(WORDS[:1] * n) for n in found]).n
    assert lengths(*[100] * 20) == 13
    assert lengths(*[100] * 19, 1) == 13
    assert lengths(*[10] * 20) == 10
    assert lengths(*[3] * 20) == 8
