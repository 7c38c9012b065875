"""From the shell to the first step of `gptjax train`: nothing cached, then the same again; and what the imports cost.

    python -m benchmarks.start [--config=configs/smoke.py]

Tokens and compiled programs are cached in a temporary folder, so that what the machine holds already does not count.
The command is stopped by SIGKILL once it has shown its first step, which it does as the second begins.
"""

import argparse
import collections
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

from benchmarks.contest import print_machine, print_table

IMPORT = "import gptjax.commands.train"
COLD_S, WARM_S, IMPORT_S = 12.0, 5.0, 1.5  # bars
LARGEST = 5  # packages shown


class Start(NamedTuple):
    opened_s: float  # until the first line, after which the step is compiled or found, and the state made
    first_step_s: float  # until the first step's line


def start(file: str, folder: pathlib.Path, run: str) -> Start:
    """Starts the command with its caches in a folder; seconds since its process was asked for."""
    command = [sys.executable, "-m", "gptjax.cli", "train", f"--config={file}", f"--workdir={folder / run}"]
    caches = {"JAX_COMPILATION_CACHE_DIR": str(folder / "xla")}
    began = time.perf_counter()
    with subprocess.Popen(
        [*command, f"--config.data.cache={folder / 'data'}", "--config.log_every=1"],
        env=os.environ | caches,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        opened_s = None
        for line in process.stdout:
            opened_s = opened_s or time.perf_counter() - began
            if line.startswith("step"):
                process.kill()
                return Start(opened_s, time.perf_counter() - began)
    raise SystemExit(f"{process.args} ended with {process.returncode} before its first step")


def import_seconds(rounds: int) -> float:
    """From the shell until all is imported; the median, after a start that writes the bytecode."""
    found = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        command = [sys.executable, "-c", f"{IMPORT}; print('imported', flush=True)"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            if process.stdout.readline() != "imported\n":
                raise SystemExit(f"{IMPORT} failed")
            found.append(time.perf_counter() - began)
    return statistics.median(found[1:])


def import_shares() -> list[tuple[str, float]]:
    """The packages whose own modules, without what those import, take longest; seconds."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", IMPORT], check=True, capture_output=True, text=True
    )
    found = collections.defaultdict(float)
    for microseconds, package in re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\w+)", done.stderr):
        found[package] += int(microseconds) / 1e6
    return sorted(found.items(), key=lambda item: -item[1])[:LARGEST]


def row(what: str, seconds: float, bar: float | None = None) -> dict[str, object]:
    missed = bar is not None and seconds > bar
    return {"what": what, "seconds": seconds, "bar": bar, "": "MISSED" if missed else ""}


def main() -> None:
    parser = argparse.ArgumentParser(description="how long `gptjax train` takes to its first step")
    parser.add_argument("--config", default="configs/smoke.py", metavar="FILE")
    parser.add_argument("--rounds", type=int, default=3, help="warm starts and imports, of which the median counts")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        cold = start(flags.config, folder, "cold")
        found = [start(flags.config, folder, f"warm-{number}") for number in range(flags.rounds)]
    warm = Start(*(statistics.median(part) for part in zip(*found, strict=True)))
    imported_s = import_seconds(flags.rounds)
    rows = [row("imports", imported_s, IMPORT_S)]
    rows += [row(f"  {package}", seconds) for package, seconds in import_shares()]
    for name, found, bar in (("cold", cold, COLD_S), ("warm", warm, WARM_S)):
        rows.append(row(f"{name}: shell to first step", found.first_step_s, bar))
        rows.append(row("  imports, as above", imported_s))
        rows.append(row("  config, mesh and data", found.opened_s - imported_s))
        rows.append(row("  step and state, then the first step", found.first_step_s - found.opened_s))
    print_table(rows)
    print_machine()


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
