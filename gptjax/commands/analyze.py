"""`gptjax analyze`: runs side by side, and means over their seeds: on the screen, as JSON, CSV or Parquet."""

import contextlib
import gc
import importlib.util
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gptjax.analysis import axes, frames, summary, where
from gptjax.analysis.foreign import formats
from gptjax.analysis.frames import Run
from gptjax.analysis.summary import Found
from gptjax.commands import analyze_files, analyze_text
from gptjax.config import BadInput

FOLLOW_S = 2.0  # between two looks at runs that write


class Asked(NamedTuple):
    """The flags of the command, by their names."""

    runs: list[str]
    metric: str | None
    at: str | None
    where: list[str]
    sort: str | None
    group: str | None
    follow: bool
    format: str | None
    diff: bool
    scaling: bool
    budget: list[float]
    json: str | None
    csv: str | None
    parquet: str | None
    html: str | None


def run(asked: Asked) -> int:
    """Prints the tables, and writes what is asked for; raises BadInput."""
    check(asked)
    if asked.follow:
        return follow(asked)
    with uncollected():
        answer(asked)
    return 0


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Without Python's search for cycles of objects, which takes a tenth of the time that many runs take."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def answer(asked: Asked) -> None:
    if asked.diff:
        from gptjax.commands import analyze_diff  # which loads the bootstrap, in half the time that a run takes

        sides = formats.read_each(asked.runs, asked.format)
        analyze_diff.show([fitting(asked, side) for side in sides], asked.json)
        return
    runs = formats.read(asked.runs, asked.format)
    if asked.scaling:
        from gptjax.commands import analyze_scaling  # which loads scipy

        analyze_scaling.show(fitting(asked, runs), asked.budget, asked.json)
        return
    found = look(asked, runs)
    analyze_text.show(found)
    write(asked, found)


def check(asked: Asked) -> None:
    """Refuses what cannot be before anything long is read."""
    if asked.at is not None:
        axes.parse_at(asked.at)
    for text in asked.where:
        where.parse(text)
    if asked.html is not None:
        from gptjax.analysis import report  # which only pages need

        report.plotly()
    if asked.diff and len(asked.runs) != 2:
        raise BadInput(f"--diff compares two, each a run or a quoted glob of several seeds; it has {len(asked.runs)}")
    if asked.budget and not asked.scaling:
        raise BadInput("--budget is what --scaling foretells the best model of; give --scaling too")
    for flag in ("csv", "parquet", "html", "follow", "at") if asked.diff or asked.scaling else ():
        if getattr(asked, flag):
            raise BadInput(f"--{flag} is of the table; --diff and --scaling write --json=FILE")
    if asked.diff and asked.scaling:
        raise BadInput("--diff and --scaling are two answers; ask for one at a time")
    if asked.parquet is not None and importlib.util.find_spec("pyarrow") is None:
        raise BadInput("--parquet needs the package pyarrow: pip install 'gptjax[analysis]'")


def fitting(asked: Asked, runs: Sequence[Run]) -> list[Run]:
    return where.kept(runs, [where.parse(text) for text in asked.where])[0]


def look(asked: Asked, runs: Sequence[Run]) -> Found:
    chosen, unknown = where.kept(runs, [where.parse(text) for text in asked.where])
    notes = [f"{n:,} runs do not say {field}" for field, n in unknown.items()]
    if len(chosen) < len(runs):
        notes.append(f"{len(chosen):,} of {len(runs):,} runs fit --where")
    metric = summary.metric_of(chosen or runs, asked.metric)
    if (unranked := summary.unranked(chosen, metric)) is not None:
        notes.append(unranked)
    rows, at = summary.rows(chosen, metric, None if asked.at is None else axes.parse_at(asked.at))
    if asked.at is not None and at is None:
        notes.append(f"--at={asked.at}: of no run with {metric} is it known where it lies on that axis")
    made = summary.groups(rows, group_keys(asked, chosen), metric, at)
    if asked.group is None and all(group.n + sum(group.left_out.values()) < 2 for group in made):
        made = []
    return Found(metric, at, where.ordered(rows, asked.sort) if asked.sort else rows, made, notes)


def group_keys(asked: Asked, runs: Sequence[Run]) -> list[str]:
    """Those asked for, or all that differ but the seed."""
    if asked.group is None:
        return [key for key in summary.differing(runs) if key != summary.SEED]
    keys = [key for key in asked.group.split(",") if key]
    known = list(dict.fromkeys(key for run in runs for key in run.config))
    for key in keys:
        if key not in known:
            raise summary.no_such("--group", key, known)
    return keys


def follow(asked: Asked) -> int:
    """Looks again every FOLLOW_S seconds, until no run is running any more, or somebody presses Ctrl-C."""
    with analyze_text.Live() as screen:
        reader = frames.Reader(asked.runs)
        while True:
            found = look(asked, reader.read())
            screen.show(found)
            write(asked, found)
            if all(row.run.status != "running" for row in found.rows):
                return 0
            try:
                time.sleep(FOLLOW_S)
            except KeyboardInterrupt:
                return 0


def write(asked: Asked, found: Found) -> None:
    for flag in ("json", "csv", "parquet", "html"):
        if (file := getattr(asked, flag)) is not None:
            analyze_files.write(flag, file, found)
