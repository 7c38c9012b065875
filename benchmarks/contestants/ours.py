"""gptjax's training step as `gptjax train` compiles it; the arguments are overrides of configs/base.py."""

import sys
import time

import jax
import numpy as np

from benchmarks.contest import peak_gib, serve
from gptjax import config, mesh
from gptjax.commands.train import compiled, trace_update
from gptjax.model import choice
from gptjax.planning import flops
from gptjax.training import sharding, step
from tests.tiny import make_batch


def main(overrides: list[str]) -> None:
    cfg = config.load("configs/base.py", overrides)
    on = mesh.make(cfg.mesh)
    cfg = choice.resolved(cfg, on)
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
        version=f"jax {jax.__version__}, {cfg.model.attention} attention",
        compile_s=compile_s,
        temporary_gib=memory.temp_size_in_bytes / 2**30,
        tokens=cfg.batch_tokens,
        flops=flops.train_flops_per_token(cfg.model) * cfg.batch_tokens,
        peak_flops=matmul_peak(cfg.model.dtype),
    )
    serve(ready, run, peak_gib if jax.default_backend() == "cpu" else device_peak_gib)


def matmul_peak(dtype: str) -> float:
    """FLOP/s of the best of 20 products of square matrices in this very process: 2048 wide on a CPU, else 8192."""
    n = 2048 if jax.default_backend() == "cpu" else 8192
    multiply = jax.jit(lambda a, b: a @ b)
    a = jax.random.normal(jax.random.key(0), (n, n), dtype)
    multiply(a, a).block_until_ready()
    best = float("inf")
    for _ in range(20):
        started = time.perf_counter()
        multiply(a, a).block_until_ready()
        best = min(best, time.perf_counter() - started)
    return 2 * n**3 / best


def device_peak_gib() -> float:
    return jax.devices()[0].memory_stats()["peak_bytes_in_use"] / 2**30


main(sys.argv[1:])
