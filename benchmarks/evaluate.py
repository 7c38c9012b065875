"""Multiple choice by GPT-2 124M (random weights) with and without sharing the contexts' pass.

    python -m benchmarks.evaluate [--tasks=docstrings,unicode_names] [--shots=5] [--limit=24] [--rounds=3]

The same pairs of context and choice either way, with the same programs: at once, so that the choices of a question
share its context, and a choice at a time (first choices of all questions, then second ones...), so that none does. The
vocabulary is GPT-2's, from GPTJAX_TEST_DATA. The two take turns; a ratio is the median over the rounds of their ratios.
The scores are compared too: they are the same to the last bit.
"""

import argparse
import functools
import os
import statistics
import time

import jax

from benchmarks.contest import print_machine, print_table
from gptjax import config
from gptjax.data import subwords
from gptjax.evaluation import answering, continuations, task
from gptjax.evaluation.continuations import Pair
from gptjax.model import gpt, presets

BAR = 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="docstrings,unicode_names,arithmetic")
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--limit", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    flags = parser.parse_args()
    cfg = config.load("configs/base.py", [f"model.{key}={value}" for key, value in presets.gpt2("124M").items()]).model
    params = jax.block_until_ready(jax.jit(functools.partial(gpt.init, cfg=cfg))(jax.random.key(0)))
    score = functools.partial(continuations.score, params, cfg)
    print_machine()
    print_table([row(name, score, flags) for name in flags.tasks.split(",")])
    print_machine()


def row(name: str, score, flags: argparse.Namespace) -> dict[str, object]:
    questions = questions_of(name, flags.shots, flags.limit)
    pairs = [pair for question in questions for pair in question]
    by_choice = [
        [question[at] for question in questions if at < len(question)] for at in range(max(map(len, questions)))
    ]
    ways = {"with": [pairs], "without": by_choice}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    nats: dict[str, list[float]] = {}
    for number in range(flags.rounds + 1):  # the first compiles
        for way, calls in ways.items():
            began = time.perf_counter()
            nats[way] = [value for call in calls for value in score(call).nats_N.tolist()]
            seconds[way] += [time.perf_counter() - began] * (number > 0)
    ratios = [without / shared for without, shared in zip(seconds["without"], seconds["with"], strict=True)]
    return {
        "task": name,
        "questions": len(questions),
        "choices": len(pairs),
        "context": statistics.median(len(context) for context, _ in pairs),
        "choice": statistics.median(len(choice) for _, choice in pairs),
        "questions/s without": len(questions) / statistics.median(seconds["without"]),
        "with": len(questions) / statistics.median(seconds["with"]),
        "x": statistics.median(ratios),
        "bar": BAR,
        "same bits": str(sorted(nats["with"]) == sorted(nats["without"])),
    }


def questions_of(name: str, shots: int, limit: int) -> list[list[Pair]]:
    """The pairs of each question."""
    tokenizer = subwords.read_gpt2(os.path.join(os.environ["GPTJAX_TEST_DATA"], "gpt2-bpe"))
    (one,) = task.load([name])
    questions = task.opened(one, limit)
    shown = task.drawn_shots(one, questions, shots)
    split = [
        [answering.split_at_blanks(task.with_shots(question, shown), answer) for answer in question.answers]
        for question in questions
    ]
    return [[answering.pair_of(tokenizer, *pair) for pair in question] for question in split]


if __name__ == "__main__":
    main()
