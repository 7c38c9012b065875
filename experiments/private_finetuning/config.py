"""Tiny Shakespeare (TFDS) learnt with differential privacy, each window of 64 bytes for itself, from a public base.

gptjax train --config=experiments/private_finetuning/config.py --workdir=runs/private_8

Starts from runs/private_base (README.md has its command).
Hardware: 2 CPU cores. Wall time: 4 to 6 minutes beside other work.
Final loss: 2.21 nats a byte at epsilon 8 (2.73 before, 1.90 without noise).
"""

from ml_collections import ConfigDict

from configs import smoke


def get_config() -> ConfigDict:
    c = smoke.get_config()
    c.name = "private_finetuning"
    c.init_from = "runs/private_base"
    c.n_steps = 60
    c.batch_tokens = 8192  # 128 windows on average
    c.eval_every = 0
    c.save_every = 0
    c.sample_prompt = "ROMEO:\n"
    c.sample_tokens = 0
    c.model.context = 64
    c.data.corpora = ("tfds:tiny_shakespeare",)
    c.data.mask_documents = False
    c.privacy.update(clip_norm=1.0, epsilon=8.0, delta=1e-5, max_batch=176)
    c.optim.update(name="adamw", peak_lr=1e-3, schedule="linear", warmup_steps=5, weight_decay=0.0, clip_norm=0.0)
    return c
