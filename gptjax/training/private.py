"""Differentially private gradients (DP-SGD, Abadi et al. 2016): of each example clipped, summed, and noise on the sum.

An example is a row of the batch and its loss the mean over its weighted targets. With g_i its gradient by all that is
trained, a step of a batch of b expected examples is made of

    (sum over i of g_i min(1, C / |g_i|)  +  noise_multiplier C z) / b        z standard normal, drawn once

b is a constant: to divide by the number that came would tell it. "vmap" holds the gradients of all examples of a part
at once. "ghost" takes two passes: the first sees each parameter's gradient of each example, a layer at a time, adds its
square up and forgets it, and the second is the plain step's, of the losses times their factors (as Li et al. 2022 and
Bu et al. 2023 do, who get these norms from Gram matrices; for rows of some hundred tokens those are as large).
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt32

from gptjax import tree
from gptjax.config import BadInput, Config
from gptjax.data.batches import Batch
from gptjax.model import lora
from gptjax.model.adapters import BLOCKS
from gptjax.training import factors, loss, tuning
from gptjax.training.loss import in_parts

Unpack = Callable[[str, Any], Any] | None


def check(params: Any, cfg: Config) -> None:
    """Raises BadInput for what "ghost" cannot count. `params` may be shapes."""
    found = factors.of_names(tree.named(params), cfg)
    partly = [name for name, of in found.items() if any(of) and not all(of)]
    if cfg.privacy.on and cfg.privacy.method == "ghost" and partly:
        raise BadInput(
            f"tune.rates: freezes only some layers of {partly[0]}, whose gradients privacy.method='ghost' counts "
            "together; try privacy.method='vmap'"
        )


def noised(grads: dict, noise_key: UInt32[Array, "2"], step: Array, cfg: Config) -> dict:
    """Sums of clipped gradients plus noise, the same on every mesh. The key is secret: who knows it can take the noise
    away again."""
    scale = cfg.privacy.noise_multiplier * cfg.privacy.clip_norm
    key = jax.random.fold_in(jax.random.wrap_key_data(noise_key, impl="threefry2x32"), step)
    numbers = {name: number for number, name in enumerate(tree.named(grads))}

    def leaf(name: str, total: Array) -> Array:
        z = jax.random.normal(jax.random.fold_in(key, numbers[name]), total.shape, jnp.float32)
        return total + (scale * z).astype(total.dtype)

    return tree.map_named(leaf, grads)


def factor(norm: Float[Array, "..."], clip_norm: float) -> Float[Array, "..."]:
    """What gradients of these norms are multiplied by; 0 where the norm is not finite, for its entries may be anything.
    The last bits are rounded down, so that no clipped norm comes out above clip_norm."""
    shorter = jnp.where(norm > clip_norm, clip_norm * (1 - 2**-20) / jnp.where(norm > clip_norm, norm, 1), 1.0)
    return jnp.where(jnp.isfinite(norm), shorter, 0.0)


def clipped(grads: dict, clip_norm: float) -> tuple[dict, Float[Array, ""]]:
    """A tree of gradients, its norm at most clip_norm, in float32 or wider, and the factor that made it so."""
    by = factor(tree.norm(grads), clip_norm)
    wide = jax.tree.map(loss.wide, grads)
    return jax.tree.map(lambda g: jnp.where(by > 0, by.astype(g.dtype) * g, 0), wide), by


def of_example(params: dict, row: Batch, cfg: Config, unpack: Unpack) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The loss of one row, without its batch axis, and its summed nats. An empty row's are 0."""
    part = jax.tree.map(lambda x_T: x_T[None], row)
    total, found = loss.summed(params, part, cfg.model, cfg.loss, None, unpack, lora.merging(cfg.lora))
    return total / n_targets(row.weights_BT), found["nll"]


def n_targets(weights_BT: Float[Any, "... T"]) -> Float[Array, "..."]:
    return jnp.maximum(jnp.sum(weights_BT, axis=-1), 1e-9)  # of an empty row, whose loss is 0


def finite_sum(nll_B: Float[Array, " B"]) -> Float[Array, ""]:
    return jnp.sum(jnp.where(jnp.isfinite(nll_B), nll_B, 0))


def clipped_sums(params: dict, batch: Batch, cfg: Config, unpack: Unpack) -> tuple[dict, dict]:
    """{"nll": nats} and the sum of clipped gradients, of all examples of a part of the batch at once.

    Parameters that lie in parts are whole from the start, all of them: a gradient that is cut has no norm.
    """
    trained, frozen = tuning.split(params, cfg)
    rates = tuning.Rates(params, cfg)
    opened = functools.partial(whole, unpack=unpack)
    used, back = jax.vjp(opened, trained)
    others = opened(frozen)

    def one(row: Batch) -> tuple[dict, Array]:
        total = lambda used: of_example(tree.joined(used, others), row, cfg, None)
        (_, nll), grads = jax.value_and_grad(total, has_aux=True)(used)
        return clipped(rates.without_frozen(grads), cfg.privacy.clip_norm)[0], nll

    def add(sums: tuple[dict, Array], part: Batch) -> tuple[tuple[dict, Array], None]:
        grads, nll_B = jax.vmap(one)(part)
        found = jax.tree.map(lambda g: jnp.sum(g, axis=0), grads), finite_sum(nll_B)
        return jax.tree.map(jnp.add, sums, found), None

    zeros = jax.tree.map(lambda p: jnp.zeros(p.shape, jnp.promote_types(p.dtype, jnp.float32)), used)
    (grads, nll), _ = jax.lax.scan(add, (zeros, jnp.zeros(())), in_parts(batch, cfg.accumulate))
    (grads,) = back(jax.tree.map(lambda g, w: g.astype(w.dtype), grads, used))
    return {"nll": nll}, grads


def whole(params: dict, unpack: Unpack) -> dict:
    """`unpack` on all parameters at once, layers together."""
    if unpack is None:
        return params

    def leaf(name: str, x: Array) -> Array:
        opened = functools.partial(unpack, name)
        return jax.vmap(opened)(x) if name.startswith(BLOCKS) else opened(x)

    return tree.map_named(leaf, params)


def reweighted(params: dict, batch: Batch, cfg: Config, unpack: Unpack) -> tuple[Batch, Float[Array, ""]]:
    """The batch with weights of which the plain step makes the sum of clipped gradients, and its nats as they were.

    A row whose gradient is not finite becomes an empty one, of token 0: times 0 it would still not be finite.
    """
    norms = functools.partial(norms_of_rows, jax.lax.stop_gradient(params), cfg=cfg, unpack=unpack)
    if cfg.accumulate == 1:
        norm_B, nll_B = norms(batch)
    else:
        of_parts = jax.lax.map(norms, in_parts(batch, cfg.accumulate))
        norm_B, nll_B = (x_nb.swapaxes(0, 1).reshape(-1) for x_nb in of_parts)
    by_B = factor(norm_B, cfg.privacy.clip_norm)
    inputs_BT = jnp.where(by_B[:, None] > 0, batch.inputs_BT, 0)
    weights_BT = batch.weights_BT * (by_B / n_targets(batch.weights_BT))[:, None]
    return batch._replace(inputs_BT=inputs_BT, weights_BT=weights_BT), finite_sum(nll_B)


def norms_of_rows(params: dict, part: Batch, *, cfg: Config, unpack: Unpack) -> tuple[Array, Array]:
    """The norm of each row's gradient, and its nats; no gradient outlives the layer that it is of."""
    trained, _ = tuning.split(params, cfg)
    is_trained = tree.named(trained).keys()

    def one(row: Batch) -> tuple[Array, Array]:
        def total(squares: Array) -> tuple[Array, Array]:
            def opened(name: str, leaf: Array) -> Array:
                leaf = leaf if unpack is None else unpack(name, leaf)
                return counted(leaf, squares) if name in is_trained else leaf

            # Those of no layer may be used twice, and the sum of both gradients counts: they are opened here, once.
            outside = {name: leaf for name, leaf in tree.named(params).items() if not name.startswith(BLOCKS)}
            ready = tree.nested({name: opened(name, leaf) for name, leaf in outside.items()})
            in_layer = lambda name, leaf: opened(name, leaf) if name.startswith(BLOCKS) else leaf
            return of_example({**ready, "blocks": params["blocks"]}, row, cfg, in_layer)

        squares, nll = jax.grad(total, has_aux=True)(jnp.zeros(()))
        return jnp.sqrt(squares), nll

    return jax.vmap(one)(part)


@jax.custom_vjp
def counted(leaf: Array, squares: Float[Array, ""]) -> Array:
    """The leaf, whose own gradient is 0: the gradient by `squares` is the sum of the squares of it instead."""
    return leaf


def counted_forward(leaf: Array, squares: Array) -> tuple[Array, tuple[Array, Array]]:
    return leaf, (leaf, squares)


def counted_backward(saved: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    leaf, squares = saved
    return jnp.zeros_like(leaf), jnp.sum(jnp.square(loss.wide(grad))).astype(squares.dtype)


counted.defvjp(counted_forward, counted_backward)
