"""From one row of logits to a token: penalties, temperature, top-k, nucleus and min-p sampling.

What a text asks for are numbers that a compiled program is given, so no option compiles anything again; what nobody
asks for is skipped. A row is chosen alone, whatever rows lie beside it.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt

from gptjax.config import BadInput


class Sampling(NamedTuple):
    """How a text chooses its tokens, in the order in which they act; by default each as the model says.

    Of a token that stands in prompt or text, a positive logit is divided by `repetition_penalty` and a negative one
    multiplied (Keskar et al. 2019). From a logit `frequency_penalty` is taken for each time the token was chosen.
    Then the logits are divided by `temperature`, and with 0 the likeliest is taken. `top_k` (0: all) keeps the
    likeliest (Fan et al. 2018), `top_p` the fewest of those left that hold this probability (Holtzman et al. 2020),
    `min_p` those at least so likely, as a part of the likeliest's probability (Nguyen et al. 2024).
    """

    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0


class Asked(NamedTuple):
    """The same as arrays, of one text or of rows."""

    repetition_penalty: Array
    frequency_penalty: Array
    temperature: Array
    top_k: Array
    top_p: Array
    min_p: Array


LIMITS = {  # least and most; whether the least is allowed; what the ends mean
    "repetition_penalty": (0, 100, False, "1 leaves the logits as they are"),
    "frequency_penalty": (-100, 100, True, "0 leaves the logits as they are"),
    "temperature": (0, 100, True, "0 takes the likeliest token"),
    "top_k": (0, 2**31 - 1, True, "0 keeps all tokens"),
    "top_p": (0, 1, False, "1 keeps all tokens"),
    "min_p": (0, 1, True, "0 keeps all tokens"),
}


def check(options: Sampling) -> None:
    """Raises BadInput, which names the flag, for a number that an option cannot be."""
    for name, (least, most, included, meaning) in LIMITS.items():
        value = getattr(options, name)
        if not (least < value <= most or (included and value == least)):
            word = "at least" if included else "above"
            raise BadInput(f"--{name}={value}: must be {word} {least} and at most {most} ({meaning})")


def asked(options: Sampling) -> Asked:
    """As arrays on the host."""
    fields: Any = {name: np.asarray(value, kind(name)) for name, value in options._asdict().items()}
    return Asked(**fields)


def kind(option: str) -> type:
    """The dtype in which a row's `option` is held on the device."""
    return np.int32 if option == "top_k" else np.float32


def choose(
    key: PRNGKeyArray,
    logits_V: Float[Array, " V"],
    options: Asked,
    prompt_V: Bool[Array, " V"],
    counts_V: Int[Array, " V"],
) -> Int[Array, ""]:
    """The next token after a prompt that holds the tokens of `prompt_V`, each chosen `counts_V` times since."""
    asks = (options.repetition_penalty != 1) | (options.frequency_penalty != 0)
    logits_V = jax.lax.cond(asks, penalised, lambda x_V, *_: x_V, logits_V, options, prompt_V, counts_V)
    return jax.lax.cond(options.temperature == 0, likeliest, drawn, key, logits_V, options)


def penalised(logits_V: Array, options: Asked, prompt_V: Array, counts_V: Array) -> Array:
    by = jnp.where(logits_V > 0, 1 / options.repetition_penalty, options.repetition_penalty)
    logits_V = jnp.where(prompt_V | (counts_V > 0), logits_V * by, logits_V)
    return logits_V - options.frequency_penalty * counts_V


def likeliest(key: PRNGKeyArray, logits_V: Array, options: Asked) -> Int[Array, ""]:
    """The first of the largest, found by what a CPU does sixteen at a time: XLA's argmax there goes one by one."""
    largest_V = logits_V == jnp.max(logits_V)
    return jnp.min(jnp.where(largest_V, jnp.arange(logits_V.shape[0]), logits_V.shape[0] - 1)).astype(jnp.int32)


def drawn(key: PRNGKeyArray, logits_V: Array, options: Asked) -> Int[Array, ""]:
    return jax.random.categorical(key, left(logits_V, options)).astype(jnp.int32)


def left(logits_V: Float[Array, " V"], options: Asked) -> Float[Array, " V"]:
    """The logits over the temperature, which is not 0, with -inf for the tokens that options leave out."""
    logits_V = logits_V / options.temperature
    logits_V = jax.lax.cond(options.top_k > 0, top, lambda x_V, _: x_V, logits_V, options.top_k)
    logits_V = jax.lax.cond(options.top_p < 1, nucleus, lambda x_V, _: x_V, logits_V, options.top_p)
    least = jnp.where(options.min_p > 0, jnp.max(logits_V) + jnp.log(options.min_p), -jnp.inf)
    return jnp.where(logits_V < least, -jnp.inf, logits_V)


def top(logits_V: Float[Array, " V"], k: Int[Array, ""] | int) -> Float[Array, " V"]:
    """The k largest logits, and those that equal the least of them."""
    return jnp.where(reached(logits_V, jnp.ones_like(logits_V), jnp.float32(k)), logits_V, -jnp.inf)


def nucleus(logits_V: Float[Array, " V"], p: Float[Array, ""] | float) -> Float[Array, " V"]:
    """The smallest set of likeliest tokens whose probability reaches p."""
    return jnp.where(reached(logits_V, jax.nn.softmax(logits_V), jnp.float32(p)), logits_V, -jnp.inf)


def reached(logits_V: Array, weights_V: Array, target: Array) -> Bool[Array, " V"]:
    """The fewest of the largest logits whose weights sum to the target; all where they never do.

    Instead of a sort, which takes XLA's CPU backend milliseconds, the least logit is found bit by bit.
    """
    order_V = ordered(logits_V)

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends  # `low` reaches the target and what lies above `high` does not
        middle = low + (high - low) // 2 + ((high - low) & 1)
        enough = jnp.sum(jnp.where(order_V >= middle, weights_V, 0)) >= target
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle - 1)

    low, _ = jax.lax.fori_loop(0, 32, halve, (jnp.uint32(0), jnp.uint32(2**32 - 1)))
    return order_V >= low


def ordered(x_V: Float[Array, " V"]) -> UInt[Array, " V"]:
    """Unsigned integers in the order of the numbers."""
    bits_V = jax.lax.bitcast_convert_type(x_V, jnp.uint32)
    return jnp.where(bits_V >> 31, ~bits_V, bits_V | jnp.uint32(1 << 31))


def log_probability(logits_V: Float[Array, " V"], token: Int[Array, ""]) -> Float[Array, ""]:
    """Of a token by the model alone, in nats, before penalties and temperature."""
    return logits_V[token] - jax.nn.logsumexp(logits_V)
