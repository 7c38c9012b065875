"""Child processes that are one run: where they meet, how many devices each has, and that none outlives its test."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence

from gptjax.training import hosts

COMMAND = ("-m", "gptjax.cli")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def variables(n_processes: int, n_devices: int) -> list[dict[str, str]]:
    """What the environment tells each process of one run on this machine, with `n_devices` of its own."""
    flags = os.environ["XLA_FLAGS"].replace("device_count=8", f"device_count={n_devices}")
    shared = {"XLA_FLAGS": flags, hosts.NUMBER: str(n_processes), hosts.COORDINATOR: f"127.0.0.1:{free_port()}"}
    return [shared | {hosts.OWN: str(process)} for process in range(n_processes)]


@contextlib.contextmanager
def processes(
    n_processes: int,
    words: Sequence[str],
    n_devices: int = 1,
    own_words: Sequence[Sequence[str]] | None = None,
    program: Sequence[str] = COMMAND,
) -> Iterator[list[subprocess.Popen]]:
    """The program with the words, and its own, in each process of one run; all are gone after the block."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    children = []
    try:
        for process, env in enumerate(variables(n_processes, n_devices)):
            run = [sys.executable, *program, *words, *(own_words[process] if own_words else ())]
            env = os.environ | env | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}  # so that none starts itself anew
            children.append(subprocess.Popen(run, env=env, **pipes))
        yield children
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
            child.communicate()
