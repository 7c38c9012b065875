"""Tiny Shakespeare (TFDS) with a twentieth of the old text, from the small base model: does it forget Python?

gptjax train --config=experiments/continued_pretraining/config.py --workdir=runs/continued_5

Starts from `make base`. Hardware: 2 CPU cores. Wall time: 165 s beside other work, 86 s of CPU time.
Final loss, from an earlier base model of 500 steps: 3.36 nats a token on Shakespeare, 4.51 on Python (3.68 before).
"""

from ml_collections import ConfigDict

from configs import small


def get_config() -> ConfigDict:
    c = small.tuned()
    c.name = "continued_pretraining"
    c.n_steps = 150
    c.eval_every = 50
    c.save_every = 0
    c.data.corpora = ("tfds:tiny_shakespeare", "python")
    c.data.weights = (0.95, 0.05)  # the second is the replay of what the base model was trained on
    c.sample_prompt = "ROMEO:\n"
    c.optim.update(peak_lr=5e-3, warmup_steps=15)  # warmed up anew: the base model's learning rate had ended at 0
    return c
