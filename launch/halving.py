"""Successive halving (Jamieson & Talwalkar 2016): all trials a little, the best of them longer, the best of those
longer still. A trial that is promoted goes on from its own checkpoint: nothing is trained twice.
"""

import dataclasses
import math
from collections.abc import Mapping

from gptjax.config import BadInput
from launch.controller import Driver, current
from launch.sweep import LENGTH, Base, Trial
from launch.table import FINAL, State

STEADY = ("constant", "inverse_sqrt")  # schedules that do not know how long the run will be


@dataclasses.dataclass(frozen=True)
class Halving:
    first: int  # n_steps of all trials
    factor: int = 3  # one trial in so many goes on, so many times as long, up to the config's n_steps


def lengths(halving: Halving, base: Base) -> list[int]:
    """The n_steps of each rung; raises BadInput for what cannot be made longer."""
    last = base.cfg.n_steps
    if halving.factor < 2 or not 0 < halving.first < last:
        raise BadInput(f"halving: needs factor >= 2 and 0 < first < n_steps={last}, got {halving}")
    if base.cfg.optim.schedule not in STEADY:
        raise BadInput(
            f"halving: optim.schedule={base.cfg.optim.schedule!r} depends on n_steps, so a longer run would be another "
            f"from its first step; try {STEADY[0]!r}"
        )
    n = math.ceil(math.log(last / halving.first, halving.factor) - 1e-9)
    return [*(halving.first * halving.factor**rung for rung in range(n)), last]


def longer(trial: Trial, steps: int) -> Trial:
    """The same trial, of the same id, up to another `n_steps`."""
    return trial._replace(overrides=(*trial.overrides, f"{LENGTH}={steps}"))


def promoted(driver: Driver, found: Mapping[str, State], factor: int, n_rungs: int) -> Driver:
    """Lets the best trials of each rung that is complete wait again, a rung higher."""
    for rung in range(n_rungs - 1):
        members = [state for state in found.values() if state.rung >= rung]
        if any(state.rung == rung and state.state not in FINAL for state in members):
            break
        for trial in best(found, rung, max(1, len(members) // factor)):
            state = found[trial]
            if state.rung == rung and state.state == "done":
                driver.table.append(trial, state.next("waiting", rung=rung + 1, failures=0, why="promoted"))
        found = current(driver)
    return driver


def best(found: Mapping[str, State], rung: int, n: int) -> list[str]:
    """The n trials with the lowest metric at a rung; ties by id, so that every launcher names the same."""
    values = {trial: state.rungs[rung] for trial, state in found.items() if len(state.rungs) > rung}
    known = [(value, trial) for trial, value in values.items() if value is not None]
    return [trial for _, trial in sorted(known)[:n]]
