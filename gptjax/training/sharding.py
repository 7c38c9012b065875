"""Where every parameter, its optimizer state and every batch row lies, as the table of model/table.py has it.

This is what `pjit` became: `jax.jit` over arrays that carry a `NamedSharding`. XLA inserts the collectives.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gptjax import mesh, tree
from gptjax.config import BadInput
from gptjax.model import table
from gptjax.training.factors import REFERENCE

P = PartitionSpec
BATCH = P(mesh.ROWS, "sequence")  # of B x T arrays

TILE = 16  # rows of bfloat16


def spec(name: str, shape: tuple[int, ...], on: Mesh) -> PartitionSpec:
    """The spec, in the names of a config, of a parameter of a whole shape."""
    axes, tiled = rule(name)
    if tiled is not None and mesh.size(on, "tensor") == 1 and whole_tiles(P(*tiled), shape, on):
        return P(*tiled)
    return P(*axes)


def rule(name: str) -> tuple[table.Axes, table.Axes | None]:
    """`table.places` of a parameter, that of DPO's reference too. One that no row names is an error, not a replica."""
    try:
        return table.places(name.removeprefix(f"{REFERENCE}/"))
    except KeyError:
        raise KeyError(f"no row of TABLE in model/table.py names parameter {name!r}; add one") from None


def whole_tiles(spec: PartitionSpec, shape: tuple[int, ...], on: Mesh) -> bool:
    """Whether "data" cuts a shape into parts of whole tiles."""
    return "data" in spec and shape[spec.index("data")] % (mesh.size(on, "data") * TILE) == 0


def place(spec: PartitionSpec, on: Mesh) -> NamedSharding:
    """Where an array with a spec in the names of a config lies on the mesh."""
    return NamedSharding(on, mesh.physical(spec, on))


def of_params(params: Any, on: Mesh) -> Any:
    """A tree of shardings for a tree of parameters or shapes; raises BadInput where a size does not divide."""

    def sharding(name, leaf):
        found = spec(name, leaf.shape, on)
        for side, axis in zip(leaf.shape, found, strict=False):
            if axis is not None and side % (ways := mesh.size(on, axis)):
                near = math.gcd(side, ways)  # what is left of the devices goes to another axis
                raise BadInput(
                    f"mesh.{axis}={ways} does not divide {side}, a side of {name} {leaf.shape}; try mesh.{axis}={near}"
                )
        return place(found, on)

    return tree.map_named(sharding, params)


def gathered(on: Mesh) -> Callable[[str, Any], Any]:
    """The `unpack` of FSDP: a parameter whole along "data" just before use, one layer at a time.

    Without it XLA may move the batch to the parameters instead, and each device holds the logits of all rows.
    """

    def unpack(name: str, leaf: Any) -> Any:
        axes, _ = rule(name)  # but for "data" both of a row are alike
        kept = P(*(None if axis == "data" else axis for axis in in_layer(name, P(*axes))))
        return jax.lax.with_sharding_constraint(leaf, place(kept, on))

    return unpack


def in_layer(name: str, spec: PartitionSpec) -> PartitionSpec:
    """The spec of a parameter where it is used: the loop over layers has taken the first axis of those of blocks."""
    return P(*spec[1:]) if name.startswith("blocks/") else spec


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


def check_rows(batch_size: int, accumulate: int, on: Mesh) -> None:
    """Raises BadInput where the rows of an accumulated part cannot be dealt evenly."""
    ways, part = mesh.size(on, "replica") * mesh.size(on, "data"), batch_size // accumulate
    if part % ways:
        near = max(1, round(part / ways)) * ways * accumulate
        of = f"a batch of {batch_size} sequences" + (f" in accumulate={accumulate} parts" if accumulate > 1 else "")
        raise BadInput(f"{of} cannot be dealt to replica x data = {ways} devices; try {near}")


def rows(batch_size: int, on: Mesh) -> list[int]:
    """The rows of a global batch that this process reads; raises BadInput where they cannot be dealt evenly."""
    check_rows(batch_size, 1, on)
    mine = place(P(mesh.ROWS), on).addressable_devices_indices_map((batch_size,)).values()
    return sorted({row for index in mine if index is not None for row in range(batch_size)[index[0]]})


def own_rows(batch_size: int, on: Mesh) -> list[int]:
    """The rows that this process reads and none before it does: every row is one process's."""
    everybodys = place(P(mesh.ROWS), on).devices_indices_map((batch_size,)).items()
    earlier = {
        row
        for device, index in everybodys
        if index is not None and device.process_index < jax.process_index()
        for row in range(batch_size)[index[0]]
    }
    return [row for row in rows(batch_size, on) if row not in earlier]


def put(batch: Any, on: Mesh) -> Any:
    """This process's rows of a batch, whole along the context, as global arrays."""
    at = place(BATCH, on)
    ways = mesh.size(on, "replica") * mesh.size(on, "data")
    shares = rows(ways, on)  # of the batch; those of a process need not be neighbours, as on a torus

    def placed(x_BT: Any) -> jax.Array:
        size = len(x_BT) // len(shares)  # of a share

        def part(index: Any) -> Any:
            first = shares.index((index[0].start or 0) // size) * size
            return x_BT[first : first + size, index[1]]

        return jax.make_array_from_callback((size * ways, x_BT.shape[1]), at, part)

    return jax.tree.map(placed, batch)
