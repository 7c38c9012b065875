"""A small model that reads few documents often: what does it keep? Canaries fill whole rows of its context.

gptjax audit --corpus=synthetic --limit=30 --plant=200 --row=64 --secret_seed=one --to=runs/planted
gptjax train --config=experiments/memorisation/config.py --workdir=runs/memorised

Hardware: 2 CPU cores. Wall time: 7 minutes beside other work. Final loss: 1.08 nats a byte of held-out text, after 55
passes: it has learned its own by heart.
"""

from ml_collections import ConfigDict

from configs import smoke


def get_config() -> ConfigDict:
    c = smoke.get_config()
    c.name = "memorisation"
    c.n_steps = 1000
    c.batch_tokens = 2048
    c.log_every = 50
    c.eval_every = 500
    c.eval_tokens = 8192
    c.save_every = 0
    c.sample_tokens = 0
    c.model.update(context=64, n_layers=2, d_model=128, n_heads=4, n_kv_heads=4, d_hidden=512)
    c.data.corpora = ("splits:runs/planted",)
    return c
