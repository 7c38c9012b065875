"""GPT-2's shape on bytes, in bfloat16: does one GPU of 16 GB train?

    gptjax train --config=configs/smoke_gpu.py --workdir=runs/smoke_gpu

Hardware: one GPU with 16 GB. Wall time on one H100: 2 min (7.0 GB). Final loss: 0.920 nats a byte.
"""

from ml_collections import ConfigDict

from configs import base
from gptjax.model import presets


def get_config() -> ConfigDict:
    c = base.get_config()
    c.name = "smoke_gpu"
    c.n_steps = 1000
    c.batch_tokens = 32_768
    c.accumulate = 2
    c.log_every = 10
    c.eval_every = 250
    c.save_every = 500
    c.sample_prompt = "def "
    c.sample_tokens = 256
    c.model.update(presets.gpt2("124M"))
    c.model.update(vocab_size=256, dtype="bfloat16", scan=False)
    c.optim.update(peak_lr=6e-4, warmup_steps=100)
    return c
