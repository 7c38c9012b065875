"""GPT-2 1.5B, the largest of its family, at a million tokens an update. Never run.

    gptjax train --config=configs/gpt2_1b5.py --workdir=gs://BUCKET/gpt2_1b5 \\
        --config.data.corpora='text:openwebtext/*.parquet' --config.tokenizer.path=gpt2

Hardware: a TPU v5e-256 (16x16); 8 x H100 with `--config.mesh.replica=1 --config.accumulate=16` (6.14 of 80 GiB,
compiled, never run).
Wall time, final loss: never run. `gptjax plan --config=configs/gpt2_1b5.py --topology=v5e:16x16`, compiled, never run:

| v5e:16x16 | |
|---|---|
| memory of a chip | 0.38 + 1.40 of 16 GiB |
| gathered, scattered, summed by a chip in a step | 12, 5, 4.4 GB |
| ESTIMATE, Pallas kernels and network left out | 0.46 s a step, 44% MFU |
| the run | 1.6 days, 9,914 chip-hours |
"""

from ml_collections import ConfigDict

from configs import base
from gptjax.model import presets


def get_config() -> ConfigDict:
    c = base.get_config()
    c.name = "gpt2_1b5"
    c.log_every = 10
    c.eval_every = 1000
    c.eval_tokens = 10_485_760
    c.save_every = 500
    c.keep_every = 10_000
    c.sample_every = 5000
    c.n_steps = 300_000
    c.batch_tokens = 1024 * 1024
    c.accumulate = 2
    c.mesh.replica = 4  # 1,600 has no 256 parts
    c.model.update(presets.gpt2("1.5B"))
    c.loss.n_chunks = 8
    c.optim.update(peak_lr=2e-4, warmup_steps=2000)  # of GPT-3 1.3B (Brown et al. 2020, table 2.1)
    c.tokenizer.update(name="gpt2", path="gpt2")
    c.data.corpora = ("text:openwebtext/*.parquet",)
    c.model.update(dtype="bfloat16", remat="full")
    return c
