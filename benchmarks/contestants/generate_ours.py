"""gptjax writing with GPT-2 124M and random weights. Arguments: key=value of batch, prompt, tokens, precision."""

import functools
import sys
import time

import jax
import numpy as np

from benchmarks.contest import serve
from gptjax import config
from gptjax.generation import decode
from gptjax.generation.sampling import Sampling
from gptjax.model import gpt, presets


def main(batch: str, prompt: str, tokens: str, precision: str) -> None:
    cfg = config.load("configs/base.py", [f"model.{key}={value}" for key, value in presets.gpt2("124M").items()]).model
    params = jax.jit(functools.partial(gpt.init, cfg=cfg))(jax.random.key(0))
    writer = decode.writer(params, cfg, precision)
    del params
    rng = np.random.default_rng(0)
    prompts = [decode.Prompt(rng.integers(0, cfg.vocab_size, int(prompt)).tolist()) for _ in range(int(batch))]

    def run(n: int) -> float:
        started = time.perf_counter()
        for _ in range(n):
            writer.write(prompts, n_tokens=int(tokens), options=Sampling(temperature=0.0))
        return time.perf_counter() - started

    held = sum(leaf.nbytes for leaf in jax.tree.leaves(writer.packed["matrices"]))
    serve(dict(version=f"jax {jax.__version__}", bytes=held, kernel=writer.machine.native), run)


main(**dict(pair.split("=") for pair in sys.argv[1:]))
