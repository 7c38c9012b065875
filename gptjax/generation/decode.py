"""Prefill, then one token at a time through the key/value cache, inside one compiled loop."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Int, PRNGKeyArray

from gptjax.config import BadInput, ModelConfig
from gptjax.generation import sampling
from gptjax.model import gpt

PAD = 1  # segment of the left padding; the text is segment 0


@functools.partial(jax.jit, static_argnames=("cfg", "n_tokens", "temperature", "top_k", "top_p", "everywhere"))
def continued(
    params: dict,
    prompt_BT: Int[Array, "B T"],
    n_pad: Int[Array, ""],
    key: PRNGKeyArray,
    *,
    cfg: ModelConfig,
    n_tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    everywhere: NamedSharding | None,
) -> Int[Array, "B n"]:
    """`n_tokens` continuing each prompt, whose first `n_pad` columns are padding that nothing attends to.

    With parameters on a mesh the result lies `everywhere`, so that each of several processes can read it.
    """
    B, T = prompt_BT.shape
    columns_BT = jnp.broadcast_to(jnp.arange(T)[None], (B, T))
    out = gpt.forward(
        params,
        prompt_BT,
        cfg,
        segments_BT=jnp.where(columns_BT < n_pad, PAD, 0),
        positions_BT=jnp.maximum(columns_BT - n_pad, 0),
        cache=gpt.init_cache(cfg, B, T + n_tokens),
    )

    def choose(number, logits_BV):
        return sampling.pick(jax.random.fold_in(key, number), logits_BV, temperature, top_k, top_p)

    def one(number, carry):
        cache, tokens_BS = carry
        last_B1 = jax.lax.dynamic_slice_in_dim(tokens_BS, number - 1, 1, axis=1)
        positions_B1 = jnp.full((B, 1), T - 1 + number) - n_pad
        step = gpt.forward(params, last_B1, cfg, positions_BT=positions_B1, cache=cache)
        next_B1 = choose(number, step.logits_BTV[:, -1])[:, None]
        return step.cache, jax.lax.dynamic_update_slice_in_dim(tokens_BS, next_B1, number, axis=1)

    tokens_BS = jnp.zeros((B, n_tokens), jnp.int32).at[:, 0].set(choose(0, out.logits_BTV[:, -1]))
    tokens_BS = jax.lax.fori_loop(1, n_tokens, one, (out.cache, tokens_BS))[1]
    return tokens_BS if everywhere is None else jax.lax.with_sharding_constraint(tokens_BS, everywhere)


def generate(
    params: dict,
    prompt: np.ndarray,
    cfg: ModelConfig,
    *,
    n_tokens: int,
    n_samples: int = 1,
    seed: int = 0,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> np.ndarray:
    """(n_samples, n_tokens) token ids continuing the token ids of a prompt, of any length.

    When the context is full, its second half becomes the prompt of the next stretch. Raises BadInput without a prompt.
    """
    if len(prompt) == 0:
        raise BadInput("--prompt: is empty; give at least one character")
    # One layer to compile, and the same numbers; with a cache every kernel hands over to the reference.
    cfg = dataclasses.replace(cfg, scan=True, attention="reference")
    text_BT = np.broadcast_to(np.asarray(prompt, np.int32), (n_samples, len(prompt)))
    length = len(prompt) + n_tokens
    everywhere = on_whole_mesh(params)
    while (missing := length - text_BT.shape[1]) > 0:
        seen_BT = text_BT[:, -max(1, cfg.context // 2) :] if text_BT.shape[1] >= cfg.context else text_BT
        width = bucket(seen_BT.shape[1], cfg.context)
        n_pad = width - seen_BT.shape[1]
        stretch = max(1, min(missing, cfg.context - seen_BT.shape[1]))
        new_BT = continued(
            params,
            np.pad(seen_BT, ((0, 0), (n_pad, 0))),  # from the host: a mesh may span processes
            np.int32(n_pad),
            jax.random.fold_in(jax.random.key(seed), missing),
            cfg=cfg,
            n_tokens=stretch,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            everywhere=everywhere,
        )
        text_BT = np.concatenate([text_BT, np.asarray(new_BT)], axis=1)
    return text_BT[:, len(prompt) :]


def on_whole_mesh(params: dict) -> NamedSharding | None:
    """Copies of a result on all devices of the mesh that the parameters lie on; None where they lie on no mesh."""
    at = jax.tree.leaves(params)[0].sharding
    return NamedSharding(at.mesh, PartitionSpec()) if isinstance(at, NamedSharding) else None


def bucket(length: int, context: int) -> int:
    """The padded prompt length: a power of two, so that few lengths are compiled."""
    return min(context, 1 << (length - 1).bit_length())


def until_end(tokens_T: np.ndarray, end_of_text: int) -> np.ndarray:
    """The tokens before the first end of text."""
    ends = np.flatnonzero(tokens_T == end_of_text)
    return tokens_T[: ends[0]] if len(ends) else tokens_T
