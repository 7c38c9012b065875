"""Stands in for `gptjax train` where hundreds of trials are started and killed: 30 ms of start, and its contract.

A run saves at each step what it is at, goes on from its newest checkpoint, saves and leaves with 75 on SIGTERM, and is
done at once where it has been done. Two of them in one run directory at a time write `doubled` into it. The name of a
trial's override `note` may say how it ends: `code=3`.
"""

import fcntl
import json
import os
import pathlib
import signal
import sys
import time

N_STEPS = 10
HOLD = int(os.environ.get("TRAINER_HOLD", "-1"))  # the step that waits for a signal
STEP_S = float(os.environ.get("TRAINER_STEP_S", "0.01"))


def steps_of(words: list[str]) -> str:
    """The last n_steps wins, as in a real command."""
    return [word.partition("=")[2] for word in words if word.startswith("--config.n_steps=")][-1]


def seed(flags: dict[str, str]) -> float:
    """Where the length may grow, trials differ by their seeds; elsewhere all end with the same number."""
    return float(flags.get("config.seed", "0")) if "config.n_steps" in flags else 0.0


def main(words: list[str]) -> int:
    flags = dict(word.removeprefix("--").split("=", 1) for word in words if "=" in word)
    workdir = pathlib.Path(flags["workdir"])
    checkpoints = workdir / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    told = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(1))
    with open(workdir / "lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            (workdir / "doubled").touch()
            return 2
        how = flags.get("config.note", "")
        if how.startswith("code="):
            return int(how.removeprefix("code="))
        if "config.n_steps" in flags:
            with open(workdir / "steps", "a") as file:
                file.write(steps_of(words) + "\n")
        first = max((int(path.name) for path in checkpoints.iterdir()), default=0)
        for step in range(first, N_STEPS):
            while not told and step == HOLD:
                time.sleep(0.01)
            if told:
                return 75
            time.sleep(STEP_S)
            with open(workdir / "metrics.jsonl", "a") as log:
                log.write(json.dumps({"step": step, "tokens": 8 * step, "eval/nll": 5.0 - step + seed(flags)}) + "\n")
            (checkpoints / str(step + 1)).mkdir(exist_ok=True)
        with open(workdir / "finished", "a") as file:
            file.write("x")
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
