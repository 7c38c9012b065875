"""What differential privacy costs: a private step beside the plain one, with as many rows, all of them drawn.

    python -m benchmarks.privacy [--shape=smoke|small] [--rounds=N]

GPT-2's block without biases, float32, one batch of random tokens; each in a process of its own, in turn.
"""

import argparse

from benchmarks.contest import in_turn, print_machine, print_table
from benchmarks.step import SHAPES, ours

BAR = 2.5  # of the plain step's time


def main() -> None:
    parser = argparse.ArgumentParser(description="a private step beside the plain one")
    parser.add_argument("--shape", choices=("smoke", "small"), default="smoke")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=2)
    flags = parser.parse_args()
    shape = SHAPES[flags.shape]
    private = ["privacy.clip_norm=1", "privacy.noise_multiplier=1", f"privacy.max_batch={shape['batch']}"]
    one_by_one = f"accumulate={shape['batch']}"
    kinds = {
        "plain": [],
        "ghost": [*private, "privacy.method=ghost"],
        "ghost, a row at a time": [*private, "privacy.method=ghost", one_by_one],
        "vmap": [*private, "privacy.method=vmap"],
        "vmap, a row at a time": [*private, "privacy.method=vmap", one_by_one],
    }
    contestants = {name: ours(flags.shape, keys) for name, keys in kinds.items()}
    timings = in_turn(contestants, flags.rounds, flags.steps)
    for one in contestants.values():
        one.close()
    plain = timings["plain"].median_s
    print(f"{flags.shape}: {shape}, {flags.rounds} rounds of {flags.steps} steps; bar {BAR} times the plain step")
    rows = [
        {
            "step": name,
            "ms": timing.median_s * 1e3,
            "least": timing.least_s * 1e3,
            "most": timing.most_s * 1e3,
            "times plain": timing.median_s / plain,
            "temporary GiB": timing.ready["temporary_gib"],
            "compile s": timing.ready["compile_s"],
        }
        for name, timing in timings.items()
    ]
    print_table(rows)
    print_machine()


if __name__ == "__main__":
    main()
