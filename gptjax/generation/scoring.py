"""Log-probabilities of a text that is there already."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gptjax.generation import engine, network
from gptjax.generation.decode import Writer
from gptjax.generation.engine import Likeliest
from gptjax.generation.network import Machine

CHUNK = 16  # positions whose logits are held at once


def score(writer: Writer, tokens: list[int]) -> tuple[np.ndarray, Likeliest]:
    """Of each token but the first, its log-probability after those before it, and what was likeliest in its place."""
    tokens_T = np.zeros(engine.bucket(len(tokens), writer.cfg.context), np.int32)
    tokens_T[: len(tokens)] = tokens
    nats_T, found = scored(writer.packed, tokens_T, np.int32(len(tokens)), machine=writer.machine)
    n = len(tokens) - 1
    return np.asarray(nats_T)[:n], Likeliest(np.asarray(found.tokens)[:n], np.asarray(found.nats)[:n])


@functools.partial(jax.jit, static_argnames="machine")
def scored(
    packed: dict, tokens_T: Int[Array, " T"], length: Int[Array, ""], *, machine: Machine
) -> tuple[Float[Array, " T"], Likeliest]:
    T = tokens_T.shape[0]
    x_TD, _ = network.read(packed, tokens_T, length, network.empty(machine, 1, T), jnp.int32(0), machine)
    chunk = min(CHUNK, T)

    def of_chunk(given: tuple[Array, Array]) -> tuple[Array, Likeliest]:
        x_CD, next_C = given
        logits_CV = network.unembed(packed, x_CD, jnp.ones(chunk, jnp.int32), machine)
        nats_C = jnp.take_along_axis(logits_CV, next_C[:, None], axis=1)[:, 0] - jax.nn.logsumexp(logits_CV, axis=-1)
        return nats_C, engine.likeliest_of(logits_CV)

    n = -(-T // chunk) * chunk
    padded = lambda x: jnp.pad(x, [(0, n - T)] + [(0, 0)] * (x.ndim - 1)).reshape(n // chunk, chunk, *x.shape[1:])
    found = jax.lax.map(of_chunk, (padded(x_TD), padded(jnp.roll(tokens_T, -1))))
    nats_T, likeliest = jax.tree.map(lambda x: x.reshape(n, *x.shape[2:]), found)
    return network.lie((nats_T, likeliest), machine)
