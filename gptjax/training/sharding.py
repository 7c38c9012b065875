"""One mesh, one table of rules: where every parameter, its optimizer state and every batch row lies.

This is what `pjit` became: `jax.jit` over arrays that carry a `NamedSharding`. XLA inserts the collectives.
"""

import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from gptjax import tree
from gptjax.config import BadInput, MeshConfig

P = PartitionSpec
AXES = ("replica", "data", "tensor", "sequence")
BATCH = P(("replica", "data"), "sequence")  # of B x T arrays

# First match wins; a parameter that no row names is an error, not a replica. "data" is FSDP: each device keeps a part
# and gathers the rest just before use. Under "blocks" the leading None is the layer axis.
RULES = (
    (r"^(w_tok|w_head)$", P("tensor", "data")),
    (r"^w_pos$", P(None, "data")),
    (r"^blocks/attn/w_[qkv]$", P(None, "data", "tensor", None)),
    (r"^blocks/attn/w_out$", P(None, "tensor", None, "data")),
    (r"^blocks/attn/b_[qkv]$", P(None, "tensor", None)),
    (r"^blocks/mlp/w_in$", P(None, None, "data", "tensor")),
    (r"^blocks/mlp/w_out$", P(None, "tensor", "data")),
    (r"^blocks/mlp/b_in$", P(None, None, "tensor")),
    (r"^blocks/(attn|mlp)/b_out$", P()),
    (r"^(blocks/)?(attn/)?norm_\w+/(scale|bias)$", P()),
)


def mesh(cfg: MeshConfig) -> Mesh:
    """The mesh over all devices; raises BadInput, with the nearest possible one, when the sizes do not fit them."""
    n_devices = jax.device_count()
    sizes = [cfg.replica, cfg.data, cfg.tensor, cfg.sequence]
    fixed = int(np.prod([size for size in sizes if size != -1]))
    if -1 in sizes and n_devices % fixed == 0:
        sizes[sizes.index(-1)] = n_devices // fixed
    if np.prod(sizes) != n_devices:
        asked = " x ".join(f"{axis}={size}" for axis, size in zip(AXES, sizes, strict=True))
        raise BadInput(f"mesh {asked} does not fit {n_devices} devices; try mesh.data=-1 with the others at 1")
    # Auto: since JAX 0.9 make_mesh defaults to Explicit, under which FSDP with plain einsum is refused.
    return jax.make_mesh(tuple(sizes), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def spec(name: str, shape: tuple[int, ...]) -> PartitionSpec:
    """The row of RULES that names a parameter."""
    for pattern, found in RULES:
        if re.search(pattern, name):
            return found
    raise KeyError(f"no sharding rule matches parameter {name!r} {shape}; add one to RULES in sharding.py")


def of_params(params: Any, on: Mesh) -> Any:
    """A tree of shardings for a tree of parameters or shapes; raises BadInput where a size does not divide."""

    def sharding(name, leaf):
        found = spec(name, leaf.shape)
        for size, axis in zip(leaf.shape, found, strict=False):
            if axis is not None and size % on.shape[axis]:
                raise BadInput(f"mesh.{axis}={on.shape[axis]} does not divide {size}, a side of {name} {leaf.shape}")
        return NamedSharding(on, found)

    return tree.map_named(sharding, params)


def gathered(on: Mesh) -> Callable[[str, Any], Any]:
    """The `unpack` of FSDP: a parameter whole along "data" just before use, one layer at a time.

    Without it XLA may move the batch to the parameters instead, and each device holds the logits of all rows.
    """

    def unpack(name: str, leaf: Any) -> Any:
        found = spec(name, leaf.shape)
        in_layer = found[1:] if name.startswith("blocks/") else found  # the loop over layers has taken the first axis
        kept = P(*(None if axis == "data" else axis for axis in in_layer))
        return jax.lax.with_sharding_constraint(leaf, NamedSharding(on, kept))

    return unpack


def of_state(state: Any, params: Any, on: Mesh) -> Any:
    """Shardings of a train state: what has a parameter's name and shape lies with it, the small rest everywhere."""
    shapes = {name: leaf.shape for name, leaf in tree.named(params).items()}
    places = tree.named(of_params(params, on))

    def sharding(name, leaf):
        parts = name.split("/")
        for start in range(len(parts)):
            parameter = "/".join(parts[start:])
            if shapes.get(parameter) == leaf.shape:
                return places[parameter]
        return NamedSharding(on, P())

    return tree.map_named(sharding, state)


def rows(batch_size: int, on: Mesh) -> slice:
    """The rows of a global batch that this process reads; raises BadInput where they cannot be dealt evenly."""
    ways = on.shape["replica"] * on.shape["data"]
    if batch_size % ways:
        near = max(1, round(batch_size / ways)) * ways
        raise BadInput(
            f"a batch of {batch_size} sequences cannot be dealt to replica x data = {ways} devices; try {near}"
        )
    mine = NamedSharding(on, P(("replica", "data"))).addressable_devices_indices_map((batch_size,)).values()
    bounds = [index[0].indices(batch_size) for index in mine if index is not None]
    return slice(min(start for start, _, _ in bounds), max(stop for _, stop, _ in bounds))


def put(batch: Any, on: Mesh) -> Any:
    """This process's rows of a batch as global arrays."""
    place = NamedSharding(on, BATCH)
    return jax.tree.map(lambda x_BT: jax.make_array_from_process_local_data(place, x_BT), batch)
