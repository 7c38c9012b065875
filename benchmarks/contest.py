"""Contestants in processes of their own, timed in turn, A B C, A B C, so that a machine whose speed drifts slows all.

A contestant prints one JSON object when it is ready, then answers each line `n` on its input with one more: the seconds
that n steps took, and its peak memory so far. It is idle, with its memory kept, while the others run.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

HERE = pathlib.Path(__file__).parent
NOISE = 1.5  # a load average per core above which a figure is not to be quoted


class Contestant:
    def __init__(
        self, command: Sequence[str], env: Mapping[str, str] | None = None, folder: pathlib.Path | None = None
    ):
        env = {**os.environ, **(env or {})}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, cwd=folder, text=True
        )
        self.ready = self.answer()

    def answer(self) -> dict:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"{self.process.args} ended with {self.process.wait()} before it answered")

    def run(self, n: int) -> dict:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{n}\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


class Timing(NamedTuple):
    median_s: float  # of a step, over the rounds
    least_s: float
    most_s: float
    peak_gib: float
    ready: dict


def in_turn(contestants: Mapping[str, Contestant], rounds: int, steps: int, warmup: int = 2) -> dict[str, Timing]:
    """Times `steps` steps of each contestant in each round; the first `warmup` steps of each count for nothing."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    peaks = {}
    for contestant in contestants.values():
        contestant.run(warmup)
    for number in range(rounds):
        for name, contestant in contestants.items():
            found = contestant.run(steps)
            seconds[name].append(found["seconds"] / steps)
            peaks[name] = found["peak_gib"]
        if sys.stderr.isatty():
            print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
    return {
        name: Timing(statistics.median(found), min(found), max(found), peaks[name], contestants[name].ready)
        for name, found in seconds.items()
    }


def print_table(rows: Sequence[Mapping[str, object]]) -> None:
    """Rows of one set of columns, for people."""
    columns = list(rows[0])
    cells = [columns, *[[text(row[column]) for column in columns] for row in rows]]
    widths = [max(len(row[number]) for row in cells) for number in range(len(columns))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "" if value is None else str(value)


def print_machine() -> None:
    """What the figures above were measured on, and whether to trust them."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    calm = "" if load / cores <= NOISE else f": above {NOISE} a core, so do not quote the seconds"
    lines = (line.partition(":") for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines())
    told = {key.strip(): value.strip() for key, _, value in lines}
    vectors = next((name for name in ("avx512f", "avx2", "avx") if name in told["flags"].split()), "no AVX")
    chip = f"{told['model name']} (family {told['cpu family']}, model {told['model']}, {vectors})"
    print(f"{cores} cores of {chip}, load {load:.2f}{calm}")


def peak_gib() -> float:
    """The most memory that this process has held."""
    (line,) = [line for line in pathlib.Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 2**20


def serve(ready: dict, run: Callable[[int], float], peak: Callable[[], float] = peak_gib) -> None:
    """A contestant's main loop; `run(n)` does n steps and returns their seconds, `peak()` the most GiB held so far."""
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        print(json.dumps({"seconds": run(int(line)), "peak_gib": peak()}), flush=True)
