"""What the hashes of a checkpoint cost: seconds of a save until it is on disk, and of those in `integrity.seal`.

    python -m benchmarks.saves [--million=64] [--rounds=7] [--folder=DIR]

A state of parameters and two moments (float32), saved again and again by `training.checkpoint.Checkpoints`; before each
save its bits change, and what was written is synced, so that no save waits for another's pages. The bar is 5 %.
"""

import argparse
import os
import pathlib
import statistics
import tempfile
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from benchmarks.contest import print_machine, print_table
from gptjax.training import integrity
from gptjax.training.checkpoint import Checkpoints

BAR = 0.05
ROWS = 8  # arrays of each part


class State(NamedTuple):
    step: Array
    params: dict
    opt_state: dict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--million", type=int, default=64, help="parameters")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=pathlib.Path)
    flags = parser.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory(dir=flags.folder) as folder:
        rows = saves(folder, flags.million * 10**6, flags.rounds)
    print_table(rows)
    shares = [float(str(row["share"])) for row in rows]
    print(f"\nmedian share {statistics.median(shares):.3f}, bar {BAR}")
    print_machine()


def saves(folder: str, n: int, rounds: int) -> list[dict[str, object]]:
    sealed: list[float] = []
    seal = integrity.seal

    def timed(*args) -> None:
        began = time.perf_counter()
        seal(*args)
        sealed.append(time.perf_counter() - began)

    integrity.seal = timed
    keep, rows = Checkpoints(folder, keep_last=1, keep_every=0), []
    for number in range(1, rounds + 2):
        state = fresh(number, n)
        os.sync()
        began = time.perf_counter()
        keep.save(number, state, {}, None)
        returned = time.perf_counter() - began
        keep.manager.wait_until_finished()
        whole = time.perf_counter() - began
        if number > 1:  # the first makes Orbax's threads and folders
            size = sum(file.stat().st_size for file in pathlib.Path(folder, str(number)).rglob("*") if file.is_file())
            rows.append(
                {"MB": size / 1e6, "save s": whole, "returned after": returned, "seal s": sealed[-1]}
                | {"share": sealed[-1] / whole}
            )
    keep.close()
    integrity.seal = seal
    return rows


def fresh(seed: int, n: int) -> State:
    keys = jax.random.split(jax.random.key(seed), 3 * ROWS)
    arrays = {f"w{i}": jax.random.normal(key, (n // ROWS // 1000, 1000)) for i, key in enumerate(keys)}
    jax.block_until_ready(arrays)
    names = list(arrays)
    params, moments = names[:ROWS], names[ROWS:]
    return State(jnp.int32(seed), {k: arrays[k] for k in params}, {k: arrays[k] for k in moments})


if __name__ == "__main__":
    main()
