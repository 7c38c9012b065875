"""The shape of Llama 3 8B (Grattafiori et al. 2024, table 3) with a vocabulary of 128,256. Never run.

    gptjax train --config=configs/llama_8b.py --workdir=gs://BUCKET/llama_8b \\
        --config.data.corpora='text:fineweb/*.parquet' --config.tokenizer.path=tokenizer.model

Hardware: a TPU v5e-256 (16x16), or 8 x H100 with `--config.accumulate=64` (23.57 of 80 GiB, compiled, never run).
Wall time, final loss: never run. `gptjax plan --config=configs/llama_8b.py --topology=v5e:16x16`, compiled, never run:

| v5e:16x16 | |
|---|---|
| memory of a chip | 0.35 + 6.20 of 16 GiB |
| gathered, scattered, summed by a chip in a step | 58, 32, 4.3 GB |
| ESTIMATE, Pallas kernels and network left out | 6.63 s a step, 65% MFU |
| the run | 19.2 days, 117,800 chip-hours |
"""

from ml_collections import ConfigDict

from configs import base
from gptjax.model import presets


def get_config() -> ConfigDict:
    c = base.get_config()
    c.name = "llama_8b"
    c.log_every = 10
    c.eval_every = 1000
    c.eval_tokens = 10_485_760
    c.save_every = 500
    c.keep_every = 10_000
    c.sample_every = 5000
    c.n_steps = 250_000
    c.batch_tokens = 512 * 8192
    c.accumulate = 2
    c.model.update(presets.llama("8B"), pad_vocab_to=16 * 256)  # whole tiles of every chip's part
    c.loss.n_chunks = 16
    c.optim.update(peak_lr=3e-4, warmup_steps=2000)
    c.tokenizer.update(name="sentencepiece", path="tokenizer.model")
    c.data.corpora = ("text:fineweb/*.parquet",)
    c.model.update(dtype="bfloat16", remat="full")
    return c
