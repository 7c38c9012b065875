"""Every parameter of the model: its name, its sides, when it is there and where it lies; imports no jax.

What the modules of `blocks.py` and `gpt.py` declare is checked against it, and all else reads it: where an array and
its optimizer state lie, what `gptjax plan` adds up, the counts and FLOPs of a model. All are float32.

Sides: L layers, which all below "blocks" have in front, D width, N query heads, K key/value heads, H head width,
F hidden width, C = 2 for a gated MLP (gate, then value), else 1, V rows of the vocabulary with its padding, T context.
"""

from collections.abc import Callable
from typing import NamedTuple

from gptjax.keys import GATES, ModelConfig
from gptjax.model import adapters

Axes = tuple[str | None, ...]  # of the mesh, along each side; () lies whole on every device


class Row(NamedTuple):
    """`axes` is where it lies: "data" is FSDP, each device keeps a part and gathers the rest just before use. `tiled`
    holds where there is no tensor axis and it cuts whole tiles of a TPU's memory: parts need no other layout then."""

    sides: str
    axes: Axes = ()
    tiled: Axes | None = None
    needs: Callable[[ModelConfig], bool] = lambda cfg: True


def biased(cfg: ModelConfig) -> bool:
    """Whether projections and norms have a bias."""
    return cfg.bias


def norm(name: str, sides: str, needs: Callable[[ModelConfig], bool] = lambda cfg: True) -> dict[str, Row]:
    """The rows of one norm."""
    both = {f"{name}/scale": Row(sides, needs=needs)}
    return both | {f"{name}/bias": Row(sides, needs=lambda cfg: cfg.bias and needs(cfg))}


TABLE = {
    "w_tok": Row("VD", ("tensor", "data"), ("data", None)),  # also the head where cfg.tied
    "w_pos": Row("TD", (None, "data"), needs=lambda cfg: cfg.position == "learned"),
    "w_head": Row("VD", ("tensor", "data"), ("data", None), needs=lambda cfg: not cfg.tied),
    **norm("norm_out", "D"),
    **norm("blocks/norm_attn", "LD"),  # before the MLP too where cfg.parallel
    **norm("blocks/norm_mlp", "LD", lambda cfg: not cfg.parallel),
    **norm("blocks/attn/norm_q", "LH", lambda cfg: cfg.qk_norm),  # shared by the heads, as norm_k is
    **norm("blocks/attn/norm_k", "LH", lambda cfg: cfg.qk_norm),
    "blocks/attn/w_q": Row("LDNH", (None, "data", "tensor", None)),
    "blocks/attn/w_k": Row("LDKH", (None, "data", "tensor", None)),
    "blocks/attn/w_v": Row("LDKH", (None, "data", "tensor", None)),
    "blocks/attn/w_out": Row("LNHD", (None, "tensor", None, "data")),
    "blocks/attn/b_q": Row("LNH", (None, "tensor", None), needs=biased),
    "blocks/attn/b_k": Row("LKH", (None, "tensor", None), needs=biased),
    "blocks/attn/b_v": Row("LKH", (None, "tensor", None), needs=biased),
    "blocks/attn/b_out": Row("LD", needs=biased),
    "blocks/mlp/w_in": Row("LCDF", (None, None, "data", "tensor"), (None, None, None, "data")),
    "blocks/mlp/w_out": Row("LFD", (None, "tensor", "data"), (None, "data", None)),
    "blocks/mlp/b_in": Row("LCF", (None, None, "tensor"), needs=biased),
    "blocks/mlp/b_out": Row("LD", needs=biased),
}


def shapes(cfg: ModelConfig) -> dict[str, tuple[int, ...]]:
    """{name: shape} of every parameter of a model."""
    sizes = {
        "L": cfg.n_layers, "D": cfg.d_model, "N": cfg.n_heads, "K": cfg.n_kv_heads, "H": cfg.d_head, "F": cfg.d_hidden,
        "C": GATES[cfg.mlp], "V": cfg.padded_vocab, "T": cfg.context,
    }  # fmt: skip
    return {name: tuple(sizes[side] for side in row.sides) for name, row in TABLE.items() if row.needs(cfg)}


def places(name: str) -> tuple[Axes, Axes | None]:
    """`axes` and `tiled` of a parameter or an adapter; raises KeyError for a name that is neither.

    Adapters are small: only what "tensor" cuts of their matrix is cut, so that their product lies as the matrix does.
    """
    if not adapters.is_adapter(name):
        return TABLE[name].axes, TABLE[name].tiled
    row = TABLE[name[: -len(adapters.A)]]
    cut = {side for side, axis in zip(row.sides, row.axes, strict=True) if axis == "tensor"}
    return tuple("tensor" if side in cut else None for side in adapters.sides(name)), None
