"""Kernels that XLA cannot divide, each device running one on its own rows, heads and positions.

The mesh is the one in the context in which the model is traced (`mesh.within`). Axes that some caller has made manual
already (FSDP does with its rows) have been divided by that caller; only those still left to XLA are mapped over here.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from gptjax import mesh

P = PartitionSpec
HEADS = P(mesh.ROWS, "sequence", "tensor", None)  # of B x T x heads x width
SEGMENTS = P(mesh.ROWS, "sequence")  # of B x T


def n_sequence() -> int:
    """Devices among which the mesh in the context divides positions; 1 without a mesh."""
    return mesh.size(jax.sharding.get_abstract_mesh(), "sequence")


def per_device(kernel: Callable[..., Array]) -> Callable[..., Array]:
    """`kernel(q_BTNH, k_BTKH, v_BTKH, segments_BT) -> mixed_BTNH`, called on each device's part of them."""
    on = jax.sharding.get_abstract_mesh()
    free = set(on.axis_names) - set(on.manual_axes)
    if on.size == 1 or not free:
        return kernel

    heads, segments = (mesh.left(mesh.physical(spec, on), on) for spec in (HEADS, SEGMENTS))
    specs = heads, heads, heads, segments
    # All free axes, those of one device too: a Pallas kernel is refused wherever one axis is left to XLA.
    return jax.shard_map(kernel, in_specs=specs, out_specs=heads, axis_names=free, check_vma=False)


def looked_up(w_VD: Float[Array, "V D"], tokens_BT: Int[Array, "B T"]) -> Float[Array, "B T D"]:
    """The row of each token, where a mesh may divide V along `tensor`: a table shorter than twice a device's tokens is
    gathered, in a longer one each device looks in its own rows, and of the sum over devices one term is not 0.

    XLA's partitioner chooses alike, but in a map over rows it ends in a failed check (jaxlib 0.12.0.1, not 0.10.2).
    """
    on = jax.sharding.get_abstract_mesh()
    free = [axis for axis in on.axis_names if axis not in on.manual_axes]
    axes = {axis for axis in mesh.parts(on, "tensor") if axis in free and on.shape[axis] > 1}
    if not axes:
        return w_VD[tokens_BT]
    ways = math.prod(on.shape[axis] for axis in free if axis not in axes)
    if len(w_VD) < 2 * tokens_BT.size / ways:
        return jax.lax.with_sharding_constraint(w_VD, NamedSharding(on, P()))[tokens_BT]

    def own(w_vD: Array, tokens_BT: Array) -> Array:
        at_BT = tokens_BT - jax.lax.axis_index("tensor") * len(w_vD)
        mine_BT = (at_BT >= 0) & (at_BT < len(w_vD))
        return jnp.where(mine_BT[:, :, None], w_vD[jnp.where(mine_BT, at_BT, 0)], 0)[None]

    part = jax.shard_map(own, in_specs=(P("tensor"), P()), out_specs=P("tensor"), axis_names=axes, check_vma=False)
    return jnp.sum(part(w_VD, tokens_BT), axis=0)  # outside: the transpose of a psum in a map divides, which may round
