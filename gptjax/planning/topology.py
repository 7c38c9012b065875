"""Names of machines to plan for: `v5e:16x16`, `2*v5p:8x8x8` (slices), `h100:2x8` (hosts x GPUs of each), `l4` (one).

A GPU may also be named by the file that `--save-target` wrote: `my_gpu.txtpb:1x8`. Parsing imports no jax; `devices`
makes the JAX devices of a topology, of which none exists.
"""

import difflib
import math
import pathlib
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from gptjax.config import BadInput
from gptjax.planning import chips
from gptjax.planning.chips import Chip

TARGETS = pathlib.Path(__file__).parent / "targets"
GPUS_OF_HOST = 8
NO_TARGET = ""  # no description for the compiler: what is known of such a GPU is by formula


class Family(NamedTuple):
    kind: str  # as JAX calls its devices
    platform: str  # of JAX: "tpu" or "cuda"
    name: str  # as the compiler calls it; of a GPU, the file of its description
    cores: int = 1  # JAX devices of a chip


FAMILIES = {
    "v4": Family("TPU v4", "tpu", "v4"),
    "v5e": Family("TPU v5 lite", "tpu", "v5e"),
    "v5p": Family("TPU v5", "tpu", "v5p"),
    "v6e": Family("TPU v6 lite", "tpu", "v6e"),
    "7x": Family("TPU7x", "tpu", "tpu7x", 2),
    "h100": Family("NVIDIA H100 80GB HBM3", "cuda", "h100.txtpb"),
    "h200": Family("NVIDIA H200", "cuda", "h200.txtpb"),
    "a100": Family("NVIDIA A100-SXM4-80GB", "cuda", "a100.txtpb"),
    "a100-40gb": Family("NVIDIA A100-SXM4-40GB", "cuda", NO_TARGET),
    "a10g": Family("NVIDIA A10G", "cuda", NO_TARGET),
    "l4": Family("NVIDIA L4", "cuda", NO_TARGET),
    "t4": Family("Tesla T4", "cuda", NO_TARGET),
    "v100": Family("Tesla V100-SXM2-16GB", "cuda", NO_TARGET),
    "l40s": Family("NVIDIA L40S", "cuda", NO_TARGET),
    "rtx3090": Family("NVIDIA GeForce RTX 3090", "cuda", NO_TARGET),
    "rtx5090": Family("NVIDIA GeForce RTX 5090", "cuda", NO_TARGET),
    "rtx4090": Family("NVIDIA GeForce RTX 4090", "cuda", NO_TARGET),
}
SLICES_2D = ((1, 1), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16))  # that Cloud TPU offers
SMALL_3D = ((1, 1, 1), (2, 2, 1), (2, 2, 2), (2, 2, 4), (2, 4, 4))  # larger ones are made of cubes of 4 x 4 x 4


class Topology(NamedTuple):
    """Machines to plan for; none of them need be there."""

    text: str  # as given
    family: Family
    sides: tuple[int, ...]  # chips along the sides of a slice; of GPUs: hosts, GPUs of each
    n_slices: int

    @property
    def chip(self) -> Chip | None:
        """None where the table has no such chip: nothing is then known of its speed or memory."""
        return chips.find(self.family.kind)

    @property
    def n_chips(self) -> int:
        """Over all slices: what is paid for."""
        return self.n_slices * math.prod(self.sides)

    @property
    def n_devices(self) -> int:
        """JAX's, of which a TPU7x has two a chip."""
        return self.n_chips * self.family.cores

    @property
    def n_islands(self) -> int:
        """Groups of devices that only the slow network joins: slices of TPUs, hosts of GPUs."""
        return self.n_slices * (self.sides[0] if self.family.platform == "cuda" else 1)


def parse(text: str) -> Topology:
    """The topology of a name; raises BadInput with the nearest right one."""
    if saved := re.fullmatch(r"(.+\.txtpb):([1-9]\d*)x([1-9]\d*)", text):
        return Topology(text, saved_family(saved[1]), (int(saved[2]), int(saved[3])), 1)
    alone = text.strip().lower()
    if alone in FAMILIES and FAMILIES[alone].platform == "cuda":
        return Topology(text, FAMILIES[alone], (1, 1), 1)
    found = re.fullmatch(r"(?:(\d+)\*)?([\w-]+):(\d+(?:x\d+)*)", alone)
    if found is None:
        near = difflib.get_close_matches(re.split("[:*]", text)[0].lower(), FAMILIES, n=1, cutoff=0.0)[0]
        one_gpu = ":" not in text and FAMILIES[near].platform == "cuda"
        raise BadInput(f"--topology={text}: not a topology; try {near if one_gpu else f'{near}:{example(near)}'}")
    slices, family, sides = found[1], found[2].removeprefix("tpu"), tuple(int(side) for side in found[3].split("x"))
    if family not in FAMILIES:
        near = difflib.get_close_matches(family, FAMILIES, n=1, cutoff=0.0)[0]
        raise BadInput(
            f"--topology={text}: unknown chip {found[2]}; did you mean {near}? Known: "
            f"{', '.join(FAMILIES)}; for another, leave --topology out and hold what a device needs against its memory"
        )
    row, n_slices = FAMILIES[family], int(slices or 1)
    if (near := nearest_sides(row, sides)) != sides or n_slices < 1:
        prefix = f"{n_slices}*" if n_slices > 1 else ""
        raise BadInput(f"--topology={text}: no {family} has this shape; try {prefix}{family}:{by(near)}")
    return Topology(text, row, sides, n_slices)


def saved_family(file: str) -> Family:
    """The GPU of a description that `--save-target` wrote."""
    if not pathlib.Path(file).is_file():
        raise BadInput(f"--topology={file}: no such file; `gptjax plan --save-target={file}` writes it on a GPU")
    name = re.search(r'\bname: "([^"]+)"', pathlib.Path(file).read_text())
    return Family(name[1] if name else "", "cuda", str(pathlib.Path(file).absolute()))


def nearest_sides(row: Family, sides: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a slice that exists and is nearest in the number of chips, then in its sides."""
    n = max(1, math.prod(sides))
    if row.platform == "cuda":
        if len(sides) == 2 and sides[0] >= 1 and 1 <= sides[1] <= GPUS_OF_HOST:
            return sides
        return (-(-n // GPUS_OF_HOST), GPUS_OF_HOST) if n > GPUS_OF_HOST else (1, n)
    if chips.CHIPS[row.kind].torus == 2:
        offered: Sequence[tuple[int, ...]] = SLICES_2D
    else:
        if len(sides) == 3 and min(sides) >= 4 and all(side % 4 == 0 for side in sides):
            return sides
        cubes = [(4 * a, 4 * b, 4 * c) for a in range(1, 7) for b in range(a, 7) for c in range(b, 7)]
        offered = (*SMALL_3D, *cubes)
    differs = lambda one: sum(abs(math.log(a / max(b, 1))) for a, b in zip(one, sides, strict=False))
    return min(offered, key=lambda one: (one != sides, abs(math.log(math.prod(one) / n)), differs(one)))


def example(family: str) -> str:
    row = FAMILIES[family]
    return "1x8" if row.platform == "cuda" else "4x4" if chips.CHIPS[row.kind].torus == 2 else "4x4x4"


def by(sides: Sequence[int]) -> str:
    return "x".join(str(side) for side in sides)


def devices(on: Topology) -> list[Any]:
    """JAX devices to compile for. A TPU needs libtpu in this process, a GPU JAX's CUDA plugin; no chip is needed."""
    from jax.experimental import topologies

    sides = by(on.sides)
    if on.family.platform == "cuda":
        target = (TARGETS / on.family.name).read_text()
        return topologies.get_topology_desc(
            platform="cuda", target_config=target, topology=f"{on.n_slices}x{sides}"
        ).devices
    options: dict[str, Any] = {"num_slices": on.n_slices}
    if len(on.sides) == 3 and all(side % 4 == 0 for side in on.sides):
        options["wrap"] = (True,) * 3  # else the compiler takes a grid without the links that close the torus
    if on.family.name == "v4":
        options["chip_config_name"] = "megacore"  # else a chip's two cores are devices of their own
    if math.prod(on.sides) == 1:
        options["chips_per_host_bounds"] = (1, 1, 1)
    return topologies.get_topology_desc(platform="tpu", topology_name=f"{on.family.name}:{sides}", **options).devices
