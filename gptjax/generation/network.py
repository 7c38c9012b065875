"""One pass of the model over rows of tokens, with a cache of keys and values that is changed in place.

The same arithmetic as `model.gpt.forward`, for which tests hold it, but over rows instead of batch and positions: a
prefill's rows are the positions of one prompt, a step's rows are the newest tokens of several texts. The layers are a
loop, so that one layer is compiled.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from gptjax import mesh
from gptjax.config import ModelConfig
from gptjax.generation import native, weights
from gptjax.generation.weights import Matrix
from gptjax.model import blockwise
from gptjax.model.blocks import HIDDEN, normed, rope_angles, turned, wired
from gptjax.model.gpt import finished

FEW_ROWS = 64  # up to which the kernel multiplies; more rows are worth XLA's copy of a weight


class Machine(NamedTuple):
    """What a program is compiled for."""

    cfg: ModelConfig
    native: bool  # whether the kernels of native.cc multiply; they compute in float32
    everywhere: NamedSharding | None  # copies on every device of the mesh that the weights lie on

    @property
    def dtype(self) -> Any:
        return jnp.float32 if self.native else jnp.dtype(self.cfg.dtype)


class Cache(NamedTuple):
    """Slot s of a row holds key and value of the token at position s of its text, whatever the other rows hold."""

    keys_LRKSH: Float[Array, "L R K S H"]
    values_LRKSH: Float[Array, "L R K S H"]


CACHE = PartitionSpec(None, mesh.ROWS, "tensor", None, None)  # where it lies on a mesh


def lie(tree: Any, machine: Machine) -> Any:
    """Small results on every device of a mesh, so that each of several processes can read them; caches divided."""
    at = machine.everywhere
    if at is None:
        return tree
    divided = lambda x: weights.lie(x, CACHE, at.mesh)
    copied = lambda x: jax.lax.with_sharding_constraint(x, at)
    return jax.tree.map(
        lambda x: Cache(*map(divided, x)) if isinstance(x, Cache) else copied(x),
        tree,
        is_leaf=lambda x: isinstance(x, Cache),
    )


Attend = Callable[[Array, Array, Array, Cache, Array], tuple[Array, Cache]]


def empty(machine: Machine, n_rows: int, length: int) -> Cache:
    """Zeros, L x R x K x S x H each, in the machine's dtype; `length` is S."""
    cfg = machine.cfg
    shape = (cfg.n_layers, n_rows, cfg.n_kv_heads, length, cfg.d_head)
    return Cache(jnp.zeros(shape, machine.dtype), jnp.zeros(shape, machine.dtype))


def prefill(
    packed: dict, tokens_T: Int[Array, " T"], n: Int[Array, ""], cache: Cache, row: Int[Array, ""], machine: Machine
) -> tuple[Float[Array, " V"], Cache]:
    """Fills the first slots of a row with a text, its first `n` tokens; logits after the last of them."""
    x_TD, cache = read(packed, tokens_T, n, cache, row, machine)
    last_1D = jax.lax.dynamic_slice_in_dim(x_TD, n - 1, 1)
    return unembed(packed, last_1D, jnp.ones(1, jnp.int32), machine)[0], cache


def read(
    packed: dict, tokens_T: Int[Array, " T"], n: Int[Array, ""], cache: Cache, row: Int[Array, ""], machine: Machine
) -> tuple[Float[Array, "T D"], Cache]:
    """What `unembed` makes the logits after each of the first `n` tokens from; those tokens are in the row's slots.

    What stands after them is padding, in slots that later tokens overwrite before anything sees them.
    """
    T = tokens_T.shape[0]

    def attend(q_TNH: Array, k_TKH: Array, v_TKH: Array, cache: Cache, layer: Array) -> tuple[Array, Cache]:
        def written(cache_LRKSH: Array, new_TKH: Array) -> Array:
            new_11KTH = jnp.swapaxes(new_TKH, 0, 1)[None, None].astype(cache_LRKSH.dtype)
            return jax.lax.dynamic_update_slice(cache_LRKSH, new_11KTH, (layer, row, 0, 0, 0))

        cache = Cache(written(cache.keys_LRKSH, k_TKH), written(cache.values_LRKSH, v_TKH))
        return blockwise.causal_attention(q_TNH[None], k_TKH[None], v_TKH[None], None)[0], cache

    real_T = (jnp.arange(T) < n).astype(jnp.int32)
    return layers(packed, tokens_T, jnp.arange(T), real_T, cache, attend, machine)


def step(
    packed: dict,
    tokens_R: Int[Array, " R"],
    lengths_R: Int[Array, " R"],
    active_R: Int[Array, " R"],
    cache: Cache,
    machine: Machine,
) -> tuple[Float[Array, "R V"], Cache]:
    """One token of each active row, into the slot after the `lengths_R` that are filled; logits after it."""

    def attend(q_RNH: Array, k_RKH: Array, v_RKH: Array, cache: Cache, layer: Array) -> tuple[Array, Cache]:
        if machine.native:
            mixed_RNH, keys_LRKSH, values_LRKSH = native.attend(
                q_RNH, k_RKH, v_RKH, cache.keys_LRKSH, cache.values_LRKSH, layer, lengths_R, active_R
            )
            return mixed_RNH, Cache(keys_LRKSH, values_LRKSH)
        cache = Cache(put(cache.keys_LRKSH, k_RKH, layer, lengths_R), put(cache.values_LRKSH, v_RKH, layer, lengths_R))
        k_RKSH, v_RKSH = (jax.lax.dynamic_index_in_dim(x, layer, keepdims=False) for x in cache)
        return attended(q_RNH, k_RKSH, v_RKSH, lengths_R), cache

    x_RD, cache = layers(packed, tokens_R, lengths_R, active_R, cache, attend, machine)
    return unembed(packed, x_RD, active_R, machine), cache


def put(cache_LRKSH: Array, new_RKH: Array, layer: Array, lengths_R: Array) -> Array:
    """The cache with one key or value of each row; those beyond its end are dropped."""
    rows_R = jnp.arange(new_RKH.shape[0])
    return cache_LRKSH.at[layer, rows_R, :, lengths_R].set(new_RKH.astype(cache_LRKSH.dtype), mode="drop")


def attended(q_RNH: Array, k_RKSH: Array, v_RKSH: Array, lengths_R: Array) -> Array:
    """The values one query a row sees: those of the slots filled before it, and its own."""
    (R, N, H), (_, K, S, _) = q_RNH.shape, k_RKSH.shape
    wide = jnp.promote_types(q_RNH.dtype, jnp.float32)
    q_RKGH = q_RNH.reshape(R, K, N // K, H)
    scores_RKGS = jnp.einsum("RKGH,RKSH->RKGS", q_RKGH, k_RKSH, preferred_element_type=wide) / H**0.5
    seen_R11S = jnp.arange(S)[None, None, None] <= lengths_R[:, None, None, None]
    probs_RKGS = jax.nn.softmax(jnp.where(seen_R11S, scores_RKGS, -jnp.inf), axis=-1)
    return jnp.einsum("RKGS,RKSH->RKGH", probs_RKGS.astype(v_RKSH.dtype), v_RKSH).reshape(R, N, H)


def layers(
    packed: dict,
    tokens_R: Array,
    positions_R: Array,
    active_R: Array,
    cache: Cache,
    attend: Attend,
    machine: Machine,
) -> tuple[Float[Array, "R D"], Cache]:
    """The output of the last norm."""
    cfg, R = machine.cfg, tokens_R.shape[0]
    x_RD, rope = weights.rows(packed["matrices"]["w_tok"], tokens_R, jnp.float32), None
    if cfg.position == "learned":
        x_RD = x_RD + packed["w_pos"][positions_R]
    else:
        rope = rope_angles(positions_R[None], cfg.d_head, cfg.rope_base, jnp.float32)
    x_RD = x_RD.astype(machine.dtype)

    def one(layer: Array, carry: tuple[Array, Cache]) -> tuple[Array, Cache]:
        x_RD, cache = carry
        here = jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, layer, keepdims=False), packed["layers"])

        def times(x_RI: Array, name: str, bias: Array | None = None) -> Array:
            y_RO = multiplied(x_RI, packed["matrices"][name], layer, active_R, machine)
            return y_RO if bias is None else y_RO + bias.reshape(1, -1).astype(y_RO.dtype)

        def attn(x_RD: Array) -> tuple[Array, Cache]:
            sides = {"q": cfg.n_heads, "k": cfg.n_kv_heads, "v": cfg.n_kv_heads}
            q, k, v = (times(x_RD, s, here["attn"].get(f"b_{s}")).reshape(R, n, -1) for s, n in sides.items())
            q, k = turned(q[None], k[None], cfg, lambda name, x: norm(x, here["attn"][name], cfg), rope)
            mixed_RNH, new = attend(q[0], k[0], v, cache, layer)
            return times(mixed_RNH.reshape(R, -1), "attn_out", here["attn"].get("b_out")), new

        def mlp(x_RD: Array) -> Array:
            names = ["mlp_gate", "mlp_in"] if "mlp_gate" in packed["matrices"] else ["mlp_in"]
            biases = here["mlp"]["b_in"] if cfg.bias else [None] * len(names)
            gates = [times(x_RD, name, bias) for name, bias in zip(names, biases, strict=True)]
            return times(HIDDEN[cfg.mlp](*gates), "mlp_out", here["mlp"].get("b_out"))

        return wired(x_RD, cfg, lambda name, x: norm(x, here[name], cfg), attn, mlp)

    x_RD, cache = jax.lax.fori_loop(0, cfg.n_layers, one, (x_RD, cache))
    return norm(x_RD, packed["norm_out"], cfg), cache


def multiplied(x_RI: Array, matrix: Matrix, layer: Array, active_R: Array, machine: Machine) -> Array:
    if machine.native and x_RI.shape[0] <= FEW_ROWS:
        return native.product(x_RI, matrix.w_LOI, matrix.scale_LO, layer, active_R)
    return weights.product(x_RI, matrix, layer).astype(x_RI.dtype)


def unembed(packed: dict, x_RD: Array, active_R: Array, machine: Machine) -> Float[Array, "R V"]:
    """Float32 logits, -inf for the rows that pad the vocabulary."""
    cfg, matrix = machine.cfg, packed["matrices"]["w_tok" if machine.cfg.tied else "w_head"]
    if machine.native:
        logits_RV = native.product(x_RD, matrix.w_LOI, matrix.scale_LO, jnp.int32(0), active_R)
    else:
        logits_RV = weights.product(x_RD, matrix, jnp.int32(0))
    return finished(logits_RV, cfg)


def norm(x: Array, params: dict, cfg: ModelConfig) -> Array:
    """`model.blocks.Norm` of the last axis."""
    return normed(x, params["scale"], params["bias"] if cfg.bias else None, cfg)
