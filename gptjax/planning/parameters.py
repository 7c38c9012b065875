"""Every parameter by its name, shape and place, without jax: those of the model, adapters, and which a run trains."""

import dataclasses
import math
from typing import NamedTuple

from gptjax.config import Config, ModelConfig
from gptjax.model import adapters, table
from gptjax.training import factors

Number = int | float
LANES, SUBLANES = 128, 8  # of a TPU's memory tile: numbers in a row, rows


class Ways(NamedTuple):
    """Devices along each axis of the mesh."""

    replica: int
    data: int
    tensor: int
    sequence: int


class Parameter(NamedTuple):
    """What is known of a parameter without its values; an axis is None, or `axes` empty, where nothing divides it."""

    shape: tuple[int, ...]
    axes: tuple[str | None, ...]  # of the mesh, along each side

    def size(self, ways: Ways | None = None) -> Number:
        """Numbers in it, or in a device's part of it."""
        return math.prod(self.part(ways))

    def part(self, ways: Ways | None) -> list[Number]:
        """Sides of a device's part."""
        sides = zip(self.shape, self.axes or (None,) * len(self.shape), strict=True)
        return [side / (getattr(ways, axis) if ways and axis else 1) for side, axis in sides]

    def tiled(self, ways: Ways) -> Number:
        """Numbers that a device's part takes in a TPU's memory, in tiles of 8 x 128, laid out to waste least."""
        sides = self.part(ways)
        if len(sides) < 2:
            return math.prod(sides)
        layers, sides = (sides[0], sides[1:]) if len(sides) > 2 else (1, sides)
        waste = [
            up(lane, LANES) / lane * up(row, SUBLANES) / row
            for i, lane in enumerate(sides)
            for row in sides[:i] + sides[i + 1 :]
        ]
        return layers * math.prod(sides) * min(waste)


def parameters(cfg: ModelConfig) -> dict[str, Parameter]:
    """Every parameter of a model."""
    return {name: Parameter(shape, table.places(name)[0]) for name, shape in table.shapes(cfg).items()}


def with_adapters(cfg: Config) -> dict[str, Parameter]:
    """Every parameter of a run's model, its adapters too. Raises BadInput."""
    found = table.shapes(cfg.model)
    found |= adapters.shapes(found, cfg.lora)
    return {name: Parameter(shape, table.places(name)[0]) for name, shape in found.items()}


def held(cfg: Config) -> dict[str, Parameter]:
    """Every parameter of a run: the reference of DPO too, where it is not the model without adapters."""
    found = with_adapters(cfg)
    if not cfg.data.preferences or cfg.lora.rank:
        return found
    return found | {f"{factors.REFERENCE}/{name}": one for name, one in found.items()}


def trained(cfg: Config) -> dict[str, Parameter]:
    """Those that a run trains, at least in part: of which it holds gradients and moments. Raises BadInput."""
    found = with_adapters(cfg)
    of = factors.of_names(found, cfg)
    return {name: one for name, one in found.items() if any(of[name])}


def count(cfg: Config) -> tuple[int, int]:
    """Numbers that a run trains, and all; the rows that pad the vocabulary are left out. Raises BadInput."""
    cfg = dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, pad_vocab_to=1))
    sizes = {name: math.prod(one.shape) for name, one in with_adapters(cfg).items()}
    shares = factors.shares(factors.of_names(sizes, cfg))
    return sum(round(shares[name] * size) for name, size in sizes.items()), sum(sizes.values())


def said(n_trained: int, n_all: int) -> str:
    """How many parameters there are, and how many of them are trained."""
    part = "all" if n_trained == n_all else f"{n_trained:,} ({100 * n_trained / n_all:.3g}%)"
    return f"{n_all:,} parameters, {part} trained"


def up(side: Number, to: int) -> Number:
    return math.ceil(side / to) * to
