"""Seconds to a loss on tiny Shakespeare by the character: whole commands, beside nanoGPT's own recipe for a CPU.

    TFDS_DATA_DIR=... python -m benchmarks.time_to_loss [--nanogpt=DIR --torch=PYTHON] [--full]

Three seeds of `configs/shakespeare_char.py`, nothing compiled beforehand, each in turn with one run of nanoGPT. The
loss is over all of the last tenth of the text, every target once, in windows of the model's own context that do not
overlap. `--full` adds the longer run of ours that nanoGPT's whole time allows.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

from benchmarks.contest import HERE, print_machine, print_table

BAR_NATS, BAR_TIME = 1.886, 0.25  # the bar: so many nats, in this part of nanoGPT's seconds
RECIPE = """config/train_shakespeare_char.py --device=cpu --compile=False --eval_iters=20 --block_size=64
--batch_size=12 --n_layer=4 --n_head=4 --n_embd=128 --max_iters=2000 --lr_decay_iters=2000 --dropout=0.0""".split()
FULL = (  # the stretch: what nanoGPT's whole time allows
    "n_steps=1250",
    "model.context=128",
    "model.n_layers=3",
    "model.d_hidden=512",
)


def seconds_of(command: Sequence[str], folder: str | None = None, env: Mapping[str, str] | None = None) -> float:
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env={**os.environ, **(env or {})}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return time.perf_counter() - began


def ours(seed: int, overrides: Sequence[str]) -> tuple[float, float]:
    """Seconds of the whole command and its last validation loss."""
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "gptjax.cli", "train", "--config=configs/shakespeare_char.py"]
        command += [f"--workdir={temporary}/run", f"--config.seed={seed}", f"--config.data.cache={temporary}/data"]
        command += [f"--config.{override}" for override in overrides]
        seconds = seconds_of(command, env={"JAX_COMPILATION_CACHE_DIR": f"{temporary}/xla"})
        lines = pathlib.Path(f"{temporary}/run/metrics.jsonl").read_text().splitlines()
    return seconds, [json.loads(line)["eval/nll"] for line in lines if "eval/nll" in line][-1]


def nanogpt(python: str, folder: str) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as temporary:
        seconds = seconds_of([python, "train.py", *RECIPE, f"--out_dir={temporary}"], folder)
        score = [python, str(HERE / "contestants/nanogpt_score.py"), folder, f"{temporary}/ckpt.pt"]
        done = subprocess.run(score, check=True, capture_output=True, text=True)
    return seconds, float(done.stdout.split()[-1])


def row(who: str, found: Sequence[tuple[float, float]], theirs_s: float | None) -> dict[str, object]:
    seconds, nats = (statistics.median(column) for column in zip(*found, strict=True))
    return {
        "who": who,
        "seconds, median": seconds,
        "least": min(s for s, _ in found),
        "most": max(s for s, _ in found),
        "nats a character, median": f"{nats:.4f}",
        "all": " ".join(f"{nll:.3f}" for _, nll in found),
        "of nanoGPT's time": None if theirs_s is None else seconds / theirs_s,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="seconds to a loss on tiny Shakespeare")
    parser.add_argument("--nanogpt", metavar="DIR")
    parser.add_argument("--torch", metavar="PYTHON", default=sys.executable)
    parser.add_argument("--full", action="store_true", help="the longer run too")
    flags = parser.parse_args()
    short, theirs, long = [], [], []
    for seed in range(3):
        short.append(ours(seed, []))
        print(f"seed {seed}: {short[-1][0]:.1f} s, {short[-1][1]:.4f} nats", file=sys.stderr)
        if flags.nanogpt:
            theirs.append(nanogpt(flags.torch, flags.nanogpt))
            print(f"nanoGPT: {theirs[-1][0]:.1f} s, {theirs[-1][1]:.4f} nats", file=sys.stderr)
        if flags.full:
            long.append(ours(seed, FULL))
            print(f"full, seed {seed}: {long[-1][0]:.1f} s, {long[-1][1]:.4f} nats", file=sys.stderr)
    theirs_s = statistics.median(seconds for seconds, _ in theirs) if theirs else None
    rows = [row("gptjax", short, theirs_s)]
    if long:
        rows.append(row("gptjax, full", long, theirs_s))
    if theirs:
        rows.append(row("nanoGPT", theirs, theirs_s))
    print_table(rows)
    print(f"bar: {BAR_NATS} nats in at most {BAR_TIME} of nanoGPT's time; stretch: 1.60 in all of it")
    print_machine()


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
