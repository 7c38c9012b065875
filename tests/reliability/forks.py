"""Commands in processes that are there at once: forked from one that has imported everything and started no backend.

`python -m tests.reliability.forks` reads a line of JSON for each thing to do: {"words": the command's arguments, "env":
variables, "errors": a file} starts one and is answered by its process id, {"wait": id} by its exit code (-n: signal n).
"""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Iterator

from gptjax import cli
from gptjax.commands import train
from gptjax.training import hosts

READY = train.run  # imported for its imports


class Forks:
    def __init__(self, process: subprocess.Popen):
        self.process = process

    def told(self, message: dict) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps(message), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def start(self, words: list[str], n_processes: int, errors: pathlib.Path, n_devices: int = 1) -> list[int]:
        """The ids of the processes of one run, with `n_devices` each; what they say goes to one file."""
        flags = os.environ["XLA_FLAGS"].replace("device_count=8", f"device_count={n_devices}")
        shared = {"XLA_FLAGS": flags, hosts.NUMBER: str(n_processes), hosts.COORDINATOR: f"127.0.0.1:{free_port()}"}
        own = [shared | {hosts.OWN: str(process)} for process in range(n_processes)]
        return [self.told({"words": words, "env": env, "errors": str(errors)}) for env in own]

    def wait(self, ids: list[int]) -> list[int]:
        return [self.told({"wait": pid}) for pid in ids]


@contextlib.contextmanager
def forks() -> Iterator[Forks]:
    words = [sys.executable, "-m", "tests.reliability.forks"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Forks(process)  # it ends with its standard input, which `with` closes


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def child(words: list[str], env: dict[str, str], errors: str) -> None:
    """Never returns: the parent's loop is not the child's."""
    code = 1
    try:
        os.environ.update(env)
        out = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        code = cli.main(words)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    for line in sys.stdin:
        message = json.loads(line)
        if "wait" in message:
            print(os.waitstatus_to_exitcode(os.waitpid(message["wait"], 0)[1]), flush=True)
        elif pid := os.fork():
            print(pid, flush=True)
        else:
            child(**message)
