"""A model's parameters as a decoding step reads them: each weight as rows of inputs, one for each output.

| precision | a weight is | bytes |
|---|---|---|
| float32 | as trained | 4 |
| bfloat16 | rounded to 8 bits of mantissa | 2 |
| int8 | rounded to 1/127 of the largest of its output; one float32 scale an output | 1 |

Norms, biases and learned positions stay float32. A product of an int8 weight is summed in float32 and then scaled.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array

from gptjax import mesh
from gptjax.config import ModelConfig

P = PartitionSpec
PRECISIONS = ("float32", "bfloat16", "int8")
LARGEST = 127  # of an int8; -128 is left out, so that a weight and its negative are as exact

# Where the weights lie on a mesh, as those of training do: outputs or inputs of heads and hidden units along "tensor".
PLACES = {
    "w_tok": P(None, "tensor", None),
    "w_head": P(None, "tensor", None),
    "q": P(None, "tensor", "data"),
    "k": P(None, "tensor", "data"),
    "v": P(None, "tensor", "data"),
    "attn_out": P(None, "data", "tensor"),
    "mlp_in": P(None, "tensor", "data"),
    "mlp_gate": P(None, "tensor", "data"),
    "mlp_out": P(None, "data", "tensor"),
}


class Matrix(NamedTuple):
    """A weight of all L layers, O outputs by I inputs; of int8 it is w times its output's scale."""

    w_LOI: Array  # the layers' weights; embedding and head have a layer axis of 1
    scale_LO: Array | None  # of int8


def pack(params: dict, cfg: ModelConfig, precision: str = "float32") -> dict:
    """{"matrices": {name: Matrix}, "layers": norms and biases with a layer axis, "w_pos", "norm_out"}.

    Parameters on a mesh stay on it.
    """
    at = getattr(params["w_tok"], "sharding", None)
    on = at.mesh if isinstance(at, NamedSharding) and at.mesh.size > 1 else None
    return packed(params, cfg=cfg, precision=precision, on=on)


@functools.partial(jax.jit, static_argnames=("cfg", "precision", "on"))
def packed(params: dict, *, cfg: ModelConfig, precision: str, on: Any) -> dict:
    blocks, L = params["blocks"], cfg.n_layers
    attn, mlp = blocks["attn"], blocks["mlp"]
    by_outputs = {
        "w_tok": params["w_tok"][None],
        **{name: flipped(attn[f"w_{name}"].reshape(L, cfg.d_model, -1)) for name in ("q", "k", "v")},
        "attn_out": flipped(attn["w_out"].reshape(L, -1, cfg.d_model)),
        "mlp_in": flipped(mlp["w_in"][:, -1]),
        "mlp_out": flipped(mlp["w_out"]),
    }
    if not cfg.tied:
        by_outputs["w_head"] = params["w_head"][None]
    if mlp["w_in"].shape[1] == 2:
        by_outputs["mlp_gate"] = flipped(mlp["w_in"][:, 0])
    small = {
        "layers": {
            **{name: leaf for name, leaf in blocks.items() if name not in ("attn", "mlp")},
            "attn": {name: leaf for name, leaf in attn.items() if not name.startswith("w_")},
            "mlp": {name: leaf for name, leaf in mlp.items() if not name.startswith("w_")},
        },
        **{name: params[name] for name in ("w_pos", "norm_out") if name in params},
    }
    matrices = {}
    for name, w_LOI in by_outputs.items():
        matrix = stored(w_LOI, precision)
        matrices[name] = matrix if on is None else placed(matrix, PLACES[name], on)
    return {"matrices": matrices, **small}


def flipped(w_LIO: Array) -> Array:
    return jnp.swapaxes(w_LIO, 1, 2)


def stored(w_LOI: Array, precision: str) -> Matrix:
    """A weight in a precision of the table above."""
    if precision != "int8":
        wide = precision == "float32" and w_LOI.dtype == jnp.float64
        return Matrix(w_LOI if wide else w_LOI.astype(precision), None)
    most_LO = jnp.max(jnp.abs(w_LOI), axis=-1)
    scale_LO = jnp.where(most_LO > 0, most_LO / LARGEST, 1.0)
    return Matrix(jnp.round(w_LOI / scale_LO[..., None]).astype(jnp.int8), scale_LO)


def placed(matrix: Matrix, spec: PartitionSpec, on: Any) -> Matrix:
    scale_LO = None if matrix.scale_LO is None else lie(matrix.scale_LO, P(*spec[:2]), on)
    return Matrix(lie(matrix.w_LOI, spec, on), scale_LO)


def lie(x: Array, spec: PartitionSpec, on: Any) -> Array:
    """x where a spec in the names of a config puts it, whole along the axes that do not divide it."""
    sides = mesh.physical(spec, on)
    free = [side if mesh.divides(side, n, on) else None for side, n in zip(sides, x.shape, strict=True)]
    return jax.lax.with_sharding_constraint(x, NamedSharding(on, P(*free)))


def rows(matrix: Matrix, index_R: Array, dtype: Any) -> Array:
    """Rows of an embedding."""
    w_RI = matrix.w_LOI[0, index_R].astype(dtype)
    return w_RI if matrix.scale_LO is None else w_RI * matrix.scale_LO[0, index_R][:, None].astype(dtype)


def product(x_RI: Array, matrix: Matrix, layer: Array) -> Array:
    """Each row times the transposed weight of a layer, by XLA; at least in float32."""
    wide = jnp.promote_types(x_RI.dtype, jnp.float32)
    w_OI = jax.lax.dynamic_index_in_dim(matrix.w_LOI, layer, keepdims=False).astype(x_RI.dtype)
    y_RO = jnp.einsum("RI,OI->RO", x_RI, w_OI, preferred_element_type=wide)
    if matrix.scale_LO is None:
        return y_RO
    return y_RO * jax.lax.dynamic_index_in_dim(matrix.scale_LO, layer, keepdims=False)[None].astype(wide)
