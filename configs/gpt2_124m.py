"""GPT-2 124M by the usual recipe: half a million tokens an update, 300 billion in all. Never run.

    gptjax train --config=configs/gpt2_124m.py --workdir=runs/gpt2_124m \\
        --config.data.corpora='text:openwebtext/*.parquet' --config.tokenizer.path=gpt2

`tokenizer.path` is a folder with GPT-2's vocab.json and merges.txt (or tokenizer.json). FineWeb works the same way.
Hardware: 8 GPUs of 40 GB or a TPU v4-8 upwards; `--config.model.scan=False` was a third faster on one H100, with FSDP
never run. Wall time, final loss: never run (nanoGPT reports about 2.85 nats on OpenWebText after 600,000 steps of this
recipe).
"""

from ml_collections import ConfigDict

from configs import base
from gptjax.model import presets


def get_config() -> ConfigDict:
    c = base.get_config()
    c.name = "gpt2_124m"
    c.n_steps = 600_000
    c.batch_tokens = 480 * 1024
    c.accumulate = 5
    c.log_every = 10
    c.eval_every = 1000
    c.eval_tokens = 10_485_760
    c.save_every = 1000
    c.keep_every = 50_000
    c.sample_every = 5000
    c.model.update(presets.gpt2("124M"))
    c.model.update(dtype="bfloat16", bias=False)
    c.loss.n_chunks = 8
    c.tokenizer.update(name="gpt2", path="gpt2")
    c.data.corpora = ("text:openwebtext/*.parquet",)
    c.optim.update(peak_lr=6e-4, warmup_steps=2000)
    return c
