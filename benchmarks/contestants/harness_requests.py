"""lm-evaluation-harness's requests answered by a model of a folder. Arguments: key=value of who (ours or hf), folder,
kind, requests, and batch, which only hf is given."""

import importlib
import importlib.metadata
import sys
import time
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from benchmarks.contest import serve

WORDS = (
    "the of and a to in is that it was for on are as with his they at be this from have or by one had not but".split()
)
TOKENS = 32  # of a text that is written


def words(first: int, n: int) -> str:
    """Words in an order that no other `first` has."""
    return " ".join(WORDS[(first * 31 + at * (7 + first % 5) + at // 9) % len(WORDS)] for at in range(n))


def requests(kind: str, n: int) -> tuple[Any, list[Instance]]:
    """The method of the harness's models that answers them, and n of them.

    A question of `choice` and of `shots` has four answers; the latter's context is as long as after a few examples.
    """
    made: list[tuple[Any, ...]]
    if kind == "choice":
        made = [(words(at // 4, 40), f" {words(at + 999, 4)}") for at in range(n)]
    elif kind == "shots":
        made = [(words(at // 4, 120), f" {words(at + 999, 2)}") for at in range(n)]
    elif kind == "cloze":
        made = [(words(at, 50), f" {words(at + 999, 1)}") for at in range(n)]
    elif kind == "rolling":
        made = [(words(at, 400),) for at in range(n)]
    else:
        made = [(words(at, 40), {"until": ["\n\n"], "max_gen_toks": TOKENS, "do_sample": False}) for at in range(n)]
    methods = {"rolling": "loglikelihood_rolling", "generate": "generate_until"}
    method: Any = methods.get(kind, "loglikelihood")
    return method, [Instance(method, {}, arguments, at, ("", at, 1)) for at, arguments in enumerate(made)]


def opened(who: str, folder: str, batch: str) -> LM:
    if who == "ours":
        from gptjax.evaluation.harness import HarnessModel
        from gptjax.training import source

        return HarnessModel(source.open_run(folder))
    made = importlib.import_module("lm_eval.models.huggingface").HFLM
    return made(pretrained=folder, device="cpu", dtype="float32", batch_size=int(batch))


def main(who: str, folder: str, kind: str, requests_: str, batch: str) -> None:
    method, asked = requests(kind, int(requests_))
    model = opened(who, folder, batch)

    def run(n: int) -> float:
        started = time.perf_counter()
        for _ in range(n):
            getattr(model, method)(asked)
        return time.perf_counter() - started

    library = "jax" if who == "ours" else "torch"
    serve({"version": f"{library} {importlib.metadata.version(library)}"}, run)


if __name__ == "__main__":
    main(**{key.replace("requests", "requests_"): value for key, value in (pair.split("=") for pair in sys.argv[1:])})
