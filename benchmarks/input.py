"""Batches of a store of a billion tokens: how fast, beside the training that eats them, and from any step at once.

    python -m benchmarks.input

The store is a sparse file in a temporary folder: no room on disk, and no page of it in memory before it is touched.
"""

import argparse
import hashlib
import json
import os
import pathlib
import statistics
import tempfile
import time
import zlib
from collections.abc import Iterable

import jax
import numpy as np

from benchmarks.contest import print_machine, print_table
from gptjax import config, mesh
from gptjax.commands.train import trace_update
from gptjax.config import Config
from gptjax.data import checks, shards, store
from gptjax.data.batches import Batches
from gptjax.data.store import Store
from gptjax.training import sharding, step

N_TOKENS = 10**9
FAR = 10**6  # a step
SMALLEST = ("configs/smoke.py", "configs/shakespeare_char.py")
TIMES = 20  # the tokens a second of training: the bar of input
STEP_MS, START_S = 50.0, 1.0  # the bars of a batch, and of a start at FAR beside one at 0


def sparse_store(folder: pathlib.Path, vocab_size: int) -> pathlib.Path:
    """A store of token 0 alone, in files that are all hole."""
    folder.mkdir()
    dtype = np.min_scalar_type(vocab_size - 1)
    entries = []
    for index, start in enumerate(range(0, N_TOKENS, shards.SHARD_TOKENS)):
        n = min(shards.SHARD_TOKENS, N_TOKENS - start)
        with (folder / checks.shard_name(index)).open("wb") as file:
            file.truncate(n * dtype.itemsize)
        entries.append({"file": checks.shard_name(index), "n_tokens": n, "sha256": ""})
    manifest = {"format": store.FORMAT, "corpus": "sparse", "split": "train", "dtype": dtype.name}
    sums = b"".join(sums_of_zeros(entry["n_tokens"] * dtype.itemsize) for entry in entries)
    (folder / checks.NAME).write_bytes(sums)
    manifest |= {"n_tokens": N_TOKENS, "end_of_text": 0, "shards": entries}
    manifest |= {"checks_sha256": hashlib.sha256(sums).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(store.signed(manifest)))
    return folder


def sums_of_zeros(n_bytes: int) -> bytes:
    whole, rest = divmod(n_bytes, checks.BLOCK)
    sums = [zlib.crc32(bytes(checks.BLOCK))] * whole + [zlib.crc32(bytes(rest))] * bool(rest)
    return np.array(sums, "<u4").tobytes()


def batches_of(opened: Store, batch_size: int, context: int, mask_documents: bool = True) -> Batches:
    return Batches(
        [opened],
        [1.0],
        batch_size=batch_size,
        context=context,
        seed=0,
        mask_documents=mask_documents,
        end_of_text=1,
    )


def seconds_of(batches: Batches, steps: Iterable[int]) -> list[float]:
    found = []
    for number in steps:
        started = time.perf_counter()
        batches(number)
        found.append(time.perf_counter() - started)
    return found


def training_rate(cfg: Config, batches: Batches, steps: int) -> float:
    """Tokens a second of the compiled step alone, on one batch."""
    on = mesh.make(cfg.mesh)
    update, state = trace_update(cfg, on).compile(), step.init_state(cfg, on)
    batch = sharding.put(batches(0), on)
    found = []
    for _ in range(steps):
        started = time.perf_counter()
        state, metrics = update(state, batch)
        jax.block_until_ready((state, metrics))
        found.append(time.perf_counter() - started)
    return cfg.batch_tokens / statistics.median(found)


def row(what: str, measured: float, unit: str, bar: str, holds: bool) -> dict[str, object]:
    return {"what": what, "measured": measured, "unit": unit, "bar": bar, "": "" if holds else "MISSED"}


def rate_row(file: str, folder: pathlib.Path, steps: int) -> dict[str, object]:
    cfg = config.load(file, [])
    batches = batches_of(store.open_store(folder), cfg.batch_size, cfg.model.context, cfg.data.mask_documents)
    eaten = training_rate(cfg, batches, steps)
    made = cfg.batch_tokens / statistics.median(seconds_of(batches, range(FAR, FAR + 200)))
    what = f"{file}: {made:,.0f} tokens/s, training {eaten:,.0f}"
    return row(what, made / eaten, "times training", f"{TIMES}", made >= TIMES * eaten)


def step_row(batch_size: int, context: int, folder: pathlib.Path) -> dict[str, object]:
    """The slowest of ten steps far apart, each the first to touch its part of the store. One thread makes a batch and
    waits for no disk here, so its CPU time is the time it takes where nothing else runs."""
    batches = batches_of(store.open_store(folder), batch_size, context)
    cpu_ms, wall_ms = [], []
    for number in (0, *(FAR + 7919 * n for n in range(9))):
        began = time.process_time()
        wall_ms += [1e3 * seconds for seconds in seconds_of(batches, [number])]
        cpu_ms.append(1e3 * (time.process_time() - began))
    what = f"{batch_size:,} x {context:,}, slowest of ten steps (by the clock {max(wall_ms):.1f})"
    return row(what, max(cpu_ms), "ms of CPU", f"{STEP_MS:g}", max(cpu_ms) <= STEP_MS)


def start_row(folder: pathlib.Path) -> dict[str, object]:
    """Opening the store and making the first batch, at step FAR, less the same at step 0."""
    found = []
    for first in (0, FAR):
        started = time.perf_counter()
        batches_of(store.open_store(folder), 64, 256)(first)
        found.append(time.perf_counter() - started)
    later = found[1] - found[0]
    return row(
        f"start at step {FAR:,}, after that at 0 ({found[0]:.3f} s)", later, "s", f"{START_S:g}", later <= START_S
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="how fast batches are made")
    parser.add_argument("--steps", type=int, default=5, help="training steps that are timed of each config")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = sparse_store(pathlib.Path(temporary) / "store", vocab_size=256)
        rows = [start_row(folder)]
        rows += [step_row(batch_size, context, folder) for batch_size, context in ((8, 256), (64, 1024), (4096, 256))]
        rows += [rate_row(file, folder, flags.steps) for file in SMALLEST]
    print_table(rows)
    print_machine()


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
