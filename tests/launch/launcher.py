"""`python -m launch` whose trials are tests/launch/trainer.py; also what the tests say of a sweep's end."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from launch import __main__, batch, controller, local
from launch.table import State, Table

TRAINER = pathlib.Path(__file__).with_name("trainer.py")
SWEEP = """
from launch.sweep import Sweep, product, seeds
SWEEP = Sweep(config="configs/base.py", cells={cells}, max_failures={max_failures}, engines={engines})
"""


def trainer_words(made: batch.Batch, trial, python: str = sys.executable) -> list[str]:
    keys = [f"--config.{override}" for override in trial.overrides]
    return [python, "-S", "-E", str(TRAINER), *keys, *batch.workdir_word(made, trial)]


def fake(monkeypatch) -> None:
    """Trials of this process's launchers are the stand-in."""
    monkeypatch.setattr(local, "train_words", trainer_words)
    monkeypatch.setitem(controller.LEAST_POLL_S, "local", 0.02)


def write(folder: pathlib.Path, cells: str, max_failures: int = 3, name: str = "question", **settings) -> str:
    """An experiment's sweep.py."""
    file = folder / name / "sweep.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(SWEEP.format(cells=cells, max_failures=max_failures, engines={"local": settings}))
    return str(file)


def states(runs: pathlib.Path, name: str = "question") -> dict[str, State]:
    return Table(str(runs / name / "table")).latest()


def run(command: str, file: str, runs: pathlib.Path, *words: str) -> int:
    return __main__.main([command, file, f"--runs={runs}", *words])


@contextlib.contextmanager
def started(file: str, runs: pathlib.Path) -> Iterator[subprocess.Popen]:
    """A launcher of its own process; ended after the block."""
    words = [sys.executable, __file__, "run", file, f"--runs={runs}", "--go"]
    launcher = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield launcher
    finally:
        launcher.kill()
        launcher.communicate()


def alive(runs: pathlib.Path) -> dict[int, str]:
    """Processes whose command line names a folder: the trials' and the jobs', by number."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if f"--workdir={runs}" in words:
                    found[int(entry.name)] = words
    return found


def wait_until(true, within_s: float = 300) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def kill(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


if __name__ == "__main__":
    local.train_words = trainer_words
    controller.LEAST_POLL_S["local"] = 0.02
    sys.exit(__main__.main(sys.argv[1:]))
