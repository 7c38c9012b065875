"""What is taken from a module, and what counts as a leak."""

import math

import pytest

from experiments import functions, halves, leaks, ngrams
from experiments.code import examples as code
from experiments.functions import Function
from experiments.nearest import Nearest
from experiments.ngrams import NGrams
from experiments.summaries import examples as summaries

MODULE = '''
import os
\f
class Tree:
    @property
    def size(self, deep=True,
             of=None):
        """How many leaves.

        Of them all.
        """

        # Counted anew.
        n = 0
        return n

    def bare(self):
        return 1

    def only(self):
        """Says something, does nothing."""

    def short(self): """One line."""; return 1

async def wait():
    """Wait.  """
    await other()
'''
SIZE = Function(
    "size",
    "def size(self, deep=True,\n         of=None):",
    "How many leaves.\n\nOf them all.",
    "    # Counted anew.\n    n = 0\n    return n",
)
WORDS = [f"w{number}" for number in range(40)]


def test_functions_with_a_docstring_and_a_body_are_taken_to_the_left_margin():
    size, wait = functions.of_source(MODULE)
    assert size == SIZE and (wait.name, wait.docstring, wait.body) == ("wait", "Wait.", "    await other()")
    documented = 'def size(self, deep=True,\n         of=None):\n    """How many leaves.\n\n    Of them all."""'
    assert size.documented == documented and size.summary == "How many leaves."


@pytest.mark.parametrize("text", ["not (Python", "x = 1\n", 'def f():\n  """Two blanks."""\n  return 1\n'])
def test_nothing_is_taken_from_what_is_laid_out_otherwise(text):
    assert list(functions.of_source(text)) == []


def test_what_is_put_together_is_the_function_again():
    for function in functions.of_source(MODULE):
        (again,) = functions.of_source(f"{function.documented}\n{function.body}\n")
        assert again == function


def test_a_long_body_is_shown_in_whole_lines():
    lines = [f"    line_{number} = {number}" for number in range(60)]
    shown = summaries.shown("\n".join(lines))
    assert shown.split("\n") == lines[: len(shown.split("\n"))] and 400 < len(shown) <= summaries.LONGEST
    assert summaries.shown("x" * 1000) == "x" * summaries.LONGEST
    assert summaries.shown("    return 1") == "    return 1"


def test_a_prompt_ends_where_the_answer_begins():
    assert summaries.prompt(SIZE) == f'{SIZE.signature}\n{SIZE.body}\n\n\n{SIZE.signature}\n    """'
    assert not summaries.wanted(SIZE._replace(docstring="How many\nleaves there are."))
    assert summaries.wanted(SIZE) and code.wanted(SIZE) and not code.wanted(SIZE._replace(body="x" * 401))


@pytest.mark.parametrize("shared,found", [(13, False), (12, True)])
def test_thirteen_words_in_a_row_are_a_leak(shared, found):
    asked = " ".join(WORDS[10 : 10 + shared]).upper() + ", and (other) words."
    train = [" ".join(WORDS[:20]) + "\n" + "; ".join(WORDS[20:])]
    assert bool(leaks.unseen(["a"], [asked], train)) == found


def test_a_short_text_is_a_leak_where_it_is_a_whole_training_text():
    items = leaks.unseen([0, 1, 2], ["Yes, I do.", "Yes, I did.", "no"], ["yes i do", "I did", "no way"])
    assert items == [1, 2]


def test_ngrams_are_a_distribution_that_knows_what_it_has_read():
    model = NGrams(3, 256, ["abcabcabd"])
    letters = [chr(code) for code in range(256)]
    for context in ("", "a", "ab", "zz", "zab"):
        assert math.isclose(sum(model.probability(context, letter) for letter in letters), 1.0)
    # After "ab" came c, c and d: with two kinds, (2 + 2 p) / 5; p is of "c" after "b", from the same counts.
    after_nothing = (2 + 4 / 256) / (9 + 4)
    after_b = (2 + 2 * after_nothing) / 5
    assert math.isclose(model.probability("xab", "c"), (2 + 2 * after_b) / 5)
    assert math.isclose(
        model.nats("ab", "cz"), -math.log((2 + 2 * after_b) / 5) - math.log(model.probability("bc", "z"))
    )


def test_ngrams_write_what_followed_most_often_up_to_the_end():
    model = NGrams(3, 256, [(*"abcabcabd", ""), (*"xyz", "")])
    assert model.greedy(("a", "b"), 4, ("",)) == tuple("cabc")
    assert model.greedy(tuple("qqxy"), 9, ("",)) == ("z",)


def test_shares_of_models_are_a_distribution_too():
    one, other = NGrams(3, 256, ["abcabcabd"]), NGrams(2, 256, ["bdbd"])
    mixed = lambda letter: math.exp(-ngrams.nats([(0.75, one), (0.25, other)], "ab", letter))
    assert math.isclose(sum(mixed(chr(code)) for code in range(256)), 1.0)
    assert math.isclose(mixed("d"), 0.75 * one.probability("ab", "d") + 0.25 * other.probability("b", "d"))


def test_the_nearest_shares_the_rarest_words():
    texts = ["what is a robot", "what is an answer", "who wrote get_sorted_names", ""]
    found = Nearest(texts)
    assert found.of("Robot: what is it?") == [0] and found.of("sortedNames") == [2]
    assert found.of("what is", 3) == [0, 1, 2] and found.of("nothing known") == [0]
    for number, text in enumerate(texts[:3]):
        assert math.isclose(found.cosines(text)[number], 1.0) and found.cosines(text)[3] == 0.0


def test_half_of_all_texts_are_in_either_half():
    found = [halves.half(f"text {number}") for number in range(1000)]
    assert found[:4] == [halves.half(f"text {number}") for number in range(4)] and 450 < found.count("test") < 550
