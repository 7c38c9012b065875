"""Commands in processes that are there at once: forked from one that has imported everything and started no backend.

`python -m tests.reliability.forks` reads a line of JSON for each thing to do: {"words": the command's arguments, "env":
variables, "errors": a file, "begun": a folder or ""} starts one and is answered by its process id, {"wait": id} by its
exit code (-n: signal n).
"""

import atexit
import contextlib
import functools
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from gptjax import cli
from gptjax.commands import train
from gptjax.training import loop
from gptjax.training.checkpoint import Checkpoints
from tests.children import variables

READY = train.run  # imported for its imports


class Forks:
    def __init__(self, process: subprocess.Popen):
        self.process = process

    def told(self, message: dict) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps(message), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def start(
        self, words: list[str], n_processes: int, errors: pathlib.Path, n_devices: int = 1, begun: str = ""
    ) -> list[int]:
        """The ids of the processes of one run, with `n_devices` each; what they say goes to one file.

        `begun` is a folder for a checkpoint of what the loop begins with.
        """
        shared = {"words": words, "errors": str(errors), "begun": begun}
        return [self.told(shared | {"env": env}) for env in variables(n_processes, n_devices)]

    def wait(self, ids: list[int]) -> list[int]:
        return [self.told({"wait": pid}) for pid in ids]


@contextlib.contextmanager
def forks() -> Iterator[Forks]:
    words = [sys.executable, "-m", "tests.reliability.forks"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Forks(process)  # it ends with its standard input, which `with` closes


def saving_first(folder: str, go_on: Callable, cfg: Any, state: Any, first_step: int, tools: Any) -> Any:
    """The loop, once the state that it is given is saved from where it lies."""
    keep = Checkpoints(folder, keep_last=99, keep_every=0)
    keep.save(first_step, state, {}, None)
    keep.close()
    return go_on(cfg, state, first_step, tools)


def child(words: list[str], env: dict[str, str], errors: str, begun: str) -> None:
    """Never returns: the parent's loop is not the child's."""
    code = 1
    try:
        os.environ.update(env)
        out = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        if begun:
            loop.train = functools.partial(saving_first, begun, loop.train)
        code = cli.main(words)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        atexit._run_exitfuncs()  # as a process of the command does: processes leave each other at a barrier
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
