import itertools

import pytest

from gptjax.config import BadInput
from gptjax.evaluation import pass_at_k, scores

TEST = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(3) == 6\n"


@pytest.mark.parametrize("n,right,k", [(5, 2, 1), (5, 2, 3), (6, 0, 4), (6, 6, 1), (7, 1, 7), (4, 3, 2)])
def test_the_estimate_is_the_share_of_draws_of_k_that_hold_a_right_one(n, right, k):
    draws = list(itertools.combinations([True] * right + [False] * (n - right), k))
    assert pass_at_k.unbiased(n, right, k) == pytest.approx(sum(map(any, draws)) / len(draws), abs=1e-12)


def test_many_candidates_do_not_overflow():
    assert pass_at_k.unbiased(10_000, 1, 100) == pytest.approx(0.01, abs=1e-12)


@pytest.mark.parametrize("k", [0, 6])
def test_k_is_at_most_the_number_of_candidates(k):
    with pytest.raises(BadInput, match=f"pass@{k}: needs"):
        pass_at_k.unbiased(5, 1, k)


def test_nothing_runs_unless_asked_for():
    with pytest.raises(BadInput, match="ask for it by execute=True"):
        pass_at_k.run([["1"]], execute=False)


def test_candidates_that_pass_are_counted_and_scored():
    bodies = [["    return 2 * x\n", "    return x + 2\n"], ["    return x ** 2\n", "    raise OSError\n"]]
    programs = [
        [pass_at_k.human_eval("def double(x):\n", body, TEST, "double") for body in candidates] for candidates in bodies
    ]
    right = pass_at_k.run(programs, execute=True)
    assert right == [1, 0]
    found = scores.score(pass_at_k.measure([2, 2], right, 1), "a command")
    assert (found.name, found.value, found.n) == ("pass@1", 0.25, 2)
