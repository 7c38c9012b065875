"""Small talk (chatterbot-corpus), from the small base model.

gptjax train --config=experiments/dialogue/config.py --workdir=runs/dialogue

Starts from `make base`. Hardware: 2 CPU cores. Wall time: 71 s beside other work, 47 s of CPU time.
Final loss: 2.99 nats a token of the answers.
"""

from ml_collections import ConfigDict

from configs import small


def get_config() -> ConfigDict:
    c = small.tuned()
    c.name = "dialogue"
    c.n_steps = 80
    c.batch_tokens = 2048
    c.eval_every = 40
    c.eval_tokens = 8192
    c.save_every = 0
    c.data.corpora = ("dialogs:experiments/dialogue/examples.py:examples",)
    c.sample_prompt = "User: Hello\nAssistant:"
    c.sample_tokens = 40
    c.optim.update(peak_lr=3e-3, warmup_steps=20)
    return c
