"""BLEU, chrF and ROUGE against the libraries called directly, and against values found by hand."""

import sys

import numpy as np
import pytest
import sacrebleu
from rouge_score import rouge_scorer

from gptjax.config import BadInput
from gptjax.evaluation import overlap, scores

TEXTS = [
    "the cat sat on the mat by the door",
    "a quick brown fox jumped over dogs.\nIt slept.",
    "he said that nothing was wrong with it",
    "entirely other words",
]
REFERENCES = [
    ["the cat sat on the mat near the door"],
    ["the quick brown fox jumps over the dog.\nThen it slept."],
    ["he says that nothing is wrong with it"],
    ["what was expected here"],
]


def test_bleu_and_chrf_are_sacrebleus_with_its_signature():
    streams = [[known[0] for known in REFERENCES]]
    bleu, chrf = sacrebleu.BLEU(), sacrebleu.CHRF()
    for measure, metric in ((overlap.bleu(TEXTS, REFERENCES), bleu), (overlap.chrf(TEXTS, REFERENCES), chrf)):
        found = scores.score(measure, "", resamples=50)
        assert found.value == metric.corpus_score(TEXTS, streams).score > 20 and found.n == 4
        assert found.signature == str(metric.get_signature()) and found.low <= found.value <= found.high
    assert "tok:13a" in overlap.bleu(TEXTS, REFERENCES).signature and "nrefs:1" in overlap.chrf(TEXTS, REFERENCES)[3]


def test_examples_may_have_different_numbers_of_references():
    references = [[*REFERENCES[0], "the cat sat by the door"], *REFERENCES[1:]]
    streams = [[known[0] for known in REFERENCES], ["the cat sat by the door", None, None, None]]
    found = scores.whole(overlap.bleu(TEXTS, references))
    assert found == sacrebleu.BLEU().corpus_score(TEXTS, streams).score != scores.whole(overlap.bleu(TEXTS, REFERENCES))


def test_a_resample_is_the_corpus_of_the_drawn_examples():
    """The interval's draws, done by hand with whole texts."""
    measure = overlap.bleu(TEXTS, REFERENCES)
    rng = np.random.default_rng([5, 4])
    for value, counts in zip(
        scores.resampled(measure, 5, 3), rng.multinomial(4, np.full(4, 0.25), size=3), strict=True
    ):
        drawn = np.repeat(np.arange(4), counts)
        expected = sacrebleu.BLEU().corpus_score([TEXTS[i] for i in drawn], [[REFERENCES[i][0] for i in drawn]])
        assert value == pytest.approx(expected.score, abs=1e-9)


def test_rouge_is_rouge_scores_mean_f1():
    found = overlap.rouge(TEXTS, REFERENCES)
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=True)
    each = [scorer.score(known[0], text) for text, known in zip(TEXTS, REFERENCES, strict=True)]
    assert list(found) == ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    for name, measure in found.items():
        assert scores.whole(measure) == pytest.approx(np.mean([one[name].fmeasure for one in each]), abs=1e-12)
        assert "stem:porter" in measure.signature and "version:0.1" in measure.signature


def test_values_found_by_hand():
    """ "the cat sat" against "the cat ran": two of three words, one of two pairs; the best of two references counts."""
    found = overlap.rouge(["the cat sat"], [["a dog barked", "the cat ran"]])
    assert {name: round(scores.whole(measure), 6) for name, measure in found.items()} == {
        "rouge1": 0.666667, "rouge2": 0.5, "rougeL": 0.666667, "rougeLsum": 0.666667,
    }  # fmt: skip
    # All n-grams are right and 5 words stand against 6: exp(1 - 6/5).
    short = overlap.bleu(["one two three four five"], [["one two three four five six"]])
    assert scores.whole(short) == pytest.approx(100 * np.exp(-0.2))
    assert scores.whole(overlap.chrf(["same words"], [["same words"]])) == pytest.approx(100)


def test_without_the_libraries_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    monkeypatch.setitem(sys.modules, "rouge_score", None)
    for metric in (overlap.bleu, overlap.chrf, overlap.rouge):
        with pytest.raises(BadInput, match=r"pip install 'gptjax\[metrics\]'"):
            metric(TEXTS, REFERENCES)
