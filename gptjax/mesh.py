"""The one mesh: which device is where, under the four names that a config knows.

Code says `replica`, `data`, `tensor`, `sequence`. On a TPU slice `data` may lie along several sides of the torus; then
each side is an axis of the mesh of its own ("data_0", "data_1", ...), because XLA scatters a sum along one side of the
torus but not along several at once. `physical` turns the four names into the mesh's.
"""

import functools
import itertools
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from gptjax.config import BadInput, MeshConfig

P = PartitionSpec
AXES = ("replica", "data", "tensor", "sequence")
ROWS = ("replica", "data")  # which divide the rows of a batch


def make(cfg: MeshConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh over all devices, or over those of a topology that is compiled for.

    Slices (devices that no fast network joins) are `replica`s of each other. Raises BadInput, with the nearest possible
    mesh, when the sizes do not fit.
    """
    found = list(all_devices() if devices is None else devices)
    n_slices = len({getattr(device, "slice_index", 0) for device in found})
    replica, data, tensor, sequence = resolve(cfg, len(found), n_slices)
    sides = data_sides(torus(found, n_slices), (replica // n_slices, tensor, sequence), data)
    inside = (replica // n_slices, *sides, tensor, sequence)
    if n_slices > 1:
        between = (n_slices,) + (1,) * (len(inside) - 1)
        grid = mesh_utils.create_hybrid_device_mesh(inside, between, found, allow_split_physical_axes=True)
    else:
        grid = mesh_utils.create_device_mesh(inside, found, allow_split_physical_axes=True)
    named = ("data",) if len(sides) == 1 else tuple(f"data_{number}" for number in range(len(sides)))
    axes = ("replica", *named, "tensor", "sequence")
    # Auto: since JAX 0.9 make_mesh defaults to Explicit, under which FSDP with plain einsum is refused.
    return Mesh(grid, axes, axis_types=(AxisType.Auto,) * len(axes))


def all_devices() -> list[Any]:
    """Every device; raises BadInput where JAX_PLATFORMS names a platform that JAX does not know."""
    try:
        return jax.devices()
    except RuntimeError as error:
        if "not in the list of known backends" not in str(error):
            raise
        asked = os.environ.get("JAX_PLATFORMS", "")
        raise BadInput(f"JAX_PLATFORMS={asked}: JAX knows no such platform; it is one of cpu, cuda, tpu") from error


def within(on: Mesh, f: Callable[..., Any]) -> Callable[..., Any]:
    """f, to be traced with the mesh in the context, where kernels that XLA cannot divide look for it."""

    @functools.wraps(f)
    def traced(*args: Any, **kwargs: Any) -> Any:
        with jax.sharding.use_abstract_mesh(on.abstract_mesh):
            return f(*args, **kwargs)

    return traced


def parts(mesh: Any, axis: str) -> tuple[str, ...]:
    """The axes of a mesh (or abstract mesh) that one of the four names stands for."""
    return tuple(name for name in mesh.axis_names if name == axis or name.startswith(axis + "_"))


def size(mesh: Any, axis: str) -> int:
    """Devices along one of the four names."""
    return math.prod(mesh.shape[part] for part in parts(mesh, axis))


def physical(spec: PartitionSpec, mesh: Any) -> PartitionSpec:
    """A spec in the four names as one in the axes of the mesh."""

    def side(entry: Any) -> Any:
        if entry is None:
            return None
        names = (entry,) if isinstance(entry, str) else entry
        found = tuple(part for name in names for part in parts(mesh, name))
        return found[0] if len(found) == 1 else found

    return P(*(side(entry) for entry in spec))


def lie(x: jax.Array, spec: PartitionSpec) -> jax.Array:
    """x, told where on the mesh that is traced for it lies, in the four names; rows that a map has dealt stay there.
    What does not divide is left to XLA, as are the few rows of a sample."""
    on = jax.sharding.get_abstract_mesh()
    if on.empty or on.size == 1:
        return x
    free = [
        side if divides(side, n, on) else None for n, side in zip(x.shape, left(physical(spec, on), on), strict=True)
    ]
    return jax.lax.with_sharding_constraint(x, NamedSharding(on, P(*free))) if any(free) else x


def left(spec: PartitionSpec, on: Any) -> PartitionSpec:
    """A spec without the axes that are manual where it is traced."""

    def side(entry: Any) -> Any:
        names = () if entry is None else (entry,) if isinstance(entry, str) else entry
        kept = tuple(name for name in names if name not in on.manual_axes)
        return None if not kept else kept[0] if len(kept) == 1 else kept

    return P(*(side(entry) for entry in spec))


def divides(side: Any, n: int, on: Any) -> bool:
    """Whether n rows divide evenly among the axes `side` of a mesh: none, one or several of its own names."""
    names = () if side is None else (side,) if isinstance(side, str) else side
    return n % math.prod(on.shape[name] for name in names) == 0


def resolve(cfg: MeshConfig, n_devices: int, n_slices: int = 1) -> tuple[int, ...]:
    """The four sizes with the -1 filled in; raises BadInput."""
    asked = {axis: getattr(cfg, axis) for axis in AXES}
    fixed = math.prod(size for size in asked.values() if size != -1)
    sizes = [n_devices // fixed if size == -1 else size for size in asked.values()]
    if math.prod(sizes) == n_devices and sizes[0] % n_slices == 0:
        return tuple(sizes)
    near = nearest(asked, n_devices, n_slices)
    text, hint = (
        " ".join(f"mesh.{axis}={size}" for axis, size in zip(AXES, of, strict=True)) for of in (asked.values(), near)
    )
    slices = f" in {n_slices} slices, each of which is one replica or several" if n_slices > 1 else ""
    raise BadInput(f"{text} does not fit {n_devices} devices{slices}; try {hint}")


def nearest(asked: dict[str, int], n_devices: int, n_slices: int) -> tuple[int, ...]:
    """The mesh of so many devices whose sizes differ least, as ratios, from those asked for."""
    divisors = [n for n in range(1, n_devices + 1) if n_devices % n == 0]

    def distance(sizes: tuple[int, ...]) -> float:
        return sum(abs(math.log(a / b)) for a, b in zip(sizes, asked.values(), strict=True) if b > 0)

    triples = itertools.product(divisors, repeat=3)
    whole = ((r, n_devices // (r * t * s), t, s) for r, t, s in triples if n_devices % (r * t * s) == 0)
    return min((sizes for sizes in whole if sizes[0] % n_slices == 0), key=distance)


def torus(devices: Sequence[Any], n_slices: int) -> tuple[int, ...]:
    """The sides of one slice's torus that are longer than 1; empty where devices have no coordinates."""
    if not all(hasattr(device, "coords") for device in devices) or devices[0].platform != "tpu":
        return ()
    sides = np.max([device.coords for device in devices], axis=0) + 1
    cores = len(devices) // n_slices // math.prod(sides)  # of a chip that JAX counts as two devices
    return tuple(int(side) for side in (*sides, cores) if side > 1)


def data_sides(sides: tuple[int, ...], others: tuple[int, ...], data: int) -> tuple[int, ...]:
    """How `data` lies along the torus once the other axes have taken theirs: whole sides where they fit, else a part.

    (data,) where there is no torus, or where no such division exists.
    """
    left = list(sides)
    for other in others:
        for number in sorted(range(len(left)), key=lambda number: left[number]):
            if left[number] % other == 0:
                left[number] //= other
                break
    left = [side for side in left if side > 1]
    return tuple(left) if left and math.prod(left) == data else (data,)
