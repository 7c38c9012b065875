"""Texts side by side, one token of each at a time: prefill, then a compiled loop of steps over a static cache.

Every program has the same number of rows, however many texts there are, and a row's numbers come from its own text
alone. So a text is the same in any company, and a row that ends makes room for the next text at once.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, UInt

from gptjax.config import ModelConfig
from gptjax.generation import native, network, sampling
from gptjax.generation.network import Cache, Machine
from gptjax.generation.sampling import Asked, Sampling

ROWS = 8  # texts that go on side by side
MOST_STEPS = 32  # of one call
MOST_LIKELY = 20  # tokens that are told beside a chosen one
NONE = -1  # no token


class State(NamedTuple):
    cache: Cache
    lengths_R: Int[Array, " R"]  # slots filled
    newest_R: Int[Array, " R"]  # the token after them
    left_R: Int[Array, " R"]  # tokens that each row may still choose; 0 where nothing goes on
    chosen_R: Int[Array, " R"]  # tokens of each text so far, which number the keys
    keys_R2: UInt[Array, "R 2"]
    ends_R: Int[Array, " R"]  # the token that ends a text, or NONE
    options: Asked  # over rows
    prompt_RV: Bool[Array, "R V"]  # for the penalties
    counts_RV: Int[Array, "R V"]


class Likeliest(NamedTuple):
    """The tokens that the model by itself holds likeliest, best first, and their log-probabilities."""

    tokens: Array | np.ndarray  # (..., MOST_LIKELY), or as many as the vocabulary has
    nats: Array | np.ndarray


class Made(NamedTuple):
    """What rows chose, in the order of steps; NONE where a row chose nothing."""

    tokens_RM: Int[Array, "R M"]
    nats_RM: Float[Array, "R M"]  # log-probabilities, where they were asked for
    likeliest: Likeliest  # over R and M, where they were asked for


class Text(NamedTuple):
    """A prompt, or a text that a row goes on with."""

    seen: Sequence[int]  # the tokens the model reads, not more than the context
    left: int  # tokens to choose now, at least one
    seed: tuple[int, int]  # the seed, and the number of the sample
    end: int
    options: Sampling
    prompt: Sequence[int]  # all of it, for the penalties
    chosen: Sequence[int]  # the tokens chosen before


class Engine:
    """Rows of one cache length over one model."""

    def __init__(self, packed: dict, machine: Machine, length: int, n_rows: int = ROWS):
        self.packed, self.machine, self.length, self.n_rows = packed, machine, length, n_rows
        self.state = fresh(machine=machine, n_rows=n_rows, length=length)

    def admit(self, row: int, text: Text) -> tuple[int, float, Likeliest]:
        """Puts a text into a row; its first new token, with its log-probability, and what was likeliest there."""
        V = self.machine.cfg.padded_vocab
        tokens_T = np.zeros(bucket(len(text.seen), self.length), np.int32)
        tokens_T[: len(text.seen)] = text.seen
        prompt_V = np.zeros(V, np.bool_)
        prompt_V[list(text.prompt)] = True
        counts_V = np.bincount(np.asarray(text.chosen, np.int64), minlength=V).astype(np.int32)
        self.state, token, nats, likeliest = admitted(
            self.packed,
            self.state,
            np.int32(row),
            tokens_T,
            np.asarray([len(text.seen), text.left, text.end, len(text.chosen)], np.int32),
            np.asarray([number % 2**32 for number in text.seed], np.uint32),
            sampling.asked(text.options),
            prompt_V,
            counts_V,
            machine=self.machine,
        )
        return int(token), float(nats), on_host(likeliest)

    def advance(self, n_steps: int, nats: bool, likeliest: bool = False) -> tuple[np.ndarray, np.ndarray, Likeliest]:
        """(tokens_RM, nats_RM, likeliest) of at most `n_steps` steps, NONE where a row chose none."""
        n = min(n_steps, MOST_STEPS)
        self.state, made = advanced(
            self.packed, self.state, np.int32(n), np.bool_(nats), np.bool_(likeliest), machine=self.machine
        )
        return np.asarray(made.tokens_RM)[:, :n], np.asarray(made.nats_RM)[:, :n], on_host(made.likeliest)

    def release(self, row: int) -> None:
        """Ends the text of a row."""
        self.state = released(self.state, np.int32(row))


def on(packed: dict, cfg: ModelConfig) -> Machine:
    """The machine that the weights lie on. The kernel multiplies on one CPU; on a mesh, and elsewhere, XLA does."""
    at = packed["matrices"]["w_tok"].w_LOI.sharding
    if isinstance(at, NamedSharding) and at.mesh.size > 1:
        return Machine(cfg, False, NamedSharding(at.mesh, PartitionSpec()))
    return Machine(cfg, next(iter(at.device_set)).platform == "cpu" and native.registered(), None)


def bucket(length: int, most: int, least: int = 16) -> int:
    """A length that few programs are compiled for: a power of two, up to `most`."""
    return min(most, max(least, 1 << (length - 1).bit_length()))


@functools.partial(jax.jit, static_argnames=("machine", "n_rows", "length"))
def fresh(*, machine: Machine, n_rows: int, length: int) -> State:
    """No text in any row."""
    R, V = n_rows, machine.cfg.padded_vocab
    of = lambda dtype: jnp.zeros(R, dtype)
    state = State(
        cache=network.empty(machine, R, length),
        lengths_R=of(jnp.int32),
        newest_R=of(jnp.int32),
        left_R=of(jnp.int32),
        chosen_R=of(jnp.int32),
        keys_R2=jnp.zeros((R, 2), jnp.uint32),
        ends_R=of(jnp.int32),
        options=Asked(*(of(sampling.kind(name)) for name in Asked._fields)),
        prompt_RV=jnp.zeros((R, V), jnp.bool_),
        counts_RV=jnp.zeros((R, V), jnp.int32),
    )
    return network.lie(state, machine)


@functools.partial(jax.jit, static_argnames="machine", donate_argnames="state")
def admitted(
    packed: dict,
    state: State,
    row: Int[Array, ""],
    tokens_T: Int[Array, " T"],
    numbers_4: Int[Array, "4"],
    seed_2: UInt[Array, "2"],
    options: Asked,
    prompt_V: Bool[Array, " V"],
    counts_V: Int[Array, " V"],
    *,
    machine: Machine,
) -> tuple[State, Int[Array, ""], Float[Array, ""], Likeliest]:
    """The state with a text in a row, its first token, that token's log-probability and what was likeliest there.

    `numbers_4` are the text's tokens, those it may choose, the one that ends it and how many it chose before;
    `seed_2` are its seed and the number of its sample.
    """
    n, left, end, chosen = numbers_4
    logits_V, cache = network.prefill(packed, tokens_T, n, state.cache, row, machine)
    logits_V = network.lie(logits_V, machine)
    key_2 = jax.random.key_data(jax.random.fold_in(jax.random.key(seed_2[0]), seed_2[1]))
    token = sampling.choose(number_key(key_2, chosen), logits_V, options, prompt_V, counts_V)
    nats = sampling.log_probability(logits_V, token)
    put = lambda old, new: old.at[row].set(new)
    state = State(
        cache=cache,
        lengths_R=put(state.lengths_R, n),
        newest_R=put(state.newest_R, token),
        left_R=put(state.left_R, jnp.where(token == end, 0, left - 1)),
        chosen_R=put(state.chosen_R, chosen + 1),
        keys_R2=put(state.keys_R2, key_2),
        ends_R=put(state.ends_R, end),
        options=jax.tree.map(put, state.options, options),
        prompt_RV=put(state.prompt_RV, prompt_V),
        counts_RV=put(state.counts_RV, counts_V.at[token].add(1)),
    )
    found = Likeliest(*(x_1K[0] for x_1K in likeliest_of(logits_V[None])))
    return network.lie((state, token, nats, found), machine)


def number_key(key_2: Array, number: Array) -> Array:
    """The key of a text's choice of this number."""
    return jax.random.fold_in(jax.random.wrap_key_data(key_2), number)


@functools.partial(jax.jit, static_argnames="machine", donate_argnames="state")
def advanced(
    packed: dict,
    state: State,
    n_steps: Int[Array, ""],
    wants_nats: Bool[Array, ""],
    wants_likeliest: Bool[Array, ""],
    *,
    machine: Machine,
) -> tuple[State, Made]:
    """The state after `n_steps` more tokens of each row that goes on, and those tokens."""
    R, K = state.lengths_R.shape[0], min(MOST_LIKELY, state.counts_RV.shape[1])
    found = Likeliest(jnp.zeros((R, MOST_STEPS, K), jnp.int32), jnp.zeros((R, MOST_STEPS, K), jnp.float32))
    made = Made(jnp.full((R, MOST_STEPS), NONE, jnp.int32), jnp.zeros((R, MOST_STEPS), jnp.float32), found)

    def goes_on(carry):
        number, state, _ = carry
        return (number < n_steps) & jnp.any(state.left_R > 0)

    def one(carry):
        number, state, made = carry
        active_R = state.left_R > 0
        logits_RV, cache = network.step(
            packed, state.newest_R, state.lengths_R, active_R.astype(jnp.int32), state.cache, machine
        )
        logits_RV = network.lie(logits_RV, machine)
        tokens_R, nats_R = chosen_by_rows(state, logits_RV, active_R, wants_nats)
        more_R = active_R.astype(jnp.int32)
        state = state._replace(
            cache=cache,
            lengths_R=state.lengths_R + more_R,
            newest_R=jnp.where(active_R, tokens_R, state.newest_R),
            left_R=jnp.where(active_R & (tokens_R != state.ends_R), state.left_R - 1, 0),
            chosen_R=state.chosen_R + more_R,
            counts_RV=state.counts_RV.at[jnp.arange(R), tokens_R].add(more_R),
        )
        put = lambda all_RM, new_R: jax.lax.dynamic_update_slice_in_dim(all_RM, new_R[:, None], number, axis=1)
        none = lambda _: Likeliest(jnp.zeros((R, K), jnp.int32), jnp.zeros((R, K), jnp.float32))
        found = jax.lax.cond(wants_likeliest, likeliest_of, none, logits_RV)
        made = Made(
            put(made.tokens_RM, jnp.where(active_R, tokens_R, NONE)),
            put(made.nats_RM, nats_R),
            jax.tree.map(put, made.likeliest, found),
        )
        return number + 1, state, made

    _, state, made = jax.lax.while_loop(goes_on, one, (jnp.int32(0), state, made))
    return network.lie((state, made), machine)


def likeliest_of(logits_RV: Float[Array, "R V"]) -> Likeliest:
    """The MOST_LIKELY tokens of each row (all of a smaller vocabulary), best first, with log-probabilities in nats."""
    logits_RK, tokens_RK = jax.lax.top_k(logits_RV, min(MOST_LIKELY, logits_RV.shape[1]))
    return Likeliest(tokens_RK, logits_RK - jax.nn.logsumexp(logits_RV, axis=-1, keepdims=True))


def on_host(found: Likeliest) -> Likeliest:
    return jax.tree.map(np.asarray, found)


def chosen_by_rows(state: State, logits_RV: Array, active_R: Array, wants_nats: Array) -> tuple[Array, Array]:
    """A token and its log-probability of each active row, one row after the other: those that rest cost nothing."""
    R = logits_RV.shape[0]

    def choose(row: Array) -> tuple[Array, Array]:
        options = Asked(*(x_R[row] for x_R in state.options))
        key = number_key(state.keys_R2[row], state.chosen_R[row])
        token = sampling.choose(key, logits_RV[row], options, state.prompt_RV[row], state.counts_RV[row])
        nats = jax.lax.cond(wants_nats, sampling.log_probability, lambda *_: jnp.float32(0), logits_RV[row], token)
        return token, nats

    def one(row: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        token, nats = jax.lax.cond(active_R[row], choose, lambda _: (jnp.int32(0), jnp.float32(0)), row)
        return carry[0].at[row].set(token), carry[1].at[row].set(nats)

    return jax.lax.fori_loop(0, R, one, (jnp.zeros(R, jnp.int32), jnp.zeros(R, jnp.float32)))


@functools.partial(jax.jit, donate_argnames="state")
def released(state: State, row: Array) -> State:
    return state._replace(left_R=state.left_R.at[row].set(0))
