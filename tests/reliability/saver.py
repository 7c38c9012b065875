"""A process that forks children which save a small state again and again, until they are killed.

It has imported what a child needs and started no backend, so a child is there at once. Each line of its standard input
is a folder; it answers with the child's process id. A child tells each finished save in the file `finished` there.
"""

import os
import pathlib
import sys

import numpy as np

from gptjax.training.checkpoint import Checkpoints


def state_of(step: int) -> dict:
    draw = lambda n: np.random.default_rng([step, n]).normal(size=(64, 1024)).astype(np.float32)
    return {"params": {"a": draw(0), "b": draw(1)}, "moments": draw(2)}


def save_for_ever(folder: str) -> None:
    checkpoints = Checkpoints(f"{folder}/checkpoints", keep_last=2, keep_every=0)
    finished = os.open(f"{folder}/finished", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for step in range(1, 10_000):
        checkpoints.save(step, state_of(step), {"config": {"seed": step}}, None)
        checkpoints.wait()
        os.write(finished, f"{step}\n".encode())


if __name__ == "__main__":
    for line in sys.stdin:
        if pid := os.fork():
            print(pid, flush=True)
            os.waitpid(pid, 0)
            print("gone", flush=True)
        else:
            pathlib.Path(line.strip()).mkdir()
            save_for_ever(line.strip())
