"""What a model answered becomes the field's metrics."""

import itertools
import math

import numpy as np
import pytest

from gptjax.config import BadInput
from gptjax.evaluation import edits, measures, scores
from gptjax.evaluation.answering import Answers
from gptjax.evaluation.task import Question, Task

NONE = np.zeros(2)


def answers(nats, greedy=(), n_tokens: np.ndarray = NONE, n_bytes: np.ndarray = NONE, texts=()):
    arrays = [np.array(of, np.float64) for of in nats], [np.array(of) for of in greedy]
    return Answers(*arrays, n_tokens.astype(np.float64), n_bytes.astype(np.float64), list(texts), 0)


def values(measured):
    return {name: scores.whole(measure) for name, measure in measured.items()}


def test_a_choice_is_judged_by_its_likelihood_and_by_that_a_byte():
    questions = [Question("a", (" yes", " certainly not"), 1), Question("b", (" é", " yes"), 0)]
    found = answers([[-2.0, -3.0], [-2.0, -2.5]])  # a byte: -0.67 against -0.21, -1 against -0.83
    one = Task("t", "choice", lambda: questions)
    assert values(measures.of_answers(one, questions, found)) == {"accuracy": 0.5, "accuracy_norm": 0.5}
    assert measures.chosen(found.nats, questions, "accuracy") == [0, 0]
    assert measures.chosen(found.nats, questions, "accuracy_norm") == [1, 1]


def test_a_byte_of_a_choice_is_of_its_text_alone():
    assert [measures.n_bytes(answer) for answer in (" ab ", "é", " ", "a b")] == [2, 2, 1, 3]


def test_equally_likely_choices_give_the_first():
    questions = [Question("a", (" x", " y"), 1)]
    assert measures.chosen([np.array([-1.0, -1.0])], questions, "accuracy") == [0]


def test_a_cloze_is_judged_by_its_likelihood():
    questions = [Question("a", (" bc",)), Question("d", (" efgh",))]
    found = answers([[-2.0], [-4.0]], [[True], [False]], n_tokens=np.array([1, 2]), n_bytes=np.array([3, 5]))
    one = Task("t", "cloze", lambda: questions, metrics=("accuracy", "loss", "perplexity", "bits_per_byte"))
    assert values(measures.of_answers(one, questions, found)) == {
        "accuracy": 0.5,
        "loss": 2.0,
        "perplexity": pytest.approx(math.exp(2)),
        "bits_per_byte": pytest.approx(6 / 8 / math.log(2)),
    }
    of_words = measures.of_baseline(one, [" bc", " x"], questions, found, "b")
    assert values(of_words) == {"accuracy": 0.5}
    of_nats = measures.of_baseline(one, [-1.0, -2.0], questions, found, "b")
    assert values(of_nats)["loss"] == 1.0 and "accuracy" not in of_nats


def test_texts_are_held_against_their_references():
    questions = [Question("a", ("one\ntwo", "uno")), Question("b", ("three",))]
    names = ("exact_match", "first_line_exact_match", "edit_similarity", "chrf", "rouge1")
    one = Task("t", "generate", lambda: questions, metrics=names)
    found = values(measures.of_answers(one, questions, answers([], texts=[" one\nTWO", "four"])))
    assert list(found) == list(names)
    assert found["exact_match"] == 0 and found["first_line_exact_match"] == 0.5
    assert found["edit_similarity"] == pytest.approx((4 / 7 + 0) / 2)
    assert found["rouge1"] == pytest.approx(0.5)
    copied = measures.of_baseline(one, ["uno", "three"], questions, answers([]), "b")
    assert values(copied)["exact_match"] == 1


def test_a_baseline_picks_a_choice_by_its_text():
    questions = [Question("a", (" x", " y"), 1), Question("b", (" x", " y"), 0)]
    one = Task("t", "choice", lambda: questions)
    found = measures.of_baseline(one, [" y", " y"], questions, answers([]), "b")
    assert values(found) == {"accuracy": 0.5, "accuracy_norm": 0.5}
    with pytest.raises(BadInput, match="1 answers to 2 questions"):
        measures.of_baseline(one, [" y"], questions, answers([]), "b")


def test_the_distance_is_levenshteins():
    def slow(one, other):
        if not one or not other:
            return len(one) + len(other)
        return min(slow(one[1:], other) + 1, slow(one, other[1:]) + 1, slow(one[1:], other[1:]) + (one[0] != other[0]))

    words = ["".join(letters) for n in range(4) for letters in itertools.product("ab", repeat=n)] + ["aüb", "üb"]
    for one, other in itertools.product(words, words):
        assert edits.distance(one, other) == slow(one, other)
    assert edits.distance("kitten", "sitting") == 3 and edits.similarity("", "") == 1
