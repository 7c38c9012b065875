"""How `gptjax analyze` reads: tables on a terminal, plain columns elsewhere."""

import collections
import math
import re
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from gptjax.analysis import trouble, where
from gptjax.analysis.axes import number
from gptjax.analysis.frames import Run, counted
from gptjax.analysis.summary import Found, Row

MOST_ROWS = 60  # on a terminal; a pipe and the files have all
MOST_NOTES = 10
MOST_TROUBLE = 20
LOOKED_THROUGH = 50  # runs: some milliseconds each
FIRST_TO_GO = ("goodput", "MFU", "tokens/s", "of step", "best", "tokens", "left out", "step")  # from a narrow terminal
STYLES = {"diverged": "red", "stale": "yellow", "running": "green"}


class Sheet(NamedTuple):
    """A table of words."""

    head: list[str]
    rows: list[list[str]]


def show(found: Found) -> None:
    """Prints it once: tables on a terminal, and lines that other programs can read elsewhere."""
    if sys.stdout.isatty():
        console = screen()
        console.print(page(found, MOST_ROWS, console.width))
    else:
        sys.stdout.writelines(line + "\n" for line in lines(found))


class Live:
    """Draws the page again and again: in place on a terminal, one after another elsewhere."""

    def __init__(self):
        self.live = None

    def __enter__(self) -> "Live":
        if sys.stdout.isatty():
            import rich.live

            self.live = rich.live.Live(console=screen(), auto_refresh=False)
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()

    def show(self, found: Found) -> None:
        """Draws over what was shown before, on a terminal."""
        if self.live is None:
            show(found)
            sys.stdout.flush()
        else:
            size = self.live.console.size
            self.live.update(page(found, max(4, size.height - 12), size.width), refresh=True)


def screen():
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def page(found: Found, most: int, width: int):
    """What a terminal of so many columns shows."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts, missing = [], []
    for sheet in sheets(found, most):
        sheet, dropped = fitted(sheet, width, [plain(key) for key in found.keys])
        missing += [name for name in dropped if name not in missing]
        made = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
        for place, name in enumerate(sheet.head):  # titles take several lines, so that numbers need not
            words = place == 0 or "." in name or name == "left out"
            title = Text("\n".join(words_of(name)))
            made.add_column(title, overflow="fold", no_wrap=not words, min_width=4)
        for cells in sheet.rows:
            made.add_row(*(Text(cell, style=STYLES[cell] if cell in STYLES else "") for cell in cells))
        parts.append(made)
        parts.append(Text())
    if missing:
        parts.append(Text(f"no room for: {', '.join(missing)} (a pipe and the files have all)"))
    return Group(*parts, *(Text(line) for line in below(found, most)))


def fitted(sheet: Sheet, width: int, keys: list[str]) -> tuple[Sheet, list[str]]:
    """The sheet without what a terminal has no room for, and the names of what it lacks.

    First go those of FIRST_TO_GO, then keys that tell no two rows apart that an earlier key does not, then the last
    keys; never the run, the metric and the status.
    """
    here = [key for key in keys if key in sheet.head]
    idle = [key for place, key in enumerate(here) if any(adds_nothing(sheet, key, k) for k in here[:place])]
    dropped = []
    for name in (*FIRST_TO_GO, *reversed(idle), *reversed([key for key in here if key not in idle])):
        wide = [
            max(map(len, [*words_of(head), *column])) for head, *column in zip(sheet.head, *sheet.rows, strict=True)
        ]
        if sum(wide) + 2 * len(wide) <= width:
            break
        if name in sheet.head:
            place = sheet.head.index(name)
            without = lambda cells, place=place: [*cells[:place], *cells[place + 1 :]]
            sheet = Sheet(without(sheet.head), [without(cells) for cells in sheet.rows])
            dropped.append(name)
    return sheet, dropped


def adds_nothing(sheet: Sheet, key: str, earlier: str) -> bool:
    """Whether a column tells no two rows apart that an earlier one does not."""
    cells, before = ([row[sheet.head.index(name)] for row in sheet.rows] for name in (key, earlier))
    return len(set(zip(before, cells, strict=True))) == len(set(before))


def words_of(title: str) -> list[str]:
    """The lines of a title: numbers have the width, so that they are never broken."""
    return re.sub(r" |(?<=\.)", "\n", title).split("\n")


def lines(found: Found) -> Iterator[str]:
    """What everything else is given: all rows, in columns two spaces apart."""
    for sheet in sheets(found, None):
        widths = [max(map(len, column)) for column in zip(sheet.head, *sheet.rows, strict=True)]
        for cells in (sheet.head, *sheet.rows):
            yield "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
    yield from below(found, None)


def sheets(found: Found, most: int | None) -> list[Sheet]:
    return [*([of_groups(found, most)] if found.groups else []), of_runs(found, most)]


def of_runs(found: Found, most: int | None) -> Sheet:
    metric, keys = found.metric, found.keys
    also = [
        name for name in ("tokens_per_s", "mfu", "goodput") if any(getattr(row, name) is not None for row in found.rows)
    ]
    titles = {"tokens_per_s": "tokens/s", "mfu": "MFU", "goodput": "goodput"}
    head = ["run", *keys, "step", "tokens", f"final {metric}", "best", "of step"]
    head += [f"at {found.at}"] if found.at else []
    head += [*(titles[name] for name in also), "status"]
    made = Sheet([plain(name) for name in head], [])
    for row in found.rows[:most]:
        best = ("", "") if row.best is None else (value(row.best[0]), f"{row.best[1]:,}")
        cells = [plain(row.run.name), *(config_cell(row.config, key) for key in keys)]
        cells += [number(row.run.last_step), number(row.tokens)]
        cells += [value(row.final[metric]) if metric in row.final else "", *best]
        cells += [at_cell(row)] if found.at else []
        cells += [number(row.tokens_per_s) if name == "tokens_per_s" else percent(getattr(row, name)) for name in also]
        made.rows.append([*cells, row.run.status])
    return made


def of_groups(found: Found, most: int | None) -> Sheet:
    keys = list(dict.fromkeys(key for group in found.groups for key in group.config))
    mean = f"mean {found.metric}" + (f" at {found.at}" if found.at else "")
    made = Sheet([plain(name) for name in (*(keys or ["all runs"]), "n", mean, "95% interval", "left out")], [])
    for group in found.groups[:most]:
        cells = [config_cell(group.config, key) for key in keys] or [""]
        bounds = "" if group.interval is None else " to ".join(map(value, group.interval))
        mean = "" if group.mean is None else value(group.mean)
        made.rows.append([*cells, str(group.n), mean, bounds, counted(group.left_out)])
    return made


def below(found: Found, most: int | None) -> Iterator[str]:
    """What the tables do not say."""
    if most is not None and len(found.rows) > most:
        yield f"... and {len(found.rows) - most:,} more runs (--json=FILE has all, and so has a pipe)"
    count = collections.Counter(row.run.status for row in found.rows)
    yield f"{len(found.rows):,} runs: {counted(count) or 'none'}"
    if found.at is not None and any(row.at is not None and row.at.interpolated for row in found.rows):
        yield f"~ is interpolated: on the straight line between the entries before and after {found.at}"
    yield from map(plain, found.notes)
    told = [line for row in found.rows for line in of_run(row.run)]
    yield from told[: MOST_NOTES if most is not None else None]
    if most is not None and len(told) > MOST_NOTES:
        yield f"... and {len(told) - MOST_NOTES:,} more such lines (a pipe has all)"
    wrong = [(row.run, one) for row in found.rows[:LOOKED_THROUGH] for one in trouble.find(row.run)]
    for run, one in wrong[: MOST_TROUBLE if most is not None else None]:
        yield f"{plain(run.path)}, step {one.step:,}: {one.kind}: {plain(one.text)}"
    if most is not None and len(wrong) > MOST_TROUBLE:
        yield f"... and {len(wrong) - MOST_TROUBLE:,} more findings (--html=FILE and a pipe have all)"
    if len(found.rows) > LOOKED_THROUGH:
        yield f"trouble was looked for in the first {LOOKED_THROUGH} runs; --where chooses others, --html=FILE has all"


def of_run(run: Run) -> Iterator[str]:
    name = plain(run.name)
    if run.left_out:
        yield f"{name}: left out: {counted(run.left_out)}"
    if run.redone:
        yield f"{name}: {run.redone:,} steps were done again; the last line of each counts"
    yield from (f"{name}: {plain(note)}" for note in (*run.notes, *run.oddities))


def at_cell(row: Row) -> str:
    return "" if row.at is None else ("~" if row.at.interpolated else "") + value(row.at.value)


def config_cell(config: dict[str, Any], key: str) -> str:
    return plain(where.spelled(config[key])) if key in config else ""


def value(found: float) -> str:
    return f"{found:.4f}" if 1e-3 <= abs(found) < 1e5 or found == 0 else f"{found:.4g}"


def percent(part: float | None) -> str:
    return "" if part is None or not math.isfinite(part) else f"{part:.1%}"


def plain(text: str) -> str:
    """A run's own words, with what would move a cursor or end a line spelled out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
