"""Attention by tiles beside the full matrix, on this machine: seconds, gradients and temporary memory.

    python -m benchmarks.attention [--positions=16384] [--repeats=3]

One head of width 64 in float32, forward and backward; the kernels take turns, best of the repeats. Temporary memory is
what XLA plans; its exponent is of the last doubling.
"""

import argparse
import math
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.contest import print_machine, print_table
from gptjax.model.attention import Slots, attention

MIB = 2**20
KERNELS = ("reference", "blockwise")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--positions", type=int, default=16_384)
    parser.add_argument("--repeats", type=int, default=3)
    flags = parser.parse_args()
    print_machine()
    lengths = [flags.positions // 4, flags.positions // 2, flags.positions]
    compiled = {(kernel, T): compile_gradients(kernel, T) for kernel in KERNELS for T in lengths}
    held = {key: planned_bytes(gradients) for key, gradients in compiled.items()}
    rows = []
    for kernel in KERNELS:
        exponent = math.log2(held[kernel, lengths[2]] / held[kernel, lengths[1]])
        sizes = {f"MiB at T {T:,}": f"{held[kernel, T] / MIB:,.1f}" for T in lengths}
        rows.append({"kernel": kernel, **sizes, "exponent": f"{exponent:.2f}"})
    print_table(rows)

    rng = np.random.default_rng(0)
    q, k, v, d = (jnp.asarray(rng.normal(size=(1, flags.positions, 1, 64)), jnp.float32) for _ in range(4))
    wall: dict[str, list[float]] = {kernel: [] for kernel in KERNELS}
    work: dict[str, list[float]] = {kernel: [] for kernel in KERNELS}
    found = {}
    for _ in range(flags.repeats):
        for kernel in KERNELS:
            began, worked = time.perf_counter(), time.process_time()
            found[kernel] = jax.block_until_ready(compiled[kernel, flags.positions](q, k, v, d))
            wall[kernel].append(time.perf_counter() - began)
            work[kernel].append(time.process_time() - worked)
    times = {"s": wall, "CPU s (of all cores; other programs count little)": work}
    apart = [float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(a))) for a, b in zip(*found.values(), strict=True)]
    for unit, of in times.items():
        best = {kernel: min(of[kernel]) for kernel in KERNELS}
        ratio = best["reference"] / best["blockwise"]
        print(f"reference {best['reference']:.2f}, blockwise {best['blockwise']:.2f} {unit}: {ratio:.2f} x")
    print("largest difference, of the largest value: " + ", ".join(f"{x:.1e}" for x in apart) + " (output, dq, dk, dv)")


def compile_gradients(kernel: str, T: int) -> jax.stages.Compiled:
    x = jax.ShapeDtypeStruct((1, T, 1, 64), jnp.float32)

    def gradients(q, k, v, d):
        attend: Callable = lambda q, k, v: attention(q, k, v, Slots(None, None, None), kernel)
        mixed, pull = jax.vjp(attend, q, k, v)
        return mixed, *pull(d)

    return jax.jit(gradients).lower(x, x, x, x).compile()


def planned_bytes(compiled: jax.stages.Compiled) -> int:
    analysis = compiled.memory_analysis()
    assert analysis is not None
    return analysis.temp_size_in_bytes


if __name__ == "__main__":
    main()
