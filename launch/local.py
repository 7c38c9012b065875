"""The engine `local`: trials on this machine, some at a time, each in a session of its own that outlives the launcher.

A trial is alive while a process holds the lock on its file: the launcher takes it before it claims the trial and hands
it down to the job and to all its processes, so the kernel gives it back when the last has ended, however that ends.
Slots (devices) are locks too, so two launchers share them.
"""

import contextlib
import dataclasses
import fcntl
import os
import pathlib
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping

from gptjax.config import BadInput
from launch.batch import Batch, Place, job_words, shell, train_words
from launch.sweep import Trial
from launch.table import State

VISIBLE = {"gpu": "CUDA_VISIBLE_DEVICES", "tpu": "TPU_VISIBLE_CHIPS"}
ONE_CHIP = {"TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1", "TPU_PROCESS_BOUNDS": "1,1,1"}
STARTED: list[subprocess.Popen] = []  # so that those who end are not left as zombies


@dataclasses.dataclass(frozen=True)
class Settings:
    at_once: int = 1  # trials that run at a time; with devices, one slot of them each
    processes: int = 1  # of each trial
    device: str = "cpu"  # cpu (shared by all) | gpu | tpu: each process is shown its own
    devices: int = 1  # of each process, on a gpu


def check(settings: Settings) -> None:
    if settings.device not in ("cpu", *VISIBLE):
        raise BadInput(f"--on.device={settings.device}: is one of cpu, gpu, tpu")
    for key in ("at_once", "processes", "devices"):
        if getattr(settings, key) < 1:
            raise BadInput(f"--on.{key}={getattr(settings, key)}: must be at least 1")
    if settings.device == "tpu" and settings.devices * settings.processes > 1:
        raise BadInput(
            "--on.device=tpu: gives each trial one chip; larger trials run as --on.at_once=1 --on.device=cpu"
        )


def render(batch: Batch, settings: Settings) -> dict[str, str]:
    """The command of each trial."""
    check(settings)
    return {trial.id: shell(words(batch, trial, settings, 0)) + "\n" for trial in batch.trials}


def words(batch: Batch, trial: Trial, settings: Settings, slot: int) -> list[str]:
    more = [f"--processes={settings.processes}", f"--lock={lock_file(batch.place, trial.id)}"]
    more += [f"--own={own}" for own in visible(settings, slot)]
    return job_words(batch, trial, "local", more) + train_words(batch, trial)


def visible(settings: Settings, slot: int) -> list[str]:
    """NAME=VALUE that shows each process of a slot its own devices."""
    if settings.device == "cpu":
        return []
    each = settings.devices
    firsts = [(slot * settings.processes + process) * each for process in range(settings.processes)]
    return [f"{VISIBLE[settings.device]}={','.join(map(str, range(first, first + each)))}" for first in firsts]


def submit(batch: Batch, settings: Settings, claim: Callable[[Trial], bool]) -> dict[str, str]:
    """Starts a trial in each slot that is free."""
    STARTED[:] = [job for job in STARTED if job.poll() is None]
    trials, started = iter(batch.trials), {}
    for slot in range(settings.at_once):
        with contextlib.ExitStack() as stack:
            if (held := locked(batch.place.here / "slots" / f"{socket.gethostname()}-{slot}")) is None:
                continue
            stack.callback(os.close, held)
            for trial in trials:
                if (mine := locked(lock_file(batch.place, trial.id))) is None:
                    continue
                stack.callback(os.close, mine)
                if claim(trial):
                    STARTED.append(start(batch, trial, settings, slot, (held, mine)))
                    started[trial.id] = socket.gethostname()
                    break
    return started


def start(batch: Batch, trial: Trial, settings: Settings, slot: int, locks: tuple[int, int]) -> subprocess.Popen:
    (batch.place.here / "logs").mkdir(parents=True, exist_ok=True)
    environment = os.environ | (ONE_CHIP if settings.device == "tpu" else {})
    with open(log_file(batch.place, trial.id), "ab") as log:
        return subprocess.Popen(
            words(batch, trial, settings, slot),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=locks,
            start_new_session=True,
        )


def states(live: Mapping[str, State], place: Place, settings: Settings) -> dict[str, str]:
    found = {}
    for trial, state in live.items():
        if state.host != socket.gethostname():
            found[trial] = "unknown"
        elif (held := locked(lock_file(place, trial))) is None:
            found[trial] = "alive"
        else:
            os.close(held)
            found[trial] = "gone"
    return found


def cancel(live: Mapping[str, State], place: Place, settings: Settings) -> None:
    """Asks each trial's processes to save and leave."""
    for trial, seen in states(live, place, settings).items():
        if seen != "alive":
            continue
        job = lock_file(place, trial).read_text()
        with contextlib.suppress(ProcessLookupError):
            # The job passes it on. Without a job its processes are what is left of its group, which has its number.
            if job.isdecimal() and pathlib.Path(f"/proc/{job}").exists():
                os.kill(int(job), signal.SIGTERM)
            elif job.isdecimal():
                os.killpg(int(job), signal.SIGTERM)


def logs(trial: str, state: State, place: Place, settings: Settings) -> list[str]:
    return ["cat", str(log_file(place, trial))]


def lock_file(place: Place, trial: str) -> pathlib.Path:
    return place.here / "locks" / trial


def log_file(place: Place, trial: str) -> pathlib.Path:
    """Where all that a trial prints goes; on this machine's own disk."""
    return place.here / "logs" / f"{trial}.log"


def locked(path: pathlib.Path) -> int | None:
    """An open file that holds the lock; None where another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file
