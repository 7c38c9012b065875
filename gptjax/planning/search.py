"""Layouts of a config on a machine, by formula: which fit, and which of those is fastest at best."""

from collections.abc import Iterator
from typing import NamedTuple

from gptjax import config
from gptjax.config import BadInput, Config
from gptjax.planning import flops, memory, roofline
from gptjax.planning.memory import Memory, Ways
from gptjax.planning.roofline import Roofline
from gptjax.planning.topology import Topology

USABLE = 0.9  # of a chip's memory: the formula misses by a tenth or so (docs/plan.md); compile what is chosen


class Choice(NamedTuple):
    cfg: Config
    ways: Ways
    memory: Memory
    roofline: Roofline
    overrides: tuple[str, ...]  # what to add to the command line

    @property
    def seconds_a_token(self) -> tuple[float, float]:
        """What choices are ranked by: the binding resource's time, then that of all together."""
        known = [value for value in self.roofline if value is not None]
        return max(known) / self.cfg.batch_tokens, sum(known) / self.cfg.batch_tokens


def best(cfg: Config, on: Topology, n: int = 5) -> list[Choice]:
    """The fastest choices that fit, best first; raises BadInput where none does."""
    if on.chip is None:
        raise BadInput(
            f"--topology={on.text}: the memory and rates of this chip are not known, so nothing can be searched"
        )
    found = list(choices(cfg, on))
    fitting = [one for one in found if one.memory.total <= USABLE * on.chip.hbm_bytes]
    if not fitting:
        least = min((one.memory.total for one in found), default=None)
        why = "no mesh divides the model" if least is None else f"the least is {least / 2**30:.1f} GiB a device"
        raise BadInput(f"--topology={on.text}: nothing fits: {why}; try more chips or a smaller model.context")
    return sorted(fitting, key=lambda one: one.seconds_a_token)[:n]


def choices(cfg: Config, on: Topology) -> Iterator[Choice]:
    """Every layout of the small grid, each with the batch nearest to the config's that it can deal."""
    for ways in meshes(cfg, on):
        dealt = ways.replica * ways.data
        for remat in ("none", "dots", "full"):
            for accumulate in (1, 2, 4, 8, 16, 32):
                rows = max(1, round(cfg.batch_size / dealt / accumulate)) * dealt * accumulate
                if rows > max(cfg.batch_size, dealt) * 2:
                    continue
                values = {
                    "batch_tokens": rows * cfg.model.context,
                    "accumulate": accumulate,
                    "model.remat": remat,
                    "loss.n_chunks": chunks(cfg),
                    **{f"mesh.{axis}": size for axis, size in ways._asdict().items()},
                }
                yield choice(cfg, values, ways, on)


def choice(cfg: Config, values: dict, ways: Ways, on: Topology) -> Choice:
    old = config.flatten(config.to_dict(cfg))
    nested = config.to_dict(cfg)
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        (nested[section] if section else nested)[name] = value
    new = config.from_dict(nested)
    overrides = tuple(f"--config.{key}={value}" for key, value in values.items() if old[key] != value)
    bound = roofline.bound(new, ways, on.chip, roofline.traffic(new, ways, on.n_islands))
    return Choice(new, ways, memory.estimate(new, ways, on.family.kind), bound, overrides)


def meshes(cfg: Config, on: Topology) -> Iterator[Ways]:
    """Meshes that divide the model: replicas between slices or hosts, or `data` over all; tensor up to 8."""
    m = cfg.model
    for replica in sorted({on.n_slices, on.n_islands}):
        for tensor in (1, 2, 4, 8):
            data, left = divmod(on.n_devices, replica * tensor)
            heads = m.n_heads % tensor == 0 and m.n_kv_heads % tensor == 0
            widths = m.d_hidden % tensor == 0 and m.padded_vocab % tensor == 0
            if not left and heads and widths and m.d_model % data == 0:
                yield Ways(replica, data, tensor, 1)


def chunks(cfg: Config) -> int:
    """Of the loss: 8 or the config's, so that logits are not what fills the memory."""
    return 8 if cfg.loss.n_chunks < 8 and cfg.model.context % 8 == 0 else cfg.loss.n_chunks


def mfu(one: Choice, on: Topology) -> float | None:
    """Of the choice, if it took no longer than its binding resource."""
    if one.roofline.step_s is None or on.chip is None:
        return None
    work = flops.train_flops_per_token(one.cfg.model) * one.cfg.batch_tokens
    return work / (on.n_devices * on.chip.peak_flops) / one.roofline.step_s
