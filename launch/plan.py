"""What a sweep would cost: tokens, FLOPs, memory, hours and price of its trials, before anything starts.

Memory and hours are those of `gptjax plan` by formula, for trials of one shape once; hours are the roofline's, AT BEST.
What is not known is None.
"""

import datetime
import json
import pathlib
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gptjax.config import BadInput, Config
from gptjax.planning import flops, topology
from gptjax.planning.topology import Topology
from launch.sweep import Base, Trial

PRICES = pathlib.Path(__file__).with_name("prices.toml")


class Cost(NamedTuple):
    """Of one trial."""

    tokens: int
    flops: float
    memory_bytes: float | None = None  # of a device
    fits: bool | None = None
    chip_hours: float | None = None  # at best


class Plan(NamedTuple):
    """What a sweep would cost, on one kind of machine or, without one, in FLOPs alone."""

    costs: dict[str, Cost]  # by trial
    topology: str | None
    source: str  # of memory: "formula", or "compiled, never run"
    price: float | None  # of a chip for an hour
    price_as_of: str | None

    def total(self, name: str) -> float | None:
        """The sum over trials; None where it is unknown of any."""
        values = [getattr(cost, name) for cost in self.costs.values()]
        return None if None in values else sum(values)

    @property
    def dollars(self) -> float | None:
        """None where the price, or the hours of any trial, are unknown."""
        hours = self.total("chip_hours")
        return None if hours is None or self.price is None else hours * self.price


def make(base: Base, trials: Sequence[Trial], on: str | None, compiling: bool, spot: bool) -> Plan:
    """The plan for a machine that `--topology` names, or without one. Raises BadInput for a config no run could use."""
    asked = None if on is None else topology.parse(on)
    if compiling and asked is None:
        raise BadInput("--compile: name a machine too, such as --topology=v5e:4x4")
    shapes: dict[Any, tuple] = {}
    costs = {}
    for trial in trials:
        cfg = base.config_of(trial)
        if (key := shape(cfg)) not in shapes:
            shapes[key] = of_shape(cfg, asked, compiled(base.file, trial, on) if compiling and on else {})
        per_token, memory, fits, step_s = shapes[key]
        tokens = cfg.n_steps * cfg.batch_tokens
        hours = None if step_s is None or asked is None else cfg.n_steps * step_s / 3600 * asked.n_chips
        costs[trial.id] = Cost(tokens, per_token * tokens, memory, fits, hours)
    price, as_of = (None, None) if asked is None else price_of(asked, spot)
    return Plan(costs, on, "compiled, never run" if compiling else "formula", price, as_of)


def shape(cfg: Config) -> tuple:
    """What memory and time of a step depend on: trials that share it are planned once."""
    o = cfg.optim
    optimizer = o.name, o.momentum_dtype, o.b1 > 0, o.ema_decay > 0
    return cfg.model, cfg.mesh, cfg.batch_tokens, cfg.accumulate, cfg.loss.n_chunks, cfg.data.mask_documents, optimizer


def of_shape(cfg: Config, asked: Topology | None, said: Mapping[str, Any]) -> tuple:
    """FLOPs a token, bytes of a device, whether they fit, seconds of a step."""
    per_token = flops.train_flops_per_token(cfg.model)
    if asked is None:
        return per_token, None, None, None
    if not said:
        from gptjax.commands import plan as formula  # which loads numpy: half of what a status takes

        machine = formula.Machine(asked.text, asked.family.kind, asked.n_devices, asked.n_islands)
        said = formula.figures(cfg, machine, formula.resolve(cfg, asked.n_devices, asked.n_slices), {})
    return per_token, said["memory_bytes"], said["fits"], said["estimate"]["step_s"]


def compiled(file: str, trial: Trial, on: str) -> dict[str, Any]:
    """What `gptjax plan` says of a trial, by the compiler where it is installed."""
    with tempfile.TemporaryDirectory() as folder:
        keys = [f"--config.{override}" for override in trial.overrides]
        words = [f"--config={file}", *keys, f"--topology={on}", f"--json={folder}/plan.json"]
        done = subprocess.run([sys.executable, "-m", "gptjax.cli", "plan", *words], capture_output=True, text=True)
        if done.returncode:
            raise BadInput(f"trial {trial.id}: {done.stderr.strip().removeprefix('gptjax: ') or done.stdout[-300:]}")
        return json.loads(pathlib.Path(f"{folder}/plan.json").read_text())


def price_of(asked: Topology, spot: bool, file: pathlib.Path = PRICES) -> tuple[float | None, str | None]:
    """Dollars for a chip and hour, and the date of the table; None where the table does not say."""
    try:
        table = tomllib.loads(file.read_text())
        rows = {name: row for name, row in table.items() if isinstance(row, dict)}
        if not rows:
            return None, None
        as_of = str(datetime.date.fromisoformat(str(table["as_of"])))
        row = rows.get(asked.text.partition(":")[0].rpartition("*")[2].lower(), {})
        price = row.get("spot" if spot else "on_demand")
        return (None if price is None else float(price)), as_of
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f'{file.name}: not a table of prices with its date as_of = "2026-11-25": {error}') from error


def as_json(plan: Plan, trials: Sequence[Trial]) -> dict[str, Any]:
    """What `--json` writes: the whole sweep, then each trial."""
    return {
        "n_trials": len(trials),
        **{name: plan.total(name) for name in ("tokens", "flops", "chip_hours")},
        "dollars": plan.dollars,
        **{key: getattr(plan, key) for key in ("topology", "source", "price", "price_as_of")},
        "trials": [
            {"id": t.id, "cell": t.cell, "overrides": t.overrides, **plan.costs[t.id]._asdict()} for t in trials
        ],
    }
