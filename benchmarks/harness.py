"""lm-evaluation-harness's requests answered by gptjax and by its own `hf` backend, on one model in float32.

    python -m benchmarks.harness [--folder=DIR] [--rounds=3] [--kinds=choice,shots,...] [--batches=1,8,32]

Both answer the same requests, in turn: gptjax, then hf with each batch size, again and again. A ratio is the median
over the rounds of hf's seconds, at the batch size that suits it best, over gptjax's; `all` is every kind's work
together. Kinds are choice, shots (choice after a few examples), cloze, rolling and generate. The folder is a model of
Hugging Face, by default GPT-2 124M with random weights and a vocabulary of no meaning, made in a temporary folder.
Needs pip install 'gptjax[harness,torch]'.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from benchmarks.contest import Contestant, print_machine, print_table

BARS = {"choice": 3.0, "shots": 3.0, "all": 1.2}  # times as fast as the hf backend
REQUESTS = {"choice": 64, "shots": 32, "cloze": 24, "rolling": 2, "generate": 8}
ENV = {
    "ours": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "JAX_PLATFORMS": "cpu"},
    "hf": {"HF_HUB_OFFLINE": "1"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", metavar="DIR")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", default=",".join(REQUESTS))
    parser.add_argument("--batches", default="1,8,32")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of requests")
    flags = parser.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory() as made:
        folder = flags.folder or f"{made}/gpt2"
        if not flags.folder:
            subprocess.run([sys.executable, "-m", "benchmarks.contestants.gpt2_folder", folder], check=True)
        found = [
            times(kind, folder, flags.rounds, flags.batches.split(","), flags.scale) for kind in flags.kinds.split(",")
        ]
    rounds_of = lambda who: zip(*(of[who] for of in found), strict=True)
    together = {who: [float(sum(of_round)) for of_round in rounds_of(who)] for who in ("ours", "hf")}
    rows = [row(kind, of) for kind, of in zip(flags.kinds.split(","), found, strict=True)]
    print_table([*rows, row("all", together)])
    print_machine()


def times(kind: str, folder: str, rounds: int, batches: Sequence[str], scale: float) -> dict[str, list[float]]:
    """Seconds of each round, of gptjax and of hf with its best batch size."""
    n = max(4, round(REQUESTS[kind] * scale))
    contestants = {"ours": opened("ours", folder, kind, n, "1")}
    contestants |= {batch: opened("hf", folder, kind, n, batch) for batch in batches}
    for contestant in contestants.values():
        contestant.run(1)
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            seconds[name].append(contestant.run(1)["seconds"])
    for contestant in contestants.values():
        contestant.close()
    best = min(batches, key=lambda batch: statistics.median(seconds[batch]))
    print(f"{kind}: {n} requests, hf with batch {best}", flush=True)
    return {"ours": seconds["ours"], "hf": seconds[best]}


def opened(who: str, folder: str, kind: str, n: int, batch: str) -> Contestant:
    words = [f"who={who}", f"folder={folder}", f"kind={kind}", f"requests={n}", f"batch={batch}"]
    return Contestant([sys.executable, "-m", "benchmarks.contestants.harness_requests", *words], env=ENV[who])


def row(kind: str, seconds: dict[str, list[float]]) -> dict[str, object]:
    ratio = statistics.median(hf / ours for hf, ours in zip(seconds["hf"], seconds["ours"], strict=True))
    medians = {f"{who} s": statistics.median(found) for who, found in seconds.items()}
    return {"work": kind, **medians, "x hf": ratio, "bar": BARS[kind] if kind in BARS else None}


if __name__ == "__main__":
    main()
