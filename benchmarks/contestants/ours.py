"""gptjax's training step as `gptjax train` compiles it; the arguments are overrides of configs/base.py."""

import sys
import time

import jax
import numpy as np

from benchmarks.contest import serve
from gptjax import config, mesh
from gptjax.commands.train import compiled, trace_update
from gptjax.planning import flops
from gptjax.training import sharding, step
from tests.tiny import make_batch


def main(overrides: list[str]) -> None:
    cfg = config.load("configs/base.py", overrides)
    on = mesh.make(cfg.mesh)
    started = time.perf_counter()
    update = compiled(trace_update(cfg, on).compile)
    compile_s = time.perf_counter() - started
    state = step.init_state(cfg, on)
    batch = sharding.put(make_batch(cfg), on)
    noise_key = [np.zeros(2, np.uint32)] if cfg.privacy.on else []

    def run(n: int) -> float:
        nonlocal state
        started = time.perf_counter()
        for _ in range(n):
            state, metrics = update(state, batch, *noise_key)
            jax.block_until_ready(metrics)
        jax.block_until_ready(state)
        return time.perf_counter() - started

    memory = update.memory_analysis()
    assert memory is not None
    ready = dict(
        version=f"jax {jax.__version__}",
        compile_s=compile_s,
        temporary_gib=memory.temp_size_in_bytes / 2**30,
        tokens=cfg.batch_tokens,
        flops=flops.train_flops_per_token(cfg.model) * cfg.batch_tokens,
        peak_flops=matmul_peak(),
    )
    serve(ready, run)


def matmul_peak() -> float:
    """FLOP/s of the best of 20 products of 2048 x 2048 in float32, in this very process."""
    multiply = jax.jit(lambda a, b: a @ b)
    a = jax.device_put(np.ones((2048, 2048), np.float32))
    multiply(a, a).block_until_ready()
    best = float("inf")
    for _ in range(20):
        started = time.perf_counter()
        multiply(a, a).block_until_ready()
        best = min(best, time.perf_counter() - started)
    return 2 * 2048**3 / best


main(sys.argv[1:])
