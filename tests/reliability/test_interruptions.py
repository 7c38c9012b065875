"""A run that is interrupted at random moments logs the bits of the one that never was."""

import functools
import json
import os
import pathlib
import shutil
import signal
import time

import numpy as np
import pytest

from tests.reliability.draws import draw
from tests.reliability.forks import forks

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
N_STEPS = 200
TINY = {
    "n_steps": N_STEPS,
    "batch_tokens": 64,
    "log_every": 1,
    "eval_every": 0,
    "save_every": 20,
    "sample_every": 0,
    "eval_tokens": 64,
    "sample_tokens": 2,
    "model.context": 16,
    "model.n_layers": 1,
    "model.d_model": 16,
    "model.n_heads": 2,
    "model.n_kv_heads": 2,
    "model.d_hidden": 32,
    "model.dropout": 0.1,
    "optim.warmup_steps": 2,
    "data.corpora": "synthetic",
}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts the run of a directory in some processes; returns the server of processes and their ids."""
    cache = tmp_path_factory.mktemp("cache")
    with forks() as server:

        def start(run: pathlib.Path, n_processes: int):
            flags = [f"--config.{key}={value}" for key, value in TINY.items()] + [f"--config.data.cache={cache}"]
            words = ["train", "--config=configs/base.py", f"--workdir={run}", *flags]
            return server, server.start(words, n_processes, run.parent / f"{run.name}.errors")

        yield start


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    """The lines of the run that nothing interrupts, by its number of processes."""

    @functools.cache
    def lines_of(n_processes: int) -> dict:
        run = tmp_path_factory.mktemp("whole") / str(n_processes)
        server, ids = start(run, n_processes)
        assert server.wait(ids) == [0] * n_processes
        return lines(run)

    return lines_of


def lines(run: pathlib.Path) -> dict[int, tuple[float, int]]:
    """{step: (loss, checksum of the batch)}, later lines winning."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines() if line.endswith("}")]
    return {row["step"]: (row["train/nll"], row["data/batch_crc"]) for row in rows if "train/nll" in row}


def length(run: pathlib.Path) -> int:
    return (run / "metrics.jsonl").stat().st_size if (run / "metrics.jsonl").exists() else 0


def interrupted(n_signals: int, start, whole, work: pathlib.Path, rng: np.random.Generator, i: int) -> str:
    run, n_processes, early = work / str(i), 1 + i % 2, 0
    for _ in range(n_signals):
        before = length(run)
        server, ids = start(run, n_processes)
        number, while_training = SIGNALS[rng.integers(3)], rng.random() < 0.7
        deadline = time.monotonic() + 60
        while while_training and length(run) == before and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.3 if while_training else 1.5))
        told = ids if number == signal.SIGKILL or not while_training else [ids[rng.integers(n_processes)]]
        for pid in told:
            os.kill(pid, number)
        early += server.wait(ids).count(0) == 0
    server, ids = start(run, n_processes)
    ended, expected = server.wait(ids), whole(n_processes)
    found = lines(run) if ended == [0] * n_processes else {}
    differing = sum(step not in found or found[step] != expected[step] for step in expected)
    if differing == 0:
        shutil.rmtree(run)
    return f"{early} interruptions of {n_processes} process(es), {differing} differing steps of {N_STEPS}"


@pytest.mark.prove  # tests/commands/test_train.py and test_hosts.py have one each in `make test`
def test_many_interruptions_change_no_bit(start, whole, tmp_path):
    n, n_signals = 56, 4
    found = draw("interruptions", n, functools.partial(interrupted, n_signals, start, whole, tmp_path), keep=True)
    assert all(" 0 differing" in outcome for outcome in found), found
    assert sum(int(outcome.split()[0]) * count for outcome, count in found.items()) >= 0.9 * n * n_signals - 1, found
