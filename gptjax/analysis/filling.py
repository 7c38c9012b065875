"""Logs that nobody has read yet, read by as many processes as there are processors, of which each keeps what it reads
(kept.py). Whoever reads them then finds it kept; where a process fails, or nothing can be kept, he reads the log.

    python -m gptjax.analysis.filling        paths on stdin, with a NUL between them; on stdout the bytes of each log
"""

import contextlib
import importlib.util
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

from gptjax.analysis import kept
from gptjax.analysis.lines import PATIENCE, Parser
from gptjax.analysis.logs import SMALL, Log

LEAST = 2**25  # bytes for a process: they take about as long to read as it takes to start


def ahead(logs: Sequence[str]) -> None:
    """Reads those local logs that are not kept, where that is sooner done by more than one process."""
    sizes = {log: size for log in logs if (size := unread(log)) >= SMALL}
    n = min(os.cpu_count() or 1, sum(sizes.values()) // LEAST, len(sizes))
    if n < 2 or importlib.util.find_spec("polars") is None:
        return
    from gptjax.progress import progress_line  # which loads rich

    longest = sorted(sizes, key=lambda log: -sizes[log])
    told, tell = os.pipe()
    workers = [started(longest[first::n], tell) for first in range(n)]
    os.close(tell)
    done = 0
    with open(told) as lines, progress_line("reading logs", True) as show:
        for line in lines:
            done += int(line) if line.strip().isdecimal() else 0  # a start-up file of Python's may say anything
            show(f"{done / 1e6:,.0f} of {sum(sizes.values()) / 1e6:,.0f} MB")
    for worker in workers:
        worker.wait()


def started(logs: Sequence[str], tell: int) -> subprocess.Popen:
    root = str(pathlib.Path(__file__).parents[2])
    environment = os.environ | {
        "POLARS_MAX_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    command = [sys.executable, "-P", "-m", "gptjax.analysis.filling"]  # or it would import what lies in this folder
    worker = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=tell, stderr=subprocess.DEVNULL)
    assert worker.stdin is not None
    with contextlib.suppress(BrokenPipeError), worker.stdin as paths:  # one that has ended leaves its logs to others
        paths.write(b"\0".join(map(os.fsencode, logs)))
    return worker


def unread(log: str) -> int:
    """The bytes of a local log that has been written to since it was kept, if ever; 0 of any other."""
    try:
        found = os.stat(log)
    except OSError:
        return 0
    with contextlib.suppress(OSError):
        if os.stat(kept.file_of(os.path.abspath(log), 0)).st_mtime_ns > found.st_mtime_ns:
            return 0
    return found.st_size


def main() -> None:
    parse = Parser()
    parse.read = PATIENCE
    for path in filter(None, sys.stdin.buffer.read().split(b"\0")):
        log = Log(os.fsdecode(path))
        with contextlib.suppress(OSError):  # which the reader tells
            log.read_on(parse)
            os.write(1, f"{os.path.getsize(log.path)}\n".encode())  # whole, beside what the others write


if __name__ == "__main__":
    main()
