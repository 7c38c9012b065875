"""Tiny Shakespeare (TFDS), from the small base model.

gptjax train --config=experiments/stories/config.py --workdir=runs/stories

Starts from `make base`. Hardware: 2 CPU cores. Wall time: 318 s beside other work, 217 s of CPU time.
Final loss: 2.79 nats a token, 1.98 bits a byte.
"""

from ml_collections import ConfigDict

from configs import small


def get_config() -> ConfigDict:
    c = small.tuned()
    c.name = "stories"
    c.n_steps = 400
    c.batch_tokens = 2048
    c.eval_every = 100
    c.eval_tokens = 8192
    c.save_every = 0
    c.data.corpora = ("tfds:tiny_shakespeare",)
    c.data.mask_documents = False  # it is one
    c.sample_prompt = "ROMEO:\n"
    c.optim.update(peak_lr=5e-3, warmup_steps=20)
    return c
