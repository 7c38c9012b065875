"""Beam search: the likeliest texts, of those that grow from the likeliest beginnings (Graves 2012)."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gptjax.config import BadInput
from gptjax.generation import engine, network
from gptjax.generation.decode import Writer
from gptjax.generation.network import Cache, Machine

MOST = 64  # texts side by side


class Beam(NamedTuple):
    tokens: tuple[int, ...]
    nats: tuple[float, ...]  # each token's log-probability
    score: float  # their sum over the number of tokens to the power of the length penalty


class Grown(NamedTuple):
    """The likeliest texts of one token more, best first."""

    parents: Array  # the row that each grew from
    tokens: Array
    nats: Array  # of that token
    totals: Array  # of the text


def search(
    writer: Writer, prompt: list[int], *, n_tokens: int, width: int, length_penalty: float = 1.0, end: int = engine.NONE
) -> list[Beam]:
    """The `width` best texts of at most `n_tokens` that the search meets, best first; `end` is the last token of some.

    It goes on until no text under way can become better than those that ended. Raises BadInput where prompt and text
    do not fit the context.
    """
    check(len(prompt), n_tokens, width, writer.cfg.context)
    n_rows = -(-width // engine.ROWS) * engine.ROWS
    cache = started(machine=writer.machine, n_rows=n_rows, length=writer.length(len(prompt) + n_tokens))
    tokens_T = np.zeros(engine.bucket(len(prompt), cache.keys_LRKSH.shape[3]), np.int32)
    tokens_T[: len(prompt)] = prompt
    cache, found = begun(writer.packed, cache, tokens_T, np.int32(len(prompt)), machine=writer.machine, n=2 * width)

    under_way, ended = [Beam((), (), 0.0)] * width, []
    for number in range(1, n_tokens + 1):
        parents, totals, grown = [], [], []
        for parent, token, nats, total in zip(*jax.device_get(found), strict=True):
            if total == -np.inf:  # fewer texts than the search is wide
                break
            before = under_way[parent]
            text = Beam(
                (*before.tokens, int(token)), (*before.nats, float(nats)), float(total) / number**length_penalty
            )
            if token == end or number == n_tokens:
                ended.append(text)
            elif len(grown) < width:
                grown.append(text)
                parents.append(int(parent))
                totals.append(float(total))
        ended = sorted(ended, key=lambda text: -text.score)[:width]
        under_way = grown
        if not grown or (len(ended) == width and hope(totals[0], number, n_tokens, length_penalty) <= ended[-1].score):
            break
        rows = lambda values, dtype: np.asarray(values + [0] * (n_rows - len(values)), dtype)
        cache, found = grown_by_one(
            writer.packed,
            cache,
            rows(parents, np.int32),
            rows([text.tokens[-1] for text in grown], np.int32),
            rows(totals, np.float32),
            rows([1] * len(grown), np.int32),
            np.int32(len(prompt) + number - 1),
            machine=writer.machine,
            n=2 * width,
        )
    return ended


def check(n_prompt: int, n_tokens: int, width: int, context: int) -> None:
    if not 1 <= width <= MOST:
        raise BadInput(f"--beams={width}: must be at least 1 and at most {MOST}")
    if n_prompt == 0:
        raise BadInput("--prompt: is empty; give at least one character")
    if n_prompt + n_tokens > context:
        hint = f"try --max_tokens={context - n_prompt}" if n_prompt < context else "try a shorter prompt"
        raise BadInput(
            f"--beams: the prompt's {n_prompt} tokens and --max_tokens={n_tokens} do not fit model.context={context}; "
            f"{hint}"
        )


def hope(total: float, number: int, most: int, length_penalty: float) -> float:
    """The best score that a text of `number` tokens can still reach: its next tokens may all be certain."""
    return total / max((number + 1) ** length_penalty, most**length_penalty)


@functools.partial(jax.jit, static_argnames=("machine", "n_rows", "length"))
def started(*, machine: Machine, n_rows: int, length: int) -> Cache:
    return network.lie(network.empty(machine, n_rows, length), machine)


@functools.partial(jax.jit, static_argnames=("machine", "n"), donate_argnames="cache")
def begun(
    packed: dict, cache: Cache, tokens_T: Int[Array, " T"], length: Int[Array, ""], *, machine: Machine, n: int
) -> tuple[Cache, Grown]:
    """The prompt in every row, and its likeliest next tokens."""
    logits_V, cache = network.prefill(packed, tokens_T, length, cache, jnp.int32(0), machine)
    cache = Cache(*(jnp.broadcast_to(x[:, :1], x.shape) for x in cache))
    return network.lie((cache, likeliest(logits_V[None], jnp.zeros(1), jnp.ones(1, jnp.int32), n)), machine)


@functools.partial(jax.jit, static_argnames=("machine", "n"), donate_argnames="cache")
def grown_by_one(
    packed: dict,
    cache: Cache,
    parents_R: Int[Array, " R"],
    tokens_R: Int[Array, " R"],
    totals_R: Float[Array, " R"],
    active_R: Int[Array, " R"],
    length: Int[Array, ""],
    *,
    machine: Machine,
    n: int,
) -> tuple[Cache, Grown]:
    """Each row after its parent and one token more, and the likeliest tokens after that over all rows."""
    cache = network.lie(Cache(*(x[:, parents_R] for x in cache)), machine)
    lengths_R = jnp.full_like(parents_R, length)
    logits_RV, cache = network.step(packed, tokens_R, lengths_R, active_R, cache, machine)
    return network.lie((cache, likeliest(logits_RV, totals_R, active_R, n)), machine)


def likeliest(logits_RV: Float[Array, "R V"], totals_R: Array, active_R: Array, n: int) -> Grown:
    nats_RV = jax.nn.log_softmax(logits_RV, axis=-1)
    sums_RV = jnp.where(active_R[:, None] > 0, totals_R[:, None] + nats_RV, -jnp.inf)
    totals_n, places_n = jax.lax.top_k(sums_RV.reshape(-1), min(n, sums_RV.size))
    parents_n, tokens_n = places_n // logits_RV.shape[1], places_n % logits_RV.shape[1]
    return Grown(parents_n, tokens_n, nats_RV[parents_n, tokens_n], totals_n)
