"""How a sweep reads on a terminal: its plan, its trials, their means over seeds."""

import collections
import json
import math
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from gptjax.analysis import seeds
from launch import halving, results
from launch.batch import Batch, Place
from launch.controller import Driver
from launch.plan import Plan
from launch.sweep import Base, Sweep, Trial, axes
from launch.table import STATES, State

MOST_ROWS = 60  # of a table; --json has all
ID_WIDTH = 12  # of a trial's
GIB = 2**30


def console() -> Console:
    """As wide as the terminal; elsewhere 160 columns, where no line is folded."""
    return Console(width=None if sys.stdout.isatty() else 160, highlight=False, soft_wrap=not sys.stdout.isatty())


def plan(found: Plan, trials: Sequence[Trial]) -> RenderableType:
    """A row for each trial; what all of them share is said once, below it, and the sum over them."""
    keys, titles = axes(trials), ["tokens", "FLOPs", *(["GiB/chip", "fits", "chip-h"] if found.topology else [])]
    rows = [costs(found, trial)[: len(titles)] for trial in trials]
    same = [place for place in range(len(titles)) if len({row[place] for row in rows}) == 1]
    differ = [place for place in range(len(titles)) if place not in same]
    table = rows_table("trial", *keys, *(titles[place] for place in differ))
    for trial, row in list(zip(trials, rows, strict=True))[:MOST_ROWS]:
        table.add_row(trial.id, *cells(trial, keys), *(row[place] for place in differ))
    each = ", ".join(f"{titles[place]} {rows[0][place] or '(unknown)'}" for place in same)
    total = [
        f"{len(trials):,} trials",
        f"{number(found.total('tokens'))} tokens",
        f"{number(found.total('flops'))} FLOPs",
    ]
    if found.topology:
        worst = max((cost.memory_bytes or math.inf for cost in found.costs.values()), default=None)
        total += [f"at most {number(worst and worst / GIB)} GiB a chip ({found.source})"]
        total += [f"{number(found.total('chip_hours'))} chip-hours AT BEST on {found.topology}"]
    if found.price is not None:
        total += [f"${number(found.dollars)} at ${found.price} a chip and hour (prices.toml of {found.price_as_of})"]
    before = left_out(len(trials)) + (f"each trial: {each}\n" if each else "")
    return Group(table, Text(before + ", ".join(total)))


def costs(found: Plan, trial: Trial) -> list[str]:
    cost = found.costs[trial.id]
    of_machine = [number(cost.memory_bytes and cost.memory_bytes / GIB), known(cost.fits), number(cost.chip_hours)]
    return [number(cost.tokens), number(cost.flops), *of_machine]


def unknown(found: Plan, settings: Any) -> list[str]:
    """What the plan leaves blank, and what would fill it."""
    lines = []
    if not found.topology:
        lines.append("memory, hours and price: add --topology=v5e:4x4, the machine of one trial")
    elif found.price is None:
        lines.append(f"no price: launch/prices.toml has none for {found.topology.partition(':')[0]}; edit it")
    named = [key for key in ("accelerator", "accelerators") if hasattr(settings, key)]
    if named and not getattr(settings, named[0]):
        lines.append(f"machines WITHOUT accelerators: no --on.{named[0]} is named")
    return lines


def specs(driver: Driver, trials: Sequence[Trial]) -> None:
    """Prints, word for word, what the engine would be told of each trial; on a terminal of one, to be read."""
    place, given = driver.place, (driver.max_failures, driver.metric)
    made = Batch(f"{place.sweep}-00000000", place, driver.config, trials, *given)
    files = driver.engine.render(made, driver.settings[driver.on])
    shown = 1 if sys.stdout.isatty() else len(files)
    for name, text in list(files.items())[:shown]:
        print(f"\n# {name}\n{text}", end="")
    if len(files) > shown:
        print(f"\n... and {len(files) - shown:,} more such (a pipe has all; --trial=ID shows one)")


def chosen(made: Sweep, base: Base, n_trials: int) -> list[str]:
    """What a search or a promotion makes of the sweep."""
    if made.search is not None:
        return [f"up to {made.search.n_trials} such trials, chosen by {made.search.sampler}; {n_trials} so far"]
    if made.halving is None:
        return []
    lengths, n, before, total, parts = halving.lengths(made.halving, base), n_trials, 0, 0, []
    for steps in lengths:
        parts.append(f"{n} to step {steps}")
        total, before, n = total + n * (steps - before), steps, max(1, n // made.halving.factor)
    return [f"promotes {', '.join(parts)}: {total * base.cfg.batch_tokens:,} tokens in all, less than the table's"]


def status(trials: Sequence[Trial], states: Mapping[str, State], place: Place, metric: str) -> RenderableType:
    """Best first: done, then running, then the rest in the sweep's order."""
    found = outcome(trials, states, place, metric)
    keys = axes(trials)
    table = rows_table("trial", *keys, "state", "starts", "step", metric, "")
    for row in sorted(found, key=lambda row: rank(row, metric))[:MOST_ROWS]:
        own = [str(row["cell"].get(key, "")) for key in keys]
        value = number(results.number(row["result"], metric), 6)
        why = "" if row["state"] == "done" else row["why"]
        step = str(row["result"].get("step", row["saved"] or ""))
        table.add_row(row["id"], *own, row["state"], str(row["attempt"] or ""), step, value, why)
    count = collections.Counter(state.state for state in states.values())
    counted = ", ".join(f"{count[state]} {state}" for state in STATES if count[state])
    parts = [table, Text(f"{left_out(len(trials))}{len(trials):,} trials: {counted}")]
    if means := over_seeds(found, keys, metric):
        averages = rows_table(*[key for key in keys if key != "seed"], f"mean {metric}", "95% interval", "n")
        for row in means[:MOST_ROWS]:
            averages.add_row(*row)
        parts = [averages, *parts]
    return Group(*parts)


def outcome(trials: Sequence[Trial], states: Mapping[str, State], place: Place, metric: str) -> list[dict[str, Any]]:
    """One row a trial, as JSON has it. A trial that is under way has the newest numbers of its log."""
    rows = []
    for trial in trials:
        state = states[trial.id]
        result = state.result
        if state.state == "running" or state.state != "done" and state.saved:
            result = results.last(place.workdir(trial.id), metric)
        row = {"id": trial.id, "cell": trial.cell, "state": state.state, "attempt": state.attempt, "saved": state.saved}
        rows.append(row | {"code": state.code, "why": state.why, "result": result})
    return rows


def rank(row: Mapping[str, Any], metric: str) -> tuple[bool, float]:
    value = results.number(row["result"], metric)
    return row["state"] != "done", math.inf if value is None else value


def over_seeds(found: Sequence[Mapping[str, Any]], keys: Sequence[str], metric: str) -> list[list[str]]:
    """Mean and 95 % interval (Student's) over the seeds of each cell that are done, best first."""
    if "seed" not in keys:
        return []
    groups: dict[str, list[float]] = collections.defaultdict(list)
    for row in found:
        value = results.number(row["result"], metric)
        if row["state"] == "done" and value is not None:
            groups[json.dumps([str(row["cell"].get(key, "")) for key in keys if key != "seed"])].append(value)
    means = sorted((statistics.fmean(values), json.loads(cell), values) for cell, values in groups.items())
    return [[*cell, f"{mean:.4f}", interval(values), str(len(values))] for mean, cell, values in means]


def interval(values: Sequence[float]) -> str:
    bounds = seeds.interval(values)
    return "" if bounds is None else f"{bounds[0]:.4f} to {bounds[1]:.4f}"


def rows_table(*columns: str) -> Table:
    """A table whose titles take several lines on a terminal, and whose first column is never cut: IDs are typed."""
    table, lines = Table(box=box.SIMPLE_HEAD, pad_edge=False), sys.stdout.isatty()
    for column in columns:
        title = re.sub(r" |(?<=[./])", "\n", column) if lines else column
        table.add_column(Text(title), no_wrap=True, min_width=ID_WIDTH if column == "trial" else None)
    return table


def cells(trial: Trial, keys: Sequence[str]) -> list[str]:
    return [str(trial.cell.get(key, "")) for key in keys]


def left_out(n: int) -> str:
    return f"... and {n - MOST_ROWS:,} more (--json=FILE has all)\n" if n > MOST_ROWS else ""


def number(value: float | None, digits: int = 4) -> str:
    """Blank where it is unknown."""
    return "" if value is None else f"{value:,}" if isinstance(value, int) and value < 1e7 else f"{value:.{digits}g}"


def known(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "NO"
