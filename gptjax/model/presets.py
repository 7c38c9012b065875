"""Sizes of published models, as dicts of ModelConfig fields: `c.model.update(presets.gpt2("124M"))` in a config file.

A preset sets every field of the architecture, and none of how it is trained or run (dropout, dtype, scan, remat...).
"""

import difflib

from gptjax.config import BadInput
from gptjax.keys import OFF

GPT2 = {  # n_layers, d_model, n_heads (Radford et al. 2019, table 2; heads and names as released)
    "124M": (12, 768, 12),
    "355M": (24, 1024, 16),
    "774M": (36, 1280, 20),
    "1.5B": (48, 1600, 25),
}
GPT3 = {  # n_layers, d_model, n_heads (Brown et al. 2020, table 2.1)
    "125M": (12, 768, 12),
    "350M": (24, 1024, 16),
    "760M": (24, 1536, 16),
    "1.3B": (24, 2048, 16),  # the table has 24 heads of width 128, which are not 2048
    "2.7B": (32, 2560, 32),
    "6.7B": (32, 4096, 32),
    "13B": (40, 5120, 40),  # the table has d_model 5140, which is not 40 heads of width 128
    "175B": (96, 12_288, 96),
}
LLAMA = {  # n_layers, d_model, n_heads, n_kv_heads, d_hidden, tied (Grattafiori et al. 2024, table 3; Llama 3.2 card)
    "1B": (16, 2048, 32, 8, 8192, True),
    "8B": (32, 4096, 32, 8, 14_336, False),
}


def gpt2(size: str) -> dict:
    """GPT-2: 124M, 355M, 774M or 1.5B."""
    n_layers, d_model, n_heads = row("gpt2", GPT2, size)
    return dict(
        vocab_size=50_257,
        context=1024,
        n_layers=n_layers,
        d_model=d_model,
        n_heads=n_heads,
        n_kv_heads=n_heads,
        d_hidden=4 * d_model,
        position="learned",
        norm="layer",
        norm_eps=1e-5,
        mlp="gelu",
        bias=True,
        tied=True,
        **OFF,
    )


def gpt3(size: str) -> dict:
    """GPT-3: 125M, 350M, 760M, 1.3B, 2.7B, 6.7B, 13B or 175B; dense, where every second layer of the paper's is not."""
    n_layers, d_model, n_heads = row("gpt3", GPT3, size)
    sizes = dict(n_layers=n_layers, d_model=d_model, n_heads=n_heads, n_kv_heads=n_heads, d_hidden=4 * d_model)
    return gpt2("124M") | sizes | dict(context=2048)


def llama(size: str) -> dict:
    """Llama 3.2 1B or Llama 3 8B, at 8192 positions. The rescaled rope with which 3.2 reaches further is left out."""
    n_layers, d_model, n_heads, n_kv_heads, d_hidden, tied = row("llama", LLAMA, size)
    return dict(
        vocab_size=128_256,
        context=8192,
        n_layers=n_layers,
        d_model=d_model,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        d_hidden=d_hidden,
        position="rope",
        rope_base=500_000.0,
        norm="rms",
        norm_eps=1e-5,
        mlp="swiglu",
        bias=False,
        tied=tied,
        **OFF,
    )


def row(family: str, table: dict[str, tuple], size: str) -> tuple:
    if size not in table:
        near = difflib.get_close_matches(size, table, n=1, cutoff=0.0)[0]
        raise BadInput(f"presets.{family}({size!r}): did you mean {near!r}? Sizes are {', '.join(table)}")
    return table[size]
