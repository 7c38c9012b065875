"""What a compiled step moves and how long the compiler thinks it takes, read out of its text.

XLA's own cost analysis counts the body of a loop once. Here each computation is weighted by the trips of the loops
around it. Shapes in the text are of one device.
"""

import collections
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "ragged-all-to-all", "collective-permute")
BITS = {"pred": 8, "s4": 4, "u4": 4} | {"bf16": 16} | {f"{kind}{n}": n for kind in "fsu" for n in (8, 16, 32, 64)}
ARRAY = re.compile(r"\b([a-z]+\d*(?:e\dm\d\w*)?)\[([\d,]*)\]")
INSTRUCTION = re.compile(r"^\s*(?:ROOT\s+)?%?([\w.\-]+)\s*=\s*(.+?)\s([a-z][a-z0-9\-]*)\(")
COMPUTATION = re.compile(r"^(ENTRY\s+)?%?([\w.\-]+)\s+\(.*\)\s*->.*\{\s*$")
CALLS = re.compile(r"\b(?:calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)")
CALL_LISTS = re.compile(r"\b(?:branch_computations|called_computations)=\{([^}]*)\}")


class Instruction(NamedTuple):
    name: str
    shape: str
    op: str
    text: str


class Collective(NamedTuple):
    kind: str
    operand_bytes: float  # of the whole array: gathered, to be scattered, reduced, exchanged
    times: float  # a step
    group: int  # devices that take part together
    islands: int  # slices or hosts among which they lie


class Traffic(NamedTuple):
    """Bytes that one device sends in a step, by the fast and by the slow network."""

    times: float
    ici_bytes: float
    dcn_bytes: float


class Program(NamedTuple):
    collectives: list[Collective]
    cycles: float | None  # by the compiler's estimate; None where it gives none
    unknown_loops: int  # loops whose trips could not be read: counted once


def read(text: str, islands: Sequence[int]) -> Program:
    """`islands` is the slice or host of each partition, in the order of the program's mesh."""
    computations, entry = parse(text)
    times, unknown = multiplicities(computations, entry)
    fused = {name for lines in computations.values() for i in lines if i.op == "fusion" for name in called(i.text)}
    found = []
    cycles, any_cycles = 0.0, False
    for name, lines in computations.items():
        if not times[name]:
            continue
        started = handed_to_async(name, lines) if name in fused else None
        for i in lines:
            kind = i.op.removesuffix("-start")
            # An asynchronous collective stands in several fusions, one of which starts it.
            if kind in COLLECTIVES and (started is None or i.name in started):
                found.append(collective(i, kind, name, times[name], islands))
            if i.op == "send" and (between := re.search(r'_xla_megascale_transfer_type="(\w+)"', i.text)):
                found.append(between_slices(i, between[1], times[name], max(islands) + 1))
            estimate = re.search(r'"estimated_cycles":"?(\d+)', i.text)
            if estimate and name not in fused and int(estimate[1]) < 1 << 62:
                cycles, any_cycles = cycles + int(estimate[1]) * times[name], True
    return Program(found, cycles if any_cycles else None, unknown)


def parse(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """The instructions of each computation, and the name of the first one to run."""
    computations: dict[str, list[Instruction]] = {}
    entry, name = "", None
    for line in text.splitlines():
        if name is None or not line.startswith(" "):
            if start := COMPUTATION.match(line):
                name = start[2]
                computations[name] = []
                entry = name if start[1] else entry
                continue
        if line.rstrip() == "}":  # alone: the text of a Pallas kernel goes on after lines that begin with "}}"
            name = None
        elif name is not None and (found := INSTRUCTION.match(line)):
            computations[name].append(Instruction(found[1], found[2], found[3], line))
    return computations, entry


def called(text: str) -> Iterator[str]:
    yield from CALLS.findall(text)
    for names in CALL_LISTS.findall(text):
        yield from (name.strip().lstrip("%") for name in names.split(","))


def multiplicities(computations: dict[str, list[Instruction]], entry: str) -> tuple[dict[str, float], int]:
    """How often each computation runs in a step, and the number of loops whose trips are not known."""
    times: dict[str, float] = collections.defaultdict(float)
    unknown, todo = 0, [(entry, 1.0)]
    while todo:
        name, n = todo.pop()
        times[name] += n
        for i in computations.get(name, []):
            if i.op == "while" and (body := re.search(r"\bbody=%?([\w.\-]+)", i.text)):
                n_trips = trips(computations, i.text)
                unknown += n_trips is None
                todo.append((body[1], n * (1 if n_trips is None else n_trips)))
            else:
                todo += [(inner, n) for inner in called(i.text) if inner in computations]
    return times, unknown


def trips(computations: dict[str, list[Instruction]], text: str) -> int | None:
    """Of a loop that counts from 0: as annotated, or else the constant that its condition compares with."""
    if known := re.search(r'known_trip_count"?:\{"?n"?:"?(\d+)', text):
        return int(known[1])
    condition = re.search(r"\bcondition=%?([\w.\-]+)", text)
    lines = computations.get(condition[1], []) if condition else []
    lines = [*lines, *(inner for i in lines for name in called(i.text) for inner in computations.get(name, []))]
    bounds = [int(found[1]) for i in lines if (found := re.search(r"\bconstant\((\d+)\)", i.text))]
    return max(bounds, default=None)


def handed_to_async(name: str, lines: list[Instruction]) -> set[str] | None:
    """The instructions that a fused computation starts asynchronously; None where it has no such part. What lies
    between a collective's start and its end repeats it too, in fusions that only their name tells."""
    if not name.startswith("async_collective") and not any("AsyncCollective" in i.text for i in lines):
        return None
    starts = [i.text.split("custom-call(")[-1].split(")")[0] for i in lines if "AsyncCollectiveStart" in i.text]
    return {name for operands in starts for name in re.findall(r"%([\w.\-]+)", operands)}


def collective(i: Instruction, kind: str, inside: str, times: int | float, islands: Sequence[int]) -> Collective:
    groups = groups_of(i.text, len(islands))
    size = max(len(group) for group in groups)
    arrays = [array_bytes(dtype, sides) for dtype, sides in ARRAY.findall(i.shape) if sides]  # not flags, u32[]
    if i.op.endswith("-start") and kind != "all-reduce":
        arrays = arrays[len(arrays) // 2 :]  # a start's result holds its operands, then its results
    whole = sum(arrays)
    if kind == "reduce-scatter":
        whole *= size  # its result is a part
    if kind == "all-reduce" and inside.startswith("all-reduce-scatter"):
        kind = "reduce-scatter"  # as the TPU compiler writes it
    return Collective(kind, whole, times, size, max(len({islands[d] for d in group}) for group in groups))


def between_slices(i: Instruction, kind: str, times: int | float, n_slices: int) -> Collective:
    """What the TPU compiler leaves to its runtime: a device exchanges with those in its place in other slices."""
    kind = kind.lower().replace("_", "-")
    kind = kind if kind in COLLECTIVES else "collective-permute"
    own = max((array_bytes(*found) for found in ARRAY.findall(i.shape)), default=0.0)
    return Collective(kind, own * n_slices if kind == "all-gather" else own, times, n_slices, n_slices)


def array_bytes(dtype: str, sides: str) -> int | float:
    bits = 8 if dtype.startswith("f8") else BITS[dtype] if dtype in BITS else 0
    return bits / 8 * math.prod(int(side) for side in sides.split(",") if side)


def groups_of(text: str, n_devices: int) -> list[list[int]]:
    """The partitions that take part in a collective together, in any of the ways in which XLA writes them."""
    if pairs := re.search(r"source_target_pairs=\{(\{.*?\})\}", text):
        return [[int(n) for n in pair.split(",")] for pair in re.findall(r"\{([\d,]+)\}", pairs[1])]
    if listed := re.search(r"replica_groups=\{(\{.*?\})\}", text):
        return [[int(n) for n in group.split(",")] for group in re.findall(r"\{([\d,]+)\}", listed[1])]
    if iota := re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text):
        shape, tiles, order = ([int(n) for n in part.split(",")] if part else None for part in iota.groups())
        ids: Any = np.arange(math.prod(tiles or [])).reshape(tiles).transpose(order)
        return [[int(n) for n in group] for group in ids.reshape(shape)]
    if named := re.search(r"replica_groups=mesh\[([^\]]*)\]\s*\{([^}]*)\}", text):
        sizes = {axis: int(n) for axis, n in re.findall(r"'([^']+)'=(\d+)", named[1])}
        over = [list(sizes).index(axis) for axis in re.findall(r"'([^']+)'", named[2])]
        ids = np.arange(math.prod(sizes.values())).reshape(tuple(sizes.values()))
        last = range(len(sizes) - len(over), len(sizes))
        return np.moveaxis(ids, over, last).reshape(-1, math.prod(ids.shape[axis] for axis in over)).tolist()
    return [list(range(n_devices))]


def traffic(found: Collective) -> Traffic:
    """Bytes that a device sends, by rings: within its slice, and between slices what is left after the part within.

    Thakur et al. 2005: a gather or scatter of S bytes over g devices sends S (g - 1) / g, a reduction twice as much.
    """
    S, g, s = found.operand_bytes, found.group, found.islands
    inner = g / s
    if found.kind == "collective-permute":
        return Traffic(found.times, *((0.0, S * found.times) if s > 1 else (S * found.times, 0.0)))
    ways = 2 if found.kind == "all-reduce" else 1
    ici = ways * S * (inner - 1) / inner
    dcn = ways * S / inner * (s - 1) / s
    if found.kind in ("all-to-all", "ragged-all-to-all"):
        ici, dcn = S * (inner - 1) / g, S * (g - inner) / g
    return Traffic(found.times, ici * found.times, dcn * found.times)


def by_kind(collectives: Sequence[Collective]) -> dict[str, Traffic]:
    """Sums over a step of each kind of collective."""
    sums: dict[str, Traffic] = {}
    for found in collectives:
        if found.group > 1:
            old, new = sums.get(found.kind, Traffic(0, 0, 0)), traffic(found)
            sums[found.kind] = Traffic(*(a + b for a, b in zip(old, new, strict=True)))
    return dict(sorted(sums.items()))
