"""From logits to a token: temperature, top-k and nucleus sampling."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray


def pick(
    key: PRNGKeyArray, logits_BV: Float[Array, "B V"], temperature: float, top_k: int, top_p: float
) -> Int[Array, " B"]:
    """One token a row. Temperature 0 takes the likeliest; `top_k` 0 and `top_p` 1 leave all tokens in play."""
    if temperature == 0:
        return jnp.argmax(logits_BV, axis=-1).astype(jnp.int32)
    kept_BV = nucleus(top(logits_BV, top_k) / temperature, top_p)
    return jax.random.categorical(key, kept_BV, axis=-1).astype(jnp.int32)


def top(logits_BV: Float[Array, "B V"], k: int) -> Float[Array, "B V"]:
    """Logits below the k-th largest of their row become -inf (Fan et al. 2018)."""
    if k == 0 or k >= logits_BV.shape[-1]:
        return logits_BV
    least_B1 = jax.lax.top_k(logits_BV, k)[0][:, -1:]
    return jnp.where(logits_BV < least_B1, -jnp.inf, logits_BV)


def nucleus(logits_BV: Float[Array, "B V"], p: float) -> Float[Array, "B V"]:
    """Keeps the smallest set of likeliest tokens whose probability reaches p (Holtzman et al. 2020)."""
    if p >= 1:
        return logits_BV
    sorted_BV = jnp.sort(logits_BV, axis=-1, descending=True)
    probs_BV = jax.nn.softmax(sorted_BV, axis=-1)
    before_BV = jnp.cumsum(probs_BV, axis=-1) - probs_BV
    least_B1 = jnp.min(jnp.where(before_BV < p, sorted_BV, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits_BV < least_B1, -jnp.inf, logits_BV)
