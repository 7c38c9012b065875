"""A line that says how far a long piece of work has come."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TimeElapsedColumn


@contextlib.contextmanager
def progress_line(title: str, shown: bool) -> Iterator[Callable[[str], None]]:
    """`show(text)` moves a bar on a terminal and prints a plain line now and then elsewhere; silent for 2 seconds."""
    console = Console(stderr=True, force_terminal=sys.stderr.isatty())  # FORCE_COLOR makes no terminal of a file
    columns = "{task.description}", BarColumn(), "{task.fields[text]}", TimeElapsedColumn()
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task(title, total=None, text="")
    started, next_line = time.monotonic(), 2.0

    def show(text: str) -> None:
        nonlocal next_line
        seconds = time.monotonic() - started
        if shown and seconds >= 2 and bar.console.is_terminal:
            bar.start()
            bar.update(task, text=text)
        elif shown and seconds >= next_line:
            print(f"{title}: {text} in {seconds:.0f} s", file=sys.stderr)
            next_line = seconds + 30

    try:
        yield show
    finally:
        if bar.live.is_started:
            bar.stop()
