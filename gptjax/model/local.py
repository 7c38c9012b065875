"""Kernels that XLA cannot divide, each device running one on its own rows, heads and positions.

The mesh is the one in the context in which the model is traced (`mesh.within`). Axes that some caller has made manual
already (FSDP does with its rows) have been divided by that caller; only those still left to XLA are mapped over here.
"""

from collections.abc import Callable

import jax
from jax.sharding import PartitionSpec
from jaxtyping import Array

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
