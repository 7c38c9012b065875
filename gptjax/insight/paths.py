"""Path patching (Wang et al. 2022, section 3 and appendix B): what one head tells another head, an MLP or the logits.

Three runs for each sender: the `source` run gives what the sender writes there; the `base` run with that put in, while
every other head stays as in the base run, gives what the receiver reads; the base run with only that put in gives the
answer. MLPs on the way are computed anew (`through_mlps`, as in the paper) or stay as in the base run. All senders are
one compiled program; layer and head of a receiver are data. A sender that is no earlier than its receiver moves
nothing.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from gptjax.config import BadInput, ModelConfig
from gptjax.insight import patching
from gptjax.insight.ablation import Edits
from gptjax.insight.contrast import Contrast
from gptjax.insight.patching import Patched

INPUTS = ("queries", "keys", "values")
FROZEN = ("mixed_heads", "mlp_out")


def to_head(
    params: dict,
    base_BT: Int[Array, "B T"],
    source_BT: Int[Array, "B T"],
    asked: Contrast,
    layer: int,
    head: int,
    cfg: ModelConfig,
    *,
    inputs: tuple[str, ...] = INPUTS,
    through_mlps: bool = True,
    chunk: int = 8,
) -> Patched:
    """From every head (values of L N B) to a head's queries, keys or values, or several of them; of a group that shares
    keys, that head alone is told. Raises BadInput."""
    check(layer, cfg, base_BT, source_BT, asked)
    if not 0 <= head < cfg.n_heads:
        raise BadInput(f"the model has no head {head}; a layer has heads 0 to {cfg.n_heads - 1}")
    if not inputs or (unknown := sorted(set(inputs) - set(INPUTS))):
        raise BadInput(f"inputs={inputs}: a head reads {', '.join(INPUTS)}" + (f", not {unknown}" if inputs else ""))
    place = jnp.int32(layer), jnp.int32(head)
    options = dict(cfg=cfg, inputs=inputs, through_mlps=through_mlps, chunk=chunk)
    return into_head(params, base_BT, source_BT, asked, *place, **options)


def to_mlp(
    params: dict,
    base_BT: Int[Array, "B T"],
    source_BT: Int[Array, "B T"],
    asked: Contrast,
    layer: int,
    cfg: ModelConfig,
    *,
    through_mlps: bool = True,
    chunk: int = 8,
) -> Patched:
    """From every head to the MLP of a layer, of which the head of the same layer is earlier. Raises BadInput."""
    check(layer, cfg, base_BT, source_BT, asked)
    options = dict(cfg=cfg, through_mlps=through_mlps, chunk=chunk)
    return into_mlp(params, base_BT, source_BT, asked, jnp.int32(layer), **options)


def to_logits(
    params: dict,
    base_BT: Int[Array, "B T"],
    source_BT: Int[Array, "B T"],
    asked: Contrast,
    cfg: ModelConfig,
    *,
    through_mlps: bool = True,
    chunk: int = 8,
) -> Patched:
    """From every head to the logits, through no other head. Raises BadInput."""
    patching.check(base_BT, source_BT, asked)
    return into_logits(params, base_BT, source_BT, asked, cfg=cfg, through_mlps=through_mlps, chunk=chunk)


class Runs(NamedTuple):
    """The two whole runs, and the question."""

    params: dict
    base_BT: Array
    asked: Contrast
    cfg: ModelConfig
    base_B: Array
    source_B: Array
    base: dict[str, Array]
    source: dict[str, Array]


def both(params: dict, base_BT: Array, source_BT: Array, asked: Contrast, cfg: ModelConfig) -> Runs:
    base_B, base = patching.run(params, base_BT, asked, cfg, capture=FROZEN)
    source_B, source = patching.run(params, source_BT, asked, cfg, capture=FROZEN)
    return Runs(params, base_BT, asked, cfg, base_B, source_B, base, source)


def from_each(runs: Runs, through_mlps: bool, chunk: int, answer: Callable[[Edits], Array]) -> Patched:
    """What `answer` makes, for each sender, of the edits that tell its news and keep all other heads as they were."""
    N = runs.cfg.n_heads

    def one(sender: Array) -> Array:
        def heads(x_BTNH: Array, layer: Array) -> Array:
            speaks_N = (jnp.arange(N) == sender % N) & (layer == sender // N)
            base_BTNH, source_BTNH = (seen["mixed_heads"][layer] for seen in (runs.base, runs.source))
            return jnp.where(speaks_N[None, None, :, None], source_BTNH, base_BTNH)

        edits: Edits = {"mixed_heads": heads}
        if not through_mlps:
            edits["mlp_out"] = lambda x_BTD, layer: runs.base["mlp_out"][layer]
        return answer(edits)

    values = patching.over(one, runs.cfg.n_layers * N, chunk)
    return Patched(values.reshape(runs.cfg.n_layers, N, -1), runs.base_B, runs.source_B)


@functools.partial(jax.jit, static_argnames=("cfg", "inputs", "through_mlps", "chunk"))
def into_head(
    params: dict,
    base_BT: Array,
    source_BT: Array,
    asked: Contrast,
    at_layer: Array,
    at_head: Array,
    *,
    cfg: ModelConfig,
    inputs: tuple[str, ...],
    through_mlps: bool,
    chunk: int,
) -> Patched:
    runs = both(params, base_BT, source_BT, asked, cfg)
    n_heads = {"queries": cfg.n_heads, "keys": cfg.n_kv_heads, "values": cfg.n_kv_heads}

    def answer(news: Edits) -> Array:
        heard = patching.run(params, base_BT, asked, cfg, edits=news, capture=inputs)[1]

        def told(point: str) -> Callable[[Array, Array], Array]:
            n = n_heads[point]
            mine_n = jnp.arange(n) == at_head // (cfg.n_heads // n)

            def tell(x_BTnH: Array, layer: Array) -> Array:
                return jnp.where((mine_n & (layer == at_layer))[None, None, :, None], heard[point][layer], x_BTnH)

            return tell

        def alone(x_BTNH: Array, layer: Array) -> Array:
            others_N = (jnp.arange(cfg.n_heads) != at_head) & (layer == at_layer)
            return jnp.where(others_N[None, None, :, None], runs.base["mixed_heads"][layer], x_BTNH)

        edits = {point: told(point) for point in inputs} | {"mixed_heads": alone}
        return patching.run(params, base_BT, asked, cfg, edits=edits)[0]

    return from_each(runs, through_mlps, chunk, answer)


@functools.partial(jax.jit, static_argnames=("cfg", "through_mlps", "chunk"))
def into_mlp(
    params: dict,
    base_BT: Array,
    source_BT: Array,
    asked: Contrast,
    at_layer: Array,
    *,
    cfg: ModelConfig,
    through_mlps: bool,
    chunk: int,
) -> Patched:
    runs = both(params, base_BT, source_BT, asked, cfg)

    def answer(news: Edits) -> Array:
        if "mlp_out" in news:  # all are kept as they were, and the receiver's must be computed
            kept = news["mlp_out"]
            news = news | {"mlp_out": lambda x_BTD, layer: jnp.where(layer == at_layer, x_BTD, kept(x_BTD, layer))}
        heard = patching.run(params, base_BT, asked, cfg, edits=news, capture=("mlp_out",))[1]["mlp_out"]
        says = lambda x_BTD, layer: jnp.where(layer == at_layer, heard[layer], x_BTD)
        return patching.run(params, base_BT, asked, cfg, edits={"mlp_out": says})[0]

    return from_each(runs, through_mlps, chunk, answer)


@functools.partial(jax.jit, static_argnames=("cfg", "through_mlps", "chunk"))
def into_logits(
    params: dict,
    base_BT: Array,
    source_BT: Array,
    asked: Contrast,
    *,
    cfg: ModelConfig,
    through_mlps: bool,
    chunk: int,
) -> Patched:
    runs = both(params, base_BT, source_BT, asked, cfg)
    answer = lambda news: patching.run(params, base_BT, asked, cfg, edits=news)[0]
    return from_each(runs, through_mlps, chunk, answer)


def check(layer: int, cfg: ModelConfig, base_BT: Array, source_BT: Array, asked: Contrast) -> None:
    """Raises BadInput."""
    patching.check(base_BT, source_BT, asked)
    if not 0 <= layer < cfg.n_layers:
        raise BadInput(f"the model has no layer {layer}; it has layers 0 to {cfg.n_layers - 1}")
