"""One layer of the GPT, in Flax Linen: norm, attention, MLP and the residual stream between them.

Letters: B batch, T position, S slot, D model width, N query heads, K key/value heads, H head width, F hidden width,
C = 2 for a gated MLP, else 1. Norms and softmax are computed in float32 (float64 for float64 inputs).
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, PRNGKeyArray

from gptjax import mesh
from gptjax.config import ModelConfig
from gptjax.keys import GATES
from gptjax.model.attention import Slots, attention
from gptjax.model.product import product, products

STD = 0.02  # of fresh weights (Radford et al. 2019, as released)
CENTRE = {"layer": lambda x: x - x.mean(-1, keepdims=True), "rms": lambda x: x}
HIDDEN = {
    "gelu": lambda h_BTF: jax.nn.gelu(h_BTF, approximate=True),  # Hendrycks & Gimpel 2016, the tanh form
    "gelu_exact": lambda h_BTF: jax.nn.gelu(h_BTF, approximate=False),
    "relu": jax.nn.relu,
    "swiglu": lambda gate_BTF, h_BTF: jax.nn.silu(gate_BTF) * h_BTF,  # Shazeer 2020
    "relu2": lambda h_BTF: jnp.square(jax.nn.relu(h_BTF)),  # So et al. 2021
}


# Where each activation lies on a mesh. "queries", "keys" and "values" lie as their products do: a step that asks for
# none of the three is the program it would be without these points.
PLACES = {
    "residual_in": P(mesh.ROWS, "sequence", None),
    "attn_probs": P(mesh.ROWS, "tensor", "sequence", None),
    "mixed_heads": P(mesh.ROWS, "sequence", "tensor", None),
    "attn_out": P(mesh.ROWS, "sequence", None),
    "mlp_hidden": P(mesh.ROWS, "sequence", "tensor"),
    "mlp_out": P(mesh.ROWS, "sequence", None),
    "residual_out": P(mesh.ROWS, "sequence", None),
    "final": P(mesh.ROWS, "sequence", None),
}


class Shared(NamedTuple):
    """What every layer is given besides its input: who sees whom, the angles of rope, the dropout key."""

    slots: Slots
    rope: tuple[Array, Array] | None
    key: PRNGKeyArray | None


class Tap:
    """`tap(point, x)` is x where it lies on the mesh, edited and recorded where the caller asked for that point."""

    def __init__(self, edits: Mapping[str, Callable], capture: tuple[str, ...], layer: Int[Array, ""] | int):
        self.edits, self.capture, self.layer = edits, capture, layer
        self.seen: dict[str, Array] = {}

    def wants(self, point: str) -> bool:
        return point in self.edits or point in self.capture

    def __call__(self, point: str, x: Array) -> Array:
        if point in self.edits:
            x = self.edits[point](x, self.layer)
        if point in PLACES:
            x = checkpoint_name(mesh.lie(x, PLACES[point]), point)
        if point in self.capture:
            self.seen[point] = x
        return x


def wide(x: Array) -> Array:
    """x in float32, or as it is where that is wider."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def dropout(x: Array, rate: float, key: PRNGKeyArray | None, site: Int[Array, ""] | int) -> Array:
    """x with a fraction `rate` zeroed and the rest scaled up to keep the mean; no key, no dropout."""
    if key is None or rate == 0:
        return x
    kept = jax.random.bernoulli(jax.random.fold_in(key, site), 1 - rate, x.shape)
    return jnp.where(kept, x / (1 - rate), 0)


def rope_angles(positions_BT: Int[Array, "B T"], d_head: int, base: float, dtype) -> tuple[Array, Array]:
    """Cosines and sines, (B, T, 1, H/2), of rotary positions (Su et al. 2021, section 3.2)."""
    wavenumber_h = base ** (-jnp.arange(0, d_head, 2, dtype=dtype) / d_head)
    angle_BT1h = positions_BT.astype(dtype)[:, :, None, None] * wavenumber_h[None, None, None]
    return jnp.cos(angle_BT1h), jnp.sin(angle_BT1h)


def rotate(x_BTNH: Float[Array, "B T N H"], rope: tuple[Array, Array]) -> Float[Array, "B T N H"]:
    """Rotates each pair (i, i + H/2) by its angle: the pairing of GPT-NeoX and of Llama as Hugging Face stores it."""
    cos, sin = rope
    a, b = jnp.split(wide(x_BTNH), 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).astype(x_BTNH.dtype)


def turned(q: Array, k: Array, cfg: ModelConfig, norm: Callable[[str, Array], Array], rope: tuple | None) -> tuple:
    """Queries and keys, (B, T, heads, H), as attention takes them: each head's normed, then rotated."""
    if cfg.qk_norm:
        q, k = norm("norm_q", q), norm("norm_k", k)
    return (q, k) if rope is None else (rotate(q, rope), rotate(k, rope))


def wired(x: Array, cfg: ModelConfig, norm: Callable[[str, Array], Array], attn: Callable, mlp: Callable) -> tuple:
    """How a layer hangs together, in training and generation, over any leading axes.

    `norm(name, x)` is one of its norms; `attn` takes what is normed and gives what it adds to x, and its keys and
    values; `mlp` gives what it adds. Returns the layer's output, and those keys and values.
    """
    normed = norm("norm_attn", x)
    added, kept = attn(normed)
    x = x + added
    if not cfg.parallel:  # parallel: Wang & Komatsuzaki 2021
        normed = norm("norm_mlp", x)
    return x + mlp(normed), kept


def normed(x: Array, scale: Array, bias: Array | None, cfg: ModelConfig) -> Array:
    """LayerNorm (Ba et al. 2016) or RMSNorm (Zhang & Sennrich 2019) over the last axis, in float32 or wider."""
    y, row = CENTRE[cfg.norm](wide(x)), (1,) * (x.ndim - 1) + x.shape[-1:]
    y = y * jax.lax.rsqrt(jnp.mean(jnp.square(y), axis=-1, keepdims=True) + cfg.norm_eps)
    y = y * scale.reshape(row)
    return (y if bias is None else y + bias.reshape(row)).astype(x.dtype)


def weight(module: nn.Module, name: str, shape: tuple[int, ...], std: float) -> Array:
    return module.param(f"w_{name}", nn.initializers.normal(std), shape, jnp.float32)


def biased(module: nn.Module, name: str, y: Array, shape: tuple[int, ...]) -> Array:
    """y plus `b_name`, of its last axes, where the config has biases."""
    if not module.cfg.bias:
        return y
    b = module.param(f"b_{name}", nn.initializers.zeros, shape, jnp.float32)
    return y + b.astype(y.dtype).reshape((1,) * (y.ndim - len(shape)) + shape)


class Norm(nn.Module):
    """The parameters that `normed` takes: float32 `scale`, and `bias` where the config has biases."""

    cfg: ModelConfig

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale, bias = self.param("scale", nn.initializers.ones, x.shape[-1:], jnp.float32), None
        if self.cfg.bias:
            bias = self.param("bias", nn.initializers.zeros, x.shape[-1:], jnp.float32)
        return normed(x, scale, bias, self.cfg)


class Attention(nn.Module):
    """Multi-head attention with grouped keys (Ainslie et al. 2023); returns the updated cache of this layer too."""

    cfg: ModelConfig

    @nn.compact
    def __call__(
        self, x_BTD: Array, kv: tuple[Array, Array] | None, shared: Shared, tap: Tap
    ) -> tuple[Array, tuple[Array, Array] | None]:
        cfg, slots = self.cfg, shared.slots
        D, N, K, H = cfg.d_model, cfg.n_heads, cfg.n_kv_heads, cfg.d_head
        w_q_DNH, w_k_DKH, w_v_DKH = (
            weight(self, name, (D, n, H), hidden_std(cfg)) for name, n in (("q", N), ("k", K), ("v", K))
        )
        w_q_DNH, w_k_DKH, w_v_DKH = (w.astype(x_BTD.dtype) for w in (w_q_DNH, w_k_DKH, w_v_DKH))
        if N == K:
            q_BTNH, k_BSKH, v_BSKH = products(x_BTD, [w_q_DNH, w_k_DKH, w_v_DKH])
        else:
            (q_BTNH,), (k_BSKH, v_BSKH) = products(x_BTD, [w_q_DNH]), products(x_BTD, [w_k_DKH, w_v_DKH])
        q_BTNH = biased(self, "q", q_BTNH, (N, H))
        k_BSKH, v_BSKH = biased(self, "k", k_BSKH, (K, H)), biased(self, "v", v_BSKH, (K, H))
        q_BTNH, k_BSKH, v_BSKH = tap("queries", q_BTNH), tap("keys", k_BSKH), tap("values", v_BSKH)
        q_BTNH, k_BSKH = turned(q_BTNH, k_BSKH, cfg, lambda name, x: Norm(cfg, name=name)(x), shared.rope)
        if kv is not None and slots.first is not None:
            kv = k_BSKH, v_BSKH = written(kv[0], k_BSKH, slots.first), written(kv[1], v_BSKH, slots.first)

        def on_probs(probs_BNTS: Array) -> Array:
            return dropout(tap("attn_probs", probs_BNTS), cfg.dropout, shared.key, 0)

        needs_probs = tap.wants("attn_probs") or (shared.key is not None and cfg.dropout > 0)
        mixed_BTNH = attention(q_BTNH, k_BSKH, v_BSKH, slots, cfg.attention, on_probs if needs_probs else None)
        mixed_BTNH = tap("mixed_heads", mixed_BTNH)
        w_out_NHD = weight(self, "out", (N, H, D), residual_std(cfg))
        return biased(self, "out", product(mixed_BTNH, w_out_NHD.astype(mixed_BTNH.dtype), 2), (D,)), kv


class Mlp(nn.Module):
    cfg: ModelConfig

    @nn.compact
    def __call__(self, x_BTD: Array, tap: Tap) -> Array:
        cfg, C, D, F = self.cfg, GATES[self.cfg.mlp], self.cfg.d_model, self.cfg.d_hidden
        w_in_CDF = weight(self, "in", (C, D, F), hidden_std(cfg))
        gates = [product(x_BTD, w_in_CDF[c].astype(x_BTD.dtype), 1) for c in range(C)]
        if cfg.bias:
            b_in_CF = self.param("b_in", nn.initializers.zeros, (C, F), jnp.float32).astype(x_BTD.dtype)
            gates = [gate_BTF + b_in_CF[c, None, None] for c, gate_BTF in enumerate(gates)]
        hidden = HIDDEN[cfg.mlp]
        if cfg.remat == "none":  # it costs less to compute anew than to write and read
            hidden = jax.checkpoint(hidden, prevent_cse=not cfg.scan)
        hidden_BTF = tap("mlp_hidden", hidden(*gates))
        w_out_FD = weight(self, "out", (F, D), residual_std(cfg))
        return biased(self, "out", product(hidden_BTF, w_out_FD.astype(hidden_BTF.dtype), 1), (D,))


class Block(nn.Module):
    """One layer: its input with what attention and MLP write to it, its cache, and {point: array} of what was asked."""

    cfg: ModelConfig
    edits: Mapping[str, Callable]
    capture: tuple[str, ...]

    @nn.compact
    def __call__(self, x_BTD: Array, per_layer: tuple, shared: Shared) -> tuple[Array, tuple]:
        cfg, (layer, kv) = self.cfg, per_layer
        tap = Tap(self.edits, self.capture, layer)
        if shared.key is not None:
            shared = shared._replace(key=jax.random.fold_in(shared.key, layer))

        def attn(x_BTD: Array) -> tuple:
            attn_BTD, new_kv = Attention(cfg, name="attn")(x_BTD, kv, shared, tap)
            return dropout(tap("attn_out", attn_BTD), cfg.dropout, shared.key, 1), new_kv

        def mlp(x_BTD: Array) -> Array:
            return dropout(tap("mlp_out", Mlp(cfg, name="mlp")(x_BTD, tap)), cfg.dropout, shared.key, 2)

        norm = lambda name, x_BTD: Norm(cfg, name=name)(x_BTD)
        x_BTD, new_kv = wired(tap("residual_in", x_BTD), cfg, norm, attn, mlp)
        return tap("residual_out", x_BTD), (new_kv, tap.seen)


def hidden_std(cfg: ModelConfig) -> float:
    """Of the weights inside the blocks; in muP it falls with the root of the width (Yang et al. 2022, table 8)."""
    return STD / cfg.wider**0.5


def residual_std(cfg: ModelConfig) -> float:
    """Of the weights that write to the residual stream, which 2 n_layers of them add up in (Radford et al. 2019)."""
    return hidden_std(cfg) / (2 * cfg.n_layers) ** 0.5


def written(cache_BSKH: Array, new_BTKH: Array, first: Int[Array, ""]) -> Array:
    """The cache of one layer with this call's keys or values in the slots from `first`."""
    return jax.lax.dynamic_update_slice_in_dim(cache_BSKH, new_BTKH.astype(cache_BSKH.dtype), first, axis=1)
