"""How fast `gptjax analyze` reads: 1,000 runs of 10,000 steps and 8 metrics, cold and warm, and one run alone.

    python -m benchmarks.analyze [--runs=1000] [--steps=10000] [--folder=FOLDER] [--keep]

The logs are synthetic, in the very form that `gptjax train` writes: a line a step, numbers as they come from a device.
Cold: without the cache of what was read (the files are in the system's memory, as after a sweep that has just ended).
Seconds are of the clock, with those of all processors beside them, and the most memory at any time.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np

METRICS = (
    "train/nll", "grad/norm", "update/norm", "optim/lr", "perf/tokens_per_s", "perf/mfu", "perf/data_wait_s",
    "data/batch_crc",
)  # fmt: skip
BATCH = 65_536  # tokens


def log(seed: int, n_steps: int) -> bytes:
    """A metrics.jsonl with a line for each step."""
    draw = np.random.default_rng(seed)
    step = np.arange(n_steps)
    curve = 2.5 + 8 / (1 + step) ** 0.4 + 0.05 * draw.standard_normal(n_steps)
    columns = [
        curve,
        np.exp(0.2 * draw.standard_normal(n_steps)),
        0.02 * np.exp(0.1 * draw.standard_normal(n_steps)),
        3e-4 * np.minimum(1, (1 + step) / 500),
        4e5 * (1 + 0.02 * draw.standard_normal(n_steps)),
        0.4 * (1 + 0.02 * draw.standard_normal(n_steps)),
        np.abs(1e-3 * draw.standard_normal(n_steps)),
    ]
    spelled = [list(map(repr, column.astype(np.float32).astype(np.float64).tolist())) for column in columns]
    spelled.append([f"{crc}.0" for crc in draw.integers(0, 2**32, n_steps).tolist()])
    times = [repr(round(10 + 0.16 * at, 3)) for at in range(n_steps)]
    form = '{{"step": {}, "tokens": {}, "time_s": {}, ' + ", ".join(f'"{name}": {{}}' for name in METRICS) + "}}\n"
    lines = map(form.format, range(n_steps), range(0, n_steps * BATCH, BATCH), times, *spelled)
    return "".join(lines).encode()


def write(root: pathlib.Path, n_runs: int, n_steps: int) -> int:
    """A sweep of learning rates and seeds; returns its bytes."""
    from gptjax import config

    base, total = config.to_dict(config.load(pathlib.Path(__file__).parents[1] / "configs/base.py")), 0
    for number in range(n_runs):
        rate = 1e-4 * 2 ** (number // 5 % 8)
        own = base | {"seed": number % 5, "name": f"run{number:04d}", "n_steps": n_steps - 1, "batch_tokens": BATCH}
        own["optim"] = base["optim"] | {"peak_lr": rate, "warmup_steps": number // 40}
        folder = root / own["name"]
        folder.mkdir(parents=True)
        header = {"started": "2025-10-09T08:53:20+00:00", "config": own, "sessions": [], "name": own["name"]}
        (folder / "run.json").write_text(json.dumps(header))
        content = log(number, n_steps)
        (folder / "metrics.jsonl").write_bytes(content)
        total += len(content)
    return total


def timed(words: list[str], cache: pathlib.Path) -> tuple[float, float, float]:
    """Seconds of the clock, seconds of the processors, and GiB of memory at most, of `gptjax analyze`."""
    started = time.monotonic()
    command = [sys.executable, "-m", "gptjax.cli", "analyze", *words]
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, spent = os.wait4(child.pid, 0)
    wall_s = time.monotonic() - started
    if status:
        sys.exit(f"{command} ended with {status}")
    return wall_s, spent.ru_utime + spent.ru_stime, spent.ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--folder", help="default: a temporary one")
    parser.add_argument("--keep", action="store_true")
    flags = parser.parse_args()
    folder = pathlib.Path(flags.folder or tempfile.mkdtemp(prefix="gptjax-analyze-"))
    try:
        if not (folder / "runs").exists():
            total = write(folder / "runs", flags.runs, flags.steps)
            print(f"{flags.runs:,} runs x {flags.steps:,} steps x {len(METRICS)} metrics: {total / 1e9:.2f} GB")
        shutil.rmtree(folder / "cache", ignore_errors=True)
        one = str(folder / "runs/run0000")
        for what, words in [
            ("one run, cold", [one]),
            ("cold", [str(folder / "runs")]),
            ("warm", [str(folder / "runs")]),
        ]:
            spent = min((timed(words, folder / "cache") for _ in range(1 if what == "cold" else 3)), key=lambda x: x[0])
            print(f"{what}: {spent[0]:.2f} s, {spent[1]:.2f} s of CPU, {spent[2]:.2f} GiB", flush=True)
    finally:
        if not flags.keep:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
