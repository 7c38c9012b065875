"""Every parameter by its name, shape and place, without jax: those of the model, adapters, and which a run trains."""

import dataclasses
import math
from typing import NamedTuple

from gptjax.config import Config, ModelConfig
from gptjax.model import adapters
from gptjax.model.adapters import A
from gptjax.planning.flops import gates
from gptjax.training import factors

Number = int | float
LANES, SUBLANES = 128, 8  # of a TPU's memory tile: numbers in a row, rows
CUT = "NKFV"  # sides that `tensor` cuts, in the letters of model/adapters.py


class Ways(NamedTuple):
    """Devices along each axis of the mesh."""

    replica: int
    data: int
    tensor: int
    sequence: int


class Parameter(NamedTuple):
    shape: tuple[int, ...]
    axes: tuple[str | None, ...]  # of the mesh, along each side

    def size(self, ways: Ways | None = None) -> Number:
        """Numbers in it, or in a device's part of it."""
        return math.prod(self.part(ways))

    def part(self, ways: Ways | None) -> list[Number]:
        """Sides of a device's part."""
        sides = zip(self.shape, self.axes or (None,) * len(self.shape), strict=True)
        return [side / (getattr(ways, axis) if ways and axis else 1) for side, axis in sides]

    def tiled(self, ways: Ways) -> Number:
        """Numbers that a device's part takes in a TPU's memory, in tiles of 8 x 128, laid out to waste least."""
        sides = self.part(ways)
        if len(sides) < 2:
            return math.prod(sides)
        layers, sides = (sides[0], sides[1:]) if len(sides) > 2 else (1, sides)
        waste = [
            up(lane, LANES) / lane * up(row, SUBLANES) / row
            for i, lane in enumerate(sides)
            for row in sides[:i] + sides[i + 1 :]
        ]
        return layers * math.prod(sides) * min(waste)


def parameters(cfg: ModelConfig) -> dict[str, Parameter]:
    """Every parameter, as the table of model/gpt.py has its shape and RULES of training/sharding.py its place."""
    L, D, N, K, H, F, V = (
        cfg.n_layers, cfg.d_model, cfg.n_heads, cfg.n_kv_heads, cfg.d_head, cfg.d_hidden, cfg.padded_vocab,
    )  # fmt: skip
    C = gates(cfg)
    found = {
        "w_tok": Parameter((V, D), ("tensor", "data")),
        "blocks/attn/w_q": Parameter((L, D, N, H), (None, "data", "tensor", None)),
        "blocks/attn/w_k": Parameter((L, D, K, H), (None, "data", "tensor", None)),
        "blocks/attn/w_v": Parameter((L, D, K, H), (None, "data", "tensor", None)),
        "blocks/attn/w_out": Parameter((L, N, H, D), (None, "tensor", None, "data")),
        "blocks/mlp/w_in": Parameter((L, C, D, F), (None, None, "data", "tensor")),
        "blocks/mlp/w_out": Parameter((L, F, D), (None, "tensor", "data")),
    }
    if cfg.position == "learned":
        found["w_pos"] = Parameter((cfg.context, D), (None, "data"))
    if not cfg.tied:
        found["w_head"] = Parameter((V, D), ("tensor", "data"))
    norms = {"norm_out": (D,), "blocks/norm_attn": (L, D)}
    if not cfg.parallel:
        norms["blocks/norm_mlp"] = (L, D)
    if cfg.qk_norm:
        norms |= {"blocks/attn/norm_q": (L, H), "blocks/attn/norm_k": (L, H)}
    for name, shape in norms.items():
        for part in ("scale", "bias")[: 2 if cfg.bias else 1]:
            found[f"{name}/{part}"] = Parameter(shape, ())
    if cfg.bias:
        for name, n in (("q", N), ("k", K), ("v", K)):
            found[f"blocks/attn/b_{name}"] = Parameter((L, n, H), (None, "tensor", None))
        found["blocks/mlp/b_in"] = Parameter((L, C, F), (None, None, "tensor"))
        found |= {f"blocks/{half}/b_out": Parameter((L, D), ()) for half in ("attn", "mlp")}
    return found


def with_adapters(cfg: Config) -> dict[str, Parameter]:
    """Every parameter of a run's model. Adapters are cut where `tensor` cuts their matrix. Raises BadInput."""
    found = parameters(cfg.model)
    for name, shape in adapters.shapes({name: one.shape for name, one in found.items()}, cfg.lora).items():
        a, b = adapters.form(name[: -len(A)]).replace(".", "").split("->")[0].split(",")
        letters = (a if name.endswith(A) else b).rjust(len(shape))
        found[name] = Parameter(shape, tuple("tensor" if letter in CUT else None for letter in letters))
    return found


def held(cfg: Config) -> dict[str, Parameter]:
    """Every parameter of a run: the reference of DPO too, where it is not the model without adapters."""
    found = with_adapters(cfg)
    if not cfg.data.preferences or cfg.lora.rank:
        return found
    return found | {f"{factors.REFERENCE}/{name}": one for name, one in found.items()}


def trained(cfg: Config) -> dict[str, Parameter]:
    """Those that a run trains, at least in part: of which it holds gradients and moments. Raises BadInput."""
    found = with_adapters(cfg)
    of = factors.of_names(found, cfg)
    return {name: one for name, one in found.items() if any(of[name])}


def count(cfg: Config) -> tuple[int, int]:
    """Numbers that a run trains, and all; the rows that pad the vocabulary are left out. Raises BadInput."""
    cfg = dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, pad_vocab_to=1))
    sizes = {name: math.prod(one.shape) for name, one in with_adapters(cfg).items()}
    shares = factors.shares(factors.of_names(sizes, cfg))
    return sum(round(shares[name] * size) for name, size in sizes.items()), sum(sizes.values())


def said(n_trained: int, n_all: int) -> str:
    """How many parameters there are, and how many of them are trained."""
    part = "all" if n_trained == n_all else f"{n_trained:,} ({100 * n_trained / n_all:.3g}%)"
    return f"{n_all:,} parameters, {part} trained"


def up(side: Number, to: int) -> Number:
    return math.ceil(side / to) * to
