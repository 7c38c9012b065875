"""A decoder-only GPT behind four functions: `init`, `forward`, `unembed`, `init_cache`. No caller sees a module.

With the fields of GPT-2 it is GPT-2 (Radford et al. 2019): learned positions, LayerNorm before each half of a block,
tanh GELU, biases, tied head. Always jit `init` and `forward`, with `cfg` and `capture` static; close over `edits` and
`unpack`.

The parameters, a plain nested dict of float32 arrays, are those of `table.py`.

Compute is in cfg.dtype, but for float64 parameters (under `jax.enable_x64`), with which all of it is in float64.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from gptjax import tree
from gptjax.config import BadInput, ModelConfig
from gptjax.model import cudnn, local, product
from gptjax.model.attention import Slots
from gptjax.model.blocks import STD, Block, Norm, Shared, Tap, dropout, rope_angles

POINTS = (  # what edits and captures may name; all but the last are of each layer
    "residual_in",  # B T D
    "queries",  # B T N H, before they are normalised and rotated
    "keys",  # B T K H, likewise
    "values",  # B T K H
    "attn_probs",  # B N T S, float32
    "mixed_heads",  # B T N H
    "attn_out",  # B T D
    "mlp_hidden",  # B T F
    "mlp_out",  # B T D
    "residual_out",  # B T D
    "final",  # B T D, the output of the last norm; its edit is given layer = n_layers
)
KEPT = {  # what the backward pass of a layer finds saved, besides what cfg.saved and cfg.offloaded name
    "dots": (
        product.NAME,
    ),  # products with weights, what splash, ring and cudnn return; other scores and mixing, T x S, are recomputed
    "full": (),
}


class Output(NamedTuple):
    logits_BTV: Float[Array, "B T V"]  # V = cfg.padded_vocab
    cache: dict | None
    activations: dict[str, Array]  # {point: array}, with a leading layer axis but for "final"


class GPT(nn.Module):
    """All but the head: tokens in, the output of the last norm out."""

    cfg: ModelConfig
    edits: Mapping[str, Callable]
    capture: tuple[str, ...]
    unpack: Callable[[str, Any], Any] | None
    merge: Callable[[dict], dict] | None

    @nn.compact
    def __call__(self, tokens_BT: Array, kv: tuple | None, slots: Slots, positions_BT: Array, key) -> tuple:
        cfg, normal = self.cfg, nn.initializers.normal(STD)
        w_tok_VD = self.param("w_tok", normal, (cfg.padded_vocab, cfg.d_model), jnp.float32)
        if not cfg.tied:
            # Read by `unembed`. In muP it shrinks with the width (Yang et al. 2022, table 8: variance 1 / fan_in^2).
            self.param("w_head", nn.initializers.normal(STD / cfg.wider), w_tok_VD.shape, jnp.float32)
        dtype = w_tok_VD.dtype if w_tok_VD.dtype == jnp.float64 else jnp.dtype(cfg.dtype)
        x_BTD, rope = local.looked_up(w_tok_VD, tokens_BT), None
        if cfg.position == "learned":
            x_BTD = x_BTD + self.param("w_pos", normal, (cfg.context, cfg.d_model), jnp.float32)[positions_BT]
        else:
            rope = rope_angles(positions_BT, cfg.d_head, cfg.rope_base, jnp.promote_types(dtype, jnp.float32))
        x_BTD = dropout(x_BTD.astype(dtype), cfg.dropout, key, cfg.n_layers)

        body = Block
        if self.unpack or self.merge:  # inside the loop and inside remat: one layer is whole at a time
            body = nn.map_variables(body, "params", layer_opened(self.unpack, self.merge))
        if cfg.remat != "none":
            # A loop keeps forward and backward apart; written out, XLA would merge the recomputed with the original.
            body = nn.remat(body, policy=kept(cfg), prevent_cse=not cfg.scan)
        loop: dict[str, Any] = dict(length=cfg.n_layers, unroll=1 if cfg.scan else cfg.n_layers)
        axes: dict[str, Any] = dict(in_axes=(0, nn.broadcast), variable_axes={"params": 0}, split_rngs={"params": True})
        stack = nn.scan(body, **loop, **axes)(cfg, self.edits, self.capture, name="blocks")
        x_BTD, (kv, seen) = stack(x_BTD, (jnp.arange(cfg.n_layers), kv), Shared(slots, rope, key))

        tap = Tap(self.edits, self.capture, cfg.n_layers)
        x_BTD = tap("final", Norm(cfg, name="norm_out")(x_BTD))
        return x_BTD, kv, seen | tap.seen


def kept(cfg: ModelConfig) -> Callable:
    """The policy of `jax.checkpoint` for a layer."""
    on_device = [*KEPT[cfg.remat], *cfg.saved]
    if not cfg.offloaded:
        named = jax.checkpoint_policies.save_only_these_names(*on_device)
        if cfg.remat != "dots":
            return named
        return jax.checkpoint_policies.save_from_both_policies(named, cudnn.is_forward)
    return jax.checkpoint_policies.save_and_offload_only_these_names(
        names_which_can_be_saved=on_device,
        names_which_can_be_offloaded=list(cfg.offloaded),
        offload_src="device",
        offload_dst="pinned_host",
    )


def init(key: PRNGKeyArray, cfg: ModelConfig) -> dict:
    """Fresh parameters, as `table.shapes` has them; the same for every scan, remat, attention and dtype."""
    cfg = dataclasses.replace(cfg, attention="reference")  # any platform can trace it
    tokens_BT, model = jnp.zeros((1, 1), jnp.int32), GPT(cfg, {}, (), None, None)
    variables: Any = model.init(key, tokens_BT, None, Slots(None, None, None), tokens_BT, None)
    return variables["params"]


def init_cache(cfg: ModelConfig, batch: int, length: int) -> dict:
    """An empty cache of `length` slots, for calls of `forward` to fill in turn; segment -1 marks an empty slot."""
    shape = (cfg.n_layers, batch, length, cfg.n_kv_heads, cfg.d_head)
    return {
        "k_LBSKH": jnp.zeros(shape, cfg.dtype),
        "v_LBSKH": jnp.zeros(shape, cfg.dtype),
        "segments_BS": jnp.full((batch, length), -1, jnp.int32),
        "used": jnp.int32(0),
    }


def forward(
    params: dict,
    tokens_BT: Int[Array, "B T"],
    cfg: ModelConfig,
    *,
    segments_BT: Int[Array, "B T"] | None = None,
    positions_BT: Int[Array, "B T"] | None = None,
    key: PRNGKeyArray | None = None,
    cache: dict | None = None,
    edits: Mapping[str, Callable] | None = None,
    capture: tuple[str, ...] = (),
    unpack: Callable[[str, Any], Any] | None = None,
    merge: Callable[[dict], dict] | None = None,
) -> Output:
    """Logits for the token after each position.

    A token attends to itself and to earlier slots of its own segment (default: one segment, 0). Positions default to
    the slots 0, 1, ...; packed documents restart theirs. No `key`, no dropout. A `cache` is filled from its first empty
    slot; the caller keeps within its length. `edits` maps a point to `f(x, layer) -> x`, with `layer` a traced integer:
    close over arrays and index them by it. `capture` names the points to return, after their edits.
    `unpack(name, leaf) -> leaf` sees each parameter just before use, blocks one layer at a time (an FSDP all-gather, a
    dequantisation); after it `merge(tree) -> tree` a layer's together, and those of none (adapters into weights).

    Raises KeyError for an unknown point, BadInput for more slots than learned positions.
    """
    if unknown := sorted({*(edits or {}), *capture} - set(POINTS)):
        raise KeyError(f"the model has no point {unknown}; it has {list(POINTS)}")
    T = tokens_BT.shape[1]
    n_slots = T if cache is None else cache["segments_BS"].shape[1]
    if cfg.position == "learned" and positions_BT is None and n_slots > cfg.context:
        raise BadInput(f"{n_slots} slots, but learned positions end at model.context={cfg.context}")

    slots, kv = Slots(None, segments_BT, segments_BT), None
    if cache is not None:
        new_BT = jnp.zeros_like(tokens_BT) if segments_BT is None else segments_BT
        segments_BS = jax.lax.dynamic_update_slice_in_dim(
            cache["segments_BS"], new_BT.astype(jnp.int32), cache["used"], axis=1
        )
        slots, kv = Slots(cache["used"], new_BT, segments_BS), (cache["k_LBSKH"], cache["v_LBSKH"])
    if positions_BT is None:
        positions_BT = (jnp.arange(T) + (0 if cache is None else cache["used"]))[None]

    params = {"blocks": params["blocks"], **opened(outside(params), unpack, merge)}
    model = GPT(cfg, edits or {}, capture, unpack, merge)
    found: Any = model.apply({"params": params}, tokens_BT, kv, slots, positions_BT, key)
    x_BTD, kv, seen = found
    if cache is not None:
        k_LBSKH, v_LBSKH = kv
        cache = dict(k_LBSKH=k_LBSKH, v_LBSKH=v_LBSKH, segments_BS=slots.segments_BS, used=cache["used"] + T)
    return Output(unembed(params, x_BTD, cfg), cache, seen)


def unembed(params: dict, x_BTD: Float[Array, "B T D"], cfg: ModelConfig) -> Float[Array, "B T V"]:
    """Float32 logits of the "final" activation: head, soft-cap, and -inf for the rows that pad the vocabulary."""
    w_VD = params["w_tok" if cfg.tied else "w_head"]
    return finished(product.widened(x_BTD, w_VD.astype(x_BTD.dtype)), cfg)


def finished(logits: Float[Array, "*rows V"], cfg: ModelConfig) -> Float[Array, "*rows V"]:
    """What the head gives, soft-capped, and -inf for the rows that pad the vocabulary; generation's too."""
    if cfg.logit_softcap:
        logits = cfg.logit_softcap * jnp.tanh(logits / cfg.logit_softcap)  # Gemma Team 2024, section 2
    if cfg.padded_vocab == cfg.vocab_size:
        return logits
    real = (jnp.arange(cfg.padded_vocab) < cfg.vocab_size).reshape((1,) * (logits.ndim - 1) + (-1,))
    return jnp.where(real, logits, -jnp.inf)


def normed_out(params: dict, x_BTD: Float[Array, "B T D"], cfg: ModelConfig) -> Float[Array, "B T D"]:
    """The last norm of any residual stream; of the last layer's it is the "final" activation."""
    return jnp.asarray(Norm(cfg).apply({"params": params["norm_out"]}, x_BTD))


def outside(params: dict) -> dict:
    """The parameters that belong to no layer."""
    return {name: leaf for name, leaf in params.items() if name != "blocks"}


def opened(params: dict, unpack: Callable[[str, Any], Any] | None, merge: Callable[[dict], dict] | None) -> dict:
    """Parameters as the model uses them: each unpacked, then all together merged."""
    params = params if unpack is None else tree.map_named(unpack, params)
    return params if merge is None else merge(params)


def layer_opened(
    unpack: Callable[[str, Any], Any] | None, merge: Callable[[dict], dict] | None
) -> Callable[[Mapping], Any]:
    """`opened` on one layer's parameters, under their names in the whole tree; Linen hands them over below "params"."""
    return lambda variables: {"params": opened({"blocks": dict(variables["params"])}, unpack, merge)["blocks"]}
