"""One Billion Word Benchmark (TFDS `lm1b`), sentences packed with document masks. Never run.

    gptjax prepare --corpus=tfds:lm1b                  (once; needs the [prepare] extra)
    gptjax train --config=configs/lm1b.py --workdir=runs/lm1b

Hardware: one GPU of 40 GB or a TPU v4-8. Wall time, final loss: never run.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.name = "lm1b"
    c.n_steps = 100_000
    c.batch_tokens = 131_072
    c.log_every = 50
    c.eval_every = 2000
    c.eval_tokens = 1_048_576
    c.save_every = 2000
    c.sample_every = 10_000
    c.tokenizer.name = "bpe"
    c.data.corpora = ("tfds:lm1b",)
    c.model.update(
        vocab_size=32_000,
        context=512,
        n_layers=12,
        d_model=768,
        n_heads=12,
        n_kv_heads=12,
        d_hidden=2048,
        position="rope",
        norm="rms",
        mlp="swiglu",
        bias=False,
        dtype="bfloat16",
    )
    c.loss.n_chunks = 4
    c.optim.update(peak_lr=1e-3, warmup_steps=1000)
    return c
