"""Tiny Shakespeare by the character (TFDS), the first text of many a GPT: a small one, trained fast.

gptjax train --config=configs/shakespeare_char.py --workdir=runs/shakespeare_char

Hardware: 2 CPU cores. Wall time: 17 s, of which half is start-up, compiling and the sample.
Final loss: 1.87 nats a character over all held-out text (TFDS validation and test together, the last tenth).
With --config.n_steps=1300 --config.model.context=128 --config.model.n_layers=3 --config.model.d_hidden=512: 1.59 nats
in 115 s beside other work (one seed).
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.name = "shakespeare_char"
    c.n_steps = 250
    c.batch_tokens = 1024
    c.log_every = 20
    c.eval_every = 0
    c.eval_tokens = 120_000
    c.save_every = 0
    c.sample_prompt = "ROMEO:\n"
    c.sample_tokens = 57  # with the prompt, the context: one program to compile
    c.tokenizer.name = "characters"
    c.data.corpora = ("tfds:tiny_shakespeare",)
    c.data.mask_documents = False  # it is one
    c.model.update(
        scan=False,
        vocab_size=82,  # 65 characters, the end of text, 16 hexadecimal digits for any other character
        context=64,
        n_layers=2,
        d_model=128,
        n_heads=2,
        n_kv_heads=2,
        d_hidden=384,
        position="rope",
        norm="rms",
        mlp="relu2",
        bias=False,
        qk_norm=True,
    )
    c.optim.update(name="muon", peak_lr=1e-2, schedule="linear", warmup_steps=10, final_lr_fraction=0.0)
    return c
