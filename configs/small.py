"""A small base model of the prose and code that every Python has, for experiments/ to start from.

gptjax train --config=configs/small.py --workdir=runs/base        (what `make base` runs)

Hardware: 2 CPU cores. Wall time: 25 min beside much other work, 17.2 min of CPU time.
Final loss: 2.76 nats a token, 1.34 bits a byte, on held-out files (Python 3.11.7; other Pythons have other text).
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.name = "small"
    c.n_steps = 2000
    c.batch_tokens = 2048
    c.log_every = 10
    c.eval_every = 250
    c.eval_tokens = 32_768
    c.save_every = 500
    c.sample_prompt = "def "
    c.sample_tokens = 64
    c.tokenizer.name = "bpe"
    c.model.update(
        scan=False,
        vocab_size=2048,
        context=256,
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
    c.optim.update(
        name="muon", peak_lr=1e-2, schedule="wsd", decay_fraction=0.5, warmup_steps=20, final_lr_fraction=0.0
    )
    return c


def tuned() -> ConfigDict:
    """What every run that starts from it shares."""
    c = get_config()
    c.init_from = "runs/base"
    c.tokenizer.path = "runs/base/tokenizer"
    c.optim.schedule = "linear"
    return c
