"""Two layers learn to copy what they have seen once: induction heads.

python -m experiments.induction.text runs/induction/text.jsonl
gptjax train --config=experiments/induction/config.py --workdir=runs/induction/two
gptjax train --config=experiments/induction/config.py --workdir=runs/induction/one --config.model.n_layers=1

Hardware: 2 CPU cores. Wall time: 2 minutes beside other work, 69 s of CPU time; one layer 38 s of CPU time.
Final loss: 1.99 nats a character; one layer 3.29.
"""

from ml_collections import ConfigDict

from configs import base
from experiments.induction.text import LENGTH


def get_config() -> ConfigDict:
    c = base.get_config()
    c.name = "induction"
    c.n_steps = 400
    c.model.update(
        scan=False,
        vocab_size=256,
        context=LENGTH + 1,  # a document and the token that opens it
        n_layers=2,
        d_model=128,
        n_heads=2,
        n_kv_heads=2,
        d_hidden=128,
        position="rope",
    )
    c.batch_tokens = 32 * c.model.context
    c.data.corpora = ("text:runs/induction/text.jsonl",)
    c.data.mask_documents = False  # a window is one
    c.log_every = 50
    c.eval_every = 50
    c.eval_tokens = 64 * c.model.context
    c.save_every = 50
    c.keep_every = 50  # all of them, to be looked into
    c.sample_tokens = 0
    c.optim.update(name="muon", peak_lr=1e-2, schedule="constant", warmup_steps=20, weight_decay=0.0)
    return c
