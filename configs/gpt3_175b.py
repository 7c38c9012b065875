"""GPT-3 175B: 3.1 million tokens an update, 300 billion in all (Brown et al. 2020, table 2.1). Never run.

    gptjax train --config=configs/gpt3_175b.py --workdir=gs://BUCKET/gpt3_175b \\
        --config.data.corpora='text:fineweb/*.parquet' --config.tokenizer.path=gpt2

Hardware: 512 chips of TPU v5p as one torus (8x8x8; clouds call it v5p-1024, by its cores).
Wall time, final loss: never run. `gptjax plan --config=configs/gpt3_175b.py --topology=v5p:8x8x8`, compiled, never run:

| v5p:8x8x8 | |
|---|---|
| memory of a chip | 3.98 + 9.13 of 95 GiB |
| gathered, scattered, summed by a chip in a step | 2,102, 1,044, 11.5 GB |
| ESTIMATE, Pallas kernels and network left out | 20.78 s a step, 68% MFU |
| the run | 22.9 days, 282,004 chip-hours |
"""

from ml_collections import ConfigDict

from configs import base
from gptjax.model import presets


def get_config() -> ConfigDict:
    c = base.get_config()
    c.name = "gpt3_175b"
    c.log_every = 10
    c.eval_every = 1000
    c.eval_tokens = 10_485_760
    c.save_every = 500
    c.keep_every = 10_000
    c.sample_every = 5000
    c.n_steps = 95_400
    c.batch_tokens = 1536 * 2048
    c.accumulate = 3
    c.model.update(presets.gpt3("175B"))
    c.loss.n_chunks = 4
    c.optim.update(peak_lr=6e-5, warmup_steps=120)
    c.tokenizer.update(name="gpt2", path="gpt2")
    c.data.corpora = ("text:fineweb/*.parquet",)
    c.model.update(dtype="bfloat16", remat="full", offloaded=("residual_in",))
    return c
