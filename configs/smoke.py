"""Is everything in place? A byte-level GPT on the prose and code that every Python has, on one CPU or GPU.

gptjax train --config=configs/smoke.py --workdir=runs/smoke        (what `make smoke` runs)

Hardware: 2 CPU cores (one GPU: never run). Wall time: 39 s of training, 55 s with start-up and sample.
Final loss: 1.59 nats a byte on held-out files (Python 3.11.7; other Pythons have other text).
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.name = "smoke"
    c.n_steps = 220
    c.batch_tokens = 2048
    c.log_every = 10
    c.eval_every = 55
    c.eval_tokens = 65_536
    c.save_every = 110
    c.sample_prompt = "def "
    c.sample_tokens = 240
    c.model.update(
        scan=False,
        n_layers=4,
        d_model=128,
        n_heads=4,
        n_kv_heads=4,
        d_hidden=512,
        position="rope",
        norm="rms",
        mlp="relu2",
        bias=False,
        qk_norm=True,
    )
    c.optim.update(name="muon", peak_lr=1e-2, schedule="linear", warmup_steps=20, final_lr_fraction=0.0)
    return c
