"""Where each parameter lies in the tensors of Hugging Face's GPT-2 and Llama: one table a family, read both ways.

GPT-2 keeps matrices as (in, out), with q, k and v side by side; Llama's torch.nn.Linear keeps them as (out, in).
"""

import math
from typing import NamedTuple

import numpy as np

from gptjax.config import ModelConfig

LAYER = "blocks/"


class Part(NamedTuple):
    """A parameter's place. `{}` in the tensor's name is the layer."""

    tensor: str
    leaf: str
    rows: int = 0  # how many of the leaf's axes (in one layer) are the matrix's rows; 0 for a vector
    column: int = 0  # which of `columns` equal parts of the tensor's last axis
    columns: int = 1
    flipped: bool = False  # (out, in)
    gate: int | None = None  # index of the leaf's first axis (in one layer)


def gpt2(cfg: ModelConfig) -> list[Part]:
    at = "transformer.h.{}."
    parts = [Part("transformer.wte.weight", "w_tok", 1), Part("transformer.wpe.weight", "w_pos", 1)]
    for half, norm in (("attn", "ln_1"), ("mlp", "ln_2")):
        parts += [
            Part(f"{at}{norm}.weight", f"{LAYER}norm_{half}/scale"),
            Part(f"{at}{norm}.bias", f"{LAYER}norm_{half}/bias"),
        ]
    for column, name in enumerate("qkv"):
        parts += [
            Part(f"{at}attn.c_attn.weight", f"{LAYER}attn/w_{name}", 1, column, 3),
            Part(f"{at}attn.c_attn.bias", f"{LAYER}attn/b_{name}", 0, column, 3),
        ]
    parts += [
        Part(f"{at}attn.c_proj.weight", f"{LAYER}attn/w_out", 2),
        Part(f"{at}attn.c_proj.bias", f"{LAYER}attn/b_out"),
        Part(f"{at}mlp.c_fc.weight", f"{LAYER}mlp/w_in", 1, gate=0),
        Part(f"{at}mlp.c_fc.bias", f"{LAYER}mlp/b_in", gate=0),
        Part(f"{at}mlp.c_proj.weight", f"{LAYER}mlp/w_out", 1),
        Part(f"{at}mlp.c_proj.bias", f"{LAYER}mlp/b_out"),
        Part("transformer.ln_f.weight", "norm_out/scale"),
        Part("transformer.ln_f.bias", "norm_out/bias"),
    ]
    return parts + ([] if cfg.tied else [Part("lm_head.weight", "w_head", 1)])


def llama(cfg: ModelConfig) -> list[Part]:
    at = "model.layers.{}."
    parts = [
        Part("model.embed_tokens.weight", "w_tok", 1),
        Part(f"{at}input_layernorm.weight", f"{LAYER}norm_attn/scale"),
        Part(f"{at}post_attention_layernorm.weight", f"{LAYER}norm_mlp/scale"),
        *(Part(f"{at}self_attn.{name}_proj.weight", f"{LAYER}attn/w_{name}", 1, flipped=True) for name in "qkv"),
        Part(f"{at}self_attn.o_proj.weight", f"{LAYER}attn/w_out", 2, flipped=True),
        Part(f"{at}mlp.gate_proj.weight", f"{LAYER}mlp/w_in", 1, flipped=True, gate=0),
        Part(f"{at}mlp.up_proj.weight", f"{LAYER}mlp/w_in", 1, flipped=True, gate=1),
        Part(f"{at}mlp.down_proj.weight", f"{LAYER}mlp/w_out", 1, flipped=True),
        Part("model.norm.weight", "norm_out/scale"),
    ]
    return parts + ([] if cfg.tied else [Part("lm_head.weight", "w_head", 1)])


LAYOUTS = {"gpt2": gpt2, "llama": llama}
BASE = {"gpt2": "transformer.", "llama": "model."}  # which files of the model without its head leave out


def in_layer(part: Part, leaf_shape: tuple[int, ...], cfg: ModelConfig) -> tuple[int, ...]:
    """The shape that a part takes of its leaf, in one layer and without the rows that pad the vocabulary."""
    shape = leaf_shape[1:] if part.leaf.startswith(LAYER) else leaf_shape
    if part.leaf in ("w_tok", "w_head"):
        shape = (cfg.vocab_size, *shape[1:])
    return shape if part.gate is None else shape[1:]


def tensor_shape(part: Part, leaf_shape: tuple[int, ...], cfg: ModelConfig) -> tuple[int, ...]:
    """The shape of the whole tensor that a part lies in."""
    shape = in_layer(part, leaf_shape, cfg)
    flat = (math.prod(shape[: part.rows]), math.prod(shape[part.rows :])) if part.rows else (math.prod(shape),)
    flat = flat[::-1] if part.flipped else flat
    return (*flat[:-1], flat[-1] * part.columns)


def within(part: Part, tensor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The part of a tensor, in the leaf's axes: a view, to be read or written."""
    width = tensor.shape[-1] // part.columns
    found = tensor[..., part.column * width : (part.column + 1) * width]
    return (found.T if part.flipped else found).reshape(shape)
