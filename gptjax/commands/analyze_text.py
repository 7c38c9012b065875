"""How `gptjax analyze` reads on a terminal; plain columns elsewhere."""

import collections
import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import rich.live
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from gptjax.analysis import where
from gptjax.analysis.frames import Run, counted
from gptjax.analysis.summary import Found, Row, number

MOST_ROWS = 60  # on a terminal; a pipe and the files have all
MOST_NOTES = 10
STYLES = {"diverged": "red", "stale": "yellow", "running": "green"}


def show(found: Found) -> None:
    console = screen()
    console.print(page(found, MOST_ROWS if console.is_terminal else None))


class Live:
    """Draws the page again and again: in place on a terminal, one after another elsewhere."""

    def __init__(self):
        self.console = screen()
        self.live = rich.live.Live(console=self.console, auto_refresh=False)

    def __enter__(self) -> "Live":
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def show(self, found: Found) -> None:
        if self.console.is_terminal:
            self.live.update(page(found, max(4, self.console.height - 12)), refresh=True)
        else:
            self.console.print(page(found, None))


def screen() -> Console:
    """Whole lines where nobody looks at a terminal, however long."""
    width = None if sys.stdout.isatty() else 2000
    return Console(width=width, highlight=False, markup=False, emoji=False, soft_wrap=width is not None)


def page(found: Found, most: int | None) -> RenderableType:
    parts: list[RenderableType] = []
    if found.groups:
        parts.append(group_table(found, most))
    parts.append(run_table(found, most))
    parts += [Text(line) for line in below(found, most)]
    return Group(*parts)


def run_table(found: Found, most: int | None) -> Table:
    has = lambda name: any(getattr(row, name) is not None for row in found.rows)
    metric = found.metric
    head = ["run", *found.keys, "step", "tokens", f"final {metric}", "best", "of step"]
    head += [f"at {found.at}"] if found.at else []
    also = [name for name in ("tokens_per_s", "mfu", "goodput") if has(name)]
    made = columns(head + [{"tokens_per_s": "tokens/s", "mfu": "MFU"}.get(name, name) for name in also] + ["status"])
    for row in found.rows[:most]:
        best = ("", "") if row.best is None else (value(row.best[0]), f"{row.best[1]:,}")
        cells = [plain(row.run.name), *(of_config(row, key) for key in found.keys)]
        cells += [number(row.run.last_step), number(row.tokens)]
        cells += [value(row.final[metric]) if metric in row.final else "", *best]
        cells += [at_cell(row)] if found.at else []
        cells += [number(row.tokens_per_s)] if "tokens_per_s" in also else []
        cells += [percent(getattr(row, name)) for name in ("mfu", "goodput") if name in also]
        style = STYLES[row.run.status] if row.run.status in STYLES else ""
        made.add_row(*cells, Text(row.run.status, style=style))
    return made


def group_table(found: Found, most: int | None) -> Table:
    keys = list(dict.fromkeys(key for group in found.groups for key in group.config))
    mean = f"mean {found.metric}" + (f" at {found.at}" if found.at else "")
    made = columns([*(keys or ["all runs"]), "n", mean, "95% interval", "left out"])
    for group in found.groups[:most]:
        cells = [config_cell(group.config, key) for key in keys] or [""]
        bounds = "" if group.interval is None else " to ".join(map(value, group.interval))
        cells += [str(group.n), "" if group.mean is None else value(group.mean), bounds, counted(group.left_out)]
        made.add_row(*cells)
    return made


def below(found: Found, most: int | None) -> Iterator[str]:
    """What the tables do not say."""
    if most is not None and len(found.rows) > most:
        yield f"... and {len(found.rows) - most:,} more runs (--json=FILE has all, and so has a pipe)"
    count = collections.Counter(row.run.status for row in found.rows)
    yield f"{len(found.rows):,} runs: {counted(count) or 'none'}"
    if found.at is not None and any(row.at is not None and row.at.interpolated for row in found.rows):
        yield f"~ is interpolated: on the straight line between the entries before and after {found.at}"
    yield from found.notes
    told = [line for row in found.rows for line in of_run(row.run)]
    yield from told[: MOST_NOTES if most is not None else None]
    if most is not None and len(told) > MOST_NOTES:
        yield f"... and {len(told) - MOST_NOTES:,} more such lines (a pipe has all)"


def of_run(run: Run) -> Iterator[str]:
    name = plain(run.name)
    if run.left_out:
        yield f"{name}: left out: {counted(run.left_out)}"
    if run.redone:
        yield f"{name}: {run.redone:,} steps were done again; the last line of each counts"
    yield from (f"{name}: {note}" for note in run.notes)


def columns(names: Sequence[str]) -> Table:
    terminal = sys.stdout.isatty()
    made = Table(box=box.SIMPLE_HEAD if terminal else None, pad_edge=False)
    for name in names:
        made.add_column(Text(plain(name)), no_wrap=not terminal, overflow="fold")
    return made


def at_cell(row: Row) -> str:
    return "" if row.at is None else ("~" if row.at.interpolated else "") + value(row.at.value)


def of_config(row: Row, key: str) -> str:
    return config_cell(row.config, key)


def config_cell(config: dict[str, Any], key: str) -> str:
    return plain(where.spelled(config[key])) if key in config else ""


def value(found: float) -> str:
    return f"{found:.4f}" if 1e-3 <= abs(found) < 1e5 or found == 0 else f"{found:.4g}"


def percent(part: float | None) -> str:
    return "" if part is None or not math.isfinite(part) else f"{part:.1%}"


def plain(text: str) -> str:
    """A run's own words, with what would move a cursor or end a line spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
