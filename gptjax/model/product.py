"""Activations times weights, with a backward pass that each platform multiplies fast.

The gradient of a weight sums over batch and position. XLA's CPU backend transposes a whole operand in memory before a
product that sums over two axes, which doubles the time of a training step; over one merged axis it multiplies in place.
Elsewhere merging would tear apart positions that a mesh divides, so only the CPU merges (TPU: never run).
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

NAME = "product"  # under which `jax.checkpoint` policies know what `product` returns


def product(x: Array, w: Array, n: int) -> Array:
    """x summed with w over the last n axes of x and the first n of w."""
    return checkpoint_name(multiplied(x, w, n), NAME)


def products(x: Array, weights: Sequence[Array]) -> list[Array]:
    """`product(x, w, 1)` of several weights of one shape; on a CPU as one, so that x is read, and its gradient written,
    once. Elsewhere joining the weights costs more than it saves."""
    if len(weights) == 1:
        return [product(x, weights[0], 1)]

    def joined(x: Array, *weights: Array) -> tuple[Array, ...]:
        y = jnp.asarray(multiplied(x, jnp.stack(weights, axis=1), 1))
        return tuple(jax.lax.index_in_dim(y, n, axis=x.ndim - 1, keepdims=False) for n in range(len(weights)))

    def apart(x: Array, *weights: Array) -> tuple[Array, ...]:
        return tuple(multiplied(x, w, 1) for w in weights)

    return [checkpoint_name(y, NAME) for y in jax.lax.platform_dependent(x, *weights, cpu=joined, default=apart)]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def multiplied(x: Array, w: Array, n: int) -> Array:
    return contract(x, w, tuple(range(x.ndim - n, x.ndim)), tuple(range(n)))


def forward(x: Array, w: Array, n: int) -> tuple[Array, tuple[Array, Array]]:
    return multiplied(x, w, n), (x, w)


def backward(n: int, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, w = saved
    rows = x.ndim - n  # axes that are neither inputs nor outputs of w
    dx = contract(dy, w, tuple(range(rows, dy.ndim)), tuple(range(n, w.ndim)))

    def merged(x: Array, dy: Array) -> Array:
        n_rows, n_in = math.prod(x.shape[:rows]), math.prod(w.shape[:n])
        x, dy = x.reshape(n_rows, n_in), dy.reshape(n_rows, -1)
        dw = x.T @ dy if n_in <= dy.shape[1] else (dy.T @ x).T  # the longer side of the result innermost
        return dw.reshape(w.shape)

    def apart(x: Array, dy: Array) -> Array:
        return contract(x, dy, tuple(range(rows)), tuple(range(rows)))

    return dx, jax.lax.platform_dependent(x, dy, cpu=merged, default=apart)


multiplied.defvjp(forward, backward)


@jax.custom_vjp
def widened(x_BTD: Float[Array, "B T D"], w_VD: Float[Array, "V D"]) -> Float[Array, "B T V"]:
    """x w^T, summed and returned in float32 or wider. Its gradient is rounded to the dtype of x before it is
    multiplied, as every other product's is: float32 products take more than twice as long on a GPU (H100).
    That of w is merged on a CPU; as (V, D), since the longer side innermost is no faster here."""
    wide = jnp.promote_types(x_BTD.dtype, jnp.float32)
    return jnp.einsum("BTD,VD->BTV", x_BTD, w_VD, preferred_element_type=wide)


def pulled(saved: tuple[Array, Array], d_BTV: Array) -> tuple[Array, Array]:
    x_BTD, w_VD = saved
    d_BTV = d_BTV.astype(x_BTD.dtype)

    def merged(x_BTD: Array, d_BTV: Array) -> Array:
        return jnp.einsum("NV,ND->VD", *(y.reshape(-1, y.shape[-1]) for y in (d_BTV, x_BTD)))

    def apart(x_BTD: Array, d_BTV: Array) -> Array:
        return jnp.einsum("BTV,BTD->VD", d_BTV, x_BTD)

    dw_VD = jax.lax.platform_dependent(x_BTD, d_BTV, cpu=merged, default=apart)
    return jnp.einsum("BTV,VD->BTD", d_BTV, w_VD), dw_VD


widened.defvjp(lambda x_BTD, w_VD: (widened(x_BTD, w_VD), (x_BTD, w_VD)), pulled)


def contract(a: Array, b: Array, over_a: tuple[int, ...], over_b: tuple[int, ...]) -> Array:
    return jax.lax.dot_general(a, b, ((over_a, over_b), ((), ())))
