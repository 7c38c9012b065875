"""Fully sharded data parallelism, written out: what is gathered, what is summed, and along which side of the torus.

Each device holds a part of every weight (along `data`), gathers a layer in the compute type just before it is used and
scatters the sum of its gradient just after (Rajbhandari et al. 2020, ZeRO stage 3). Left to itself XLA's TPU compiler
sums whole gradients on every chip, at twice the bytes; it scatters a sum that runs along one side of the torus, so the
sum goes side by side. Gradients of what is not cut (norms, biases), and those of replicas, are summed once a step.

`replica` and `data` are manual here; `tensor` and `sequence` stay XLA's.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array

from gptjax import mesh, tree
from gptjax.data.batches import Batch
from gptjax.training import sharding

P = PartitionSpec
Gradients = Callable[[dict, Batch, Callable[[str, Any], Any]], tuple[Any, dict]]


def over_rows(
    gradients: Gradients, params: dict, trained: Sequence[str], batch: Batch, on: Mesh, dtype: str, n_parts: int
) -> tuple[Any, dict]:
    """`gradients(params, batch, unpack)`, which are sums over a batch's rows in `n_parts` parts and by the parameters
    named as `trained`, each device with its own rows and parts of the parameters; returns the sums over all rows, in
    the parts in which the parameters lie.

    Gradients are summed over `data` in the compute type. Of one part they stay narrow until the end, as the parameters
    are narrowed at the start; several parts are added in float32, so each layer is narrowed for itself.
    """
    rows = tuple(axis for name in mesh.ROWS for axis in mesh.parts(on, name))
    cut = {name: sharding.spec(name, leaf.shape, on) for name, leaf in tree.named(params).items()}
    dtypes = {name: leaf.dtype for name, leaf in tree.named(params).items()}
    specs = tree.map_named(lambda name, _: manual(cut[name], on), params)
    of_trained = tree.nested({name: manual(cut[name], on) for name in trained})
    ours = {
        *rows,
        *(axis for axis, n in on.shape.items() if n == 1),
    }  # a kernel that XLA cannot divide then needs no map
    unpack = functools.partial(whole, cut=cut, dtype=dtype, on=on)

    def local(params: dict, batch: Batch) -> tuple[Any, dict]:
        sums, grads = gradients(narrowed(params, cut, dtype) if n_parts == 1 else params, batch, unpack)
        summed = lambda name, g: jax.lax.psum(g.astype(dtypes[name]), missing(manual(cut[name], on), rows))
        return jax.lax.psum(sums, rows), tree.map_named(summed, grads)

    return jax.shard_map(
        local, mesh=on, in_specs=(specs, P(rows)), out_specs=(P(), of_trained), axis_names=ours, check_vma=False
    )(params, batch)


def narrowed(params: dict, cut: dict[str, PartitionSpec], dtype: str) -> dict:
    """What will be gathered, in the compute type."""

    def leaf(name: str, x: Array) -> Array:
        return x.astype(dtype) if "data" in cut[name] and x.dtype == jnp.float32 else x

    return tree.map_named(leaf, params)


def whole(name: str, leaf: Array, cut: dict[str, PartitionSpec], dtype: str, on: Mesh) -> Array:
    """A parameter whole along `data`, gathered in the compute type; the `unpack` of `over_rows`."""
    spec = sharding.in_layer(name, cut[name])
    if "data" not in spec:
        return leaf
    leaf = leaf.astype(dtype) if leaf.dtype == jnp.float32 else leaf
    side, axes = spec.index("data"), mesh.parts(on, "data")
    if name == "blocks/mlp/w_in":  # gate by gate: XLA does not scatter a sum of both at once
        return jnp.stack([gathered(gate, side - 1, axes) for gate in leaf])
    return gathered(leaf, side, axes)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def gathered(part: Array, side: int, axes: tuple[str, ...]) -> Array:
    """The parts of all devices along `axes`, joined at one side of the array. The cut side is in front on the wire,
    where each part is contiguous."""
    front = jax.lax.all_gather(jnp.moveaxis(part, side, 0), axes, axis=0, tiled=True)
    return jnp.moveaxis(front, 0, side)


def forward(part: Array, side: int, axes: tuple[str, ...]) -> tuple[Array, None]:
    return gathered(part, side, axes), None


def backward(side: int, axes: tuple[str, ...], _: None, grad: Array) -> tuple[Array]:
    front = jnp.moveaxis(grad, side, 0)
    for axis in axes:  # in the order of the gather, or parts come out permuted
        front = jax.lax.psum_scatter(front, axis, scatter_dimension=0, tiled=True)
    return (jnp.moveaxis(front, 0, side),)


gathered.defvjp(forward, backward)


def manual(spec: PartitionSpec, on: Mesh) -> PartitionSpec:
    """What of a parameter's spec is not left to XLA."""
    return P(*(mesh.physical(P(axis), on)[0] if axis == "data" else None for axis in spec))


def missing(spec: PartitionSpec, rows: tuple[str, ...]) -> tuple[str, ...]:
    """The axes along which a gradient with this spec has not been summed yet."""
    used = {axis for side in spec if side is not None for axis in ((side,) if isinstance(side, str) else side)}
    return tuple(axis for axis in rows if axis not in used)
