"""GPT-2 124M, trained on with your own text on one GPU of 16 GB. Never run.

    gptjax import-hf --hf=openai-community/gpt2 --to=runs/gpt2
    gptjax train --config=configs/gpt2_tune.py --workdir=runs/mine --config.data.corpora=text:notes

Hardware: one GPU with 16 GB (3.1 GiB by `gptjax plan --topology=t4`). Wall time, final loss: never run.
"""

from ml_collections import ConfigDict

from configs import base
from gptjax.model import presets


def get_config() -> ConfigDict:
    c = base.get_config()
    c.name = "gpt2_tune"
    c.init_from = "runs/gpt2"
    c.n_steps = 1000
    c.batch_tokens = 32 * 1024
    c.accumulate = 8
    c.eval_every = 50
    c.save_every = 200
    c.sample_every = 200
    c.stop_patience = 4
    c.model.update(presets.gpt2("124M"))
    c.model.update(dtype="bfloat16", remat="dots", scan=False)
    c.loss.n_chunks = 8
    c.tokenizer.update(name="gpt2", path="runs/gpt2/tokenizer")
    c.data.corpora = ("text:notes",)
    c.optim.update(peak_lr=5e-5, warmup_steps=50)
    return c
