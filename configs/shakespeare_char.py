"""Tiny Shakespeare by the character (TFDS), the first text of many a GPT.

gptjax train --config=configs/shakespeare_char.py --workdir=runs/shakespeare_char

Hardware: 2 CPU cores. Wall time: 407 s. Final loss: 1.859 nats a character over all held-out text (TFDS validation and
test together, the last tenth).
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.name = "shakespeare_char"
    c.n_steps = 1000
    c.batch_tokens = 3072
    c.log_every = 50
    c.eval_every = 250
    c.eval_tokens = 120_000
    c.save_every = 500
    c.sample_prompt = "ROMEO:\n"
    c.sample_tokens = 300
    c.tokenizer.name = "characters"
    c.data.corpora = ("tfds:tiny_shakespeare",)
    c.model.update(
        scan=False,
        vocab_size=82,  # 65 characters, the end of text, 16 hexadecimal digits for any other character
        context=64,
        n_layers=4,
        d_model=128,
        n_heads=4,
        n_kv_heads=4,
        d_hidden=512,
        bias=False,
    )
    c.optim.update(peak_lr=1e-3, warmup_steps=100, b2=0.99)
    return c
