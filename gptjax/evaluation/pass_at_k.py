"""pass@k: the chance that one of k programs of a model passes its tests (Chen et al. 2021)."""

from collections.abc import Sequence

import numpy as np

from gptjax.config import BadInput
from gptjax.evaluation import sandbox, scores
from gptjax.evaluation.sandbox import LIMITS, Limits
from gptjax.evaluation.scores import Measure


def unbiased(n: int, n_right: int, k: int) -> float:
    """1 - C(n - c, k) / C(n, k), of n candidates of which c are right (equation 1), as a product that cannot overflow.

    Raises BadInput where there are fewer candidates than k.
    """
    if not 1 <= k <= n:
        raise BadInput(f"pass@{k}: needs at least {k} candidates of each problem and k of at least 1, got {n}")
    if n - n_right < k:
        return 1.0
    return 1.0 - float(np.prod(1.0 - k / np.arange(n - n_right + 1, n + 1)))


def measure(n_candidates: Sequence[int], n_right: Sequence[int], k: int) -> Measure:
    """The mean over problems."""
    values = [unbiased(n, right, k) for n, right in zip(n_candidates, n_right, strict=True)]
    return scores.mean(f"pass@{k}", np.array(values, np.float64), f"pass@{k}|unbiased")


def run(programs: Sequence[Sequence[str]], *, execute: bool, limits: Limits = LIMITS) -> list[int]:
    """How many candidates of each problem pass, each a whole program that raises where its tests fail.

    Raises BadInput unless `execute` says that code which a model wrote may run on this machine, and where the machine
    cannot lock it down.
    """
    if not execute:
        raise BadInput("pass@k runs code that a model wrote, so it is off; ask for it by execute=True")
    return [sum(sandbox.run(program, limits).passed for program in candidates) for candidates in programs]


def human_eval(prompt: str, completion: str, test: str, entry_point: str) -> str:
    """The program of a completion in HumanEval's form, whose `test` defines `check(candidate)`."""
    return f"{prompt}{completion}\n\n{test}\n\ncheck({entry_point})\n"
