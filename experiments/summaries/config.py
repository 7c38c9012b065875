"""A function's source -> the first line of its docstring, from the small base model.

gptjax train --config=experiments/summaries/config.py --workdir=runs/summaries

Starts from `make base`. Hardware: 2 CPU cores. Wall time: 391 s beside other work, 228 s of CPU time.
Final loss: 3.00 nats a token of the answers.
"""

from ml_collections import ConfigDict

from configs import small


def get_config() -> ConfigDict:
    c = small.tuned()
    c.name = "summaries"
    c.n_steps = 400
    c.batch_tokens = 2048
    c.eval_every = 100
    c.eval_tokens = 8192
    c.save_every = 0
    c.data.corpora = ("dialogs:experiments/summaries/examples.py:examples",)
    c.data.chat_template = "experiments/as_written.jinja"
    c.optim.update(peak_lr=3e-3, warmup_steps=20)
    return c
