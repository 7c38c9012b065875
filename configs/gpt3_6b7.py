"""GPT-3 6.7B: two million tokens an update, 300 billion in all (Brown et al. 2020, table 2.1). Never run.

    gptjax train --config=configs/gpt3_6b7.py --workdir=gs://BUCKET/gpt3_6b7 \\
        --config.data.corpora='text:fineweb/*.parquet' --config.tokenizer.path=gpt2

Hardware: a TPU v5e-256 (16x16), where each chip has 4 sequences an update; v5p 8x8x8 takes it too.
Wall time, final loss: never run. `gptjax plan --config=configs/gpt3_6b7.py --topology=v5e:16x16`, compiled, never run:

| v5e:16x16 | |
|---|---|
| memory of a chip | 0.31 + 3.72 of 16 GiB |
| gathered, scattered, summed by a chip in a step | 53, 27, 0.3 GB |
| ESTIMATE, Pallas kernels and network left out | 2.38 s a step, 72% MFU |
| the run | 3.9 days, 24,242 chip-hours |
"""

from ml_collections import ConfigDict

from configs import base
from gptjax.model import presets


def get_config() -> ConfigDict:
    c = base.get_config()
    c.name = "gpt3_6b7"
    c.log_every = 10
    c.eval_every = 1000
    c.eval_tokens = 10_485_760
    c.save_every = 500
    c.keep_every = 10_000
    c.sample_every = 5000
    c.n_steps = 143_000
    c.batch_tokens = 1024 * 2048
    c.accumulate = 2
    c.model.update(presets.gpt3("6.7B"))
    c.loss.n_chunks = 2
    c.optim.update(peak_lr=1.2e-4, warmup_steps=180)
    c.tokenizer.update(name="gpt2", path="gpt2")
    c.data.corpora = ("text:fineweb/*.parquet",)
    c.model.update(dtype="bfloat16", remat="full")
    return c
