"""Reading runs: `read(names)` gives each of them with its series, its sessions and its state.

A run that is damaged is read as far as it can be, and tells what was left out of it (`left_out`, `notes`).
"""

import collections
import concurrent.futures
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gptjax.analysis import filling, kept, places, rows
from gptjax.analysis.lines import Parser
from gptjax.analysis.logs import Log
from gptjax.analysis.rows import Rows, joined
from gptjax.analysis.run import Run, Series, Session, counted

__all__ = ["Reader", "Run", "Series", "Session", "counted", "of_objects", "read"]


class Reader:
    """Reads the same names again and again: what runs have written since, and new runs."""

    def __init__(self, names: Sequence[str]):
        self.names, self.parse = names, Parser()
        self.logs: dict[str, Log] = {}
        self.segments: dict[str, tuple[Rows, collections.Counter[str]]] = {}  # of stores, which never change them

    def read(self) -> list[Run]:
        """All of them as they are now. Raises BadInput for a name without runs."""
        paths = list(dict.fromkeys(path for name in self.names for path in places.runs(name)))
        if not self.logs:
            filling.ahead([file for path in paths if "://" not in path for file in places.files(path, "metrics")])
        with concurrent.futures.ThreadPoolExecutor(min(len(paths), os.cpu_count() or 1)) as pool:  # polars lets go
            runs = list(pool.map(self.run, places.told_apart(paths), paths))
        kept.make_room()
        return runs

    def run(self, name: str, path: str) -> Run:
        """One of them; whatever cannot be read becomes a note, and nothing is raised."""
        header, notes = places.header(path)
        files = places.files(path, "metrics")
        found: list[Rows] = []
        left_out: collections.Counter[str] = collections.Counter()
        for file in files:
            try:
                parts = self.of_store(file) if "://" in file else self.of_disk(file)
            except OSError as error:
                notes.append(f"{file} cannot be read: {error.strerror or error}")
                continue
            for read, counts in parts:
                found.append(read)
                left_out += counts
        if n := places.missing(files):
            notes.append(f"{n:,} segments of the log are missing")
        if not files:
            notes.append("there is no metrics.jsonl")
        return Run(name, path, header, joined(found), left_out, tuple(notes), places.age_s(path), places.locked(path))

    def of_disk(self, file: str) -> list[tuple[Rows, collections.Counter[str]]]:
        log = self.logs.setdefault(file, Log(file))
        log.read_on(self.parse)
        return [(part.rows, part.left_out) for part in log.parts]

    def of_store(self, file: str) -> list[tuple[Rows, collections.Counter[str]]]:
        if file not in self.segments:
            self.segments[file] = self.parse(places.content(file))
        return [self.segments[file]]


def read(names: Sequence[str]) -> list[Run]:
    """The runs that the names name: run directories, folders of runs, globs; local, gs://, s3:// or memory://.

    Raises BadInput for a name that leads to no run.
    """
    return Reader(names).read()


def of_objects(
    name: str, path: str, objects: Iterable[Mapping[str, Any]], config: Mapping[str, Any] | None = None
) -> Run:
    """A run of another format: `objects` are as the lines of metrics.jsonl, `config` is nested."""
    found, left_out = rows.of_objects(objects)
    return Run(name, path, {"config": dict(config)} if config else {}, found, left_out)
