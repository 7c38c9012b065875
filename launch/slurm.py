"""The engine `slurm`: job arrays that requeue themselves; the scheduler needs no launcher to live.

A task of the array is a trial. Its batch script runs `launch.job`, which writes the table; `srun` starts the processes,
each told its number, the coordinator and its own devices (by itself JAX would take one GPU a task).
"""

import contextlib
import dataclasses
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Mapping

from gptjax.config import BadInput
from launch.batch import Batch, Place, asked, job_words, plain, train_words
from launch.job import LAST_S
from launch.local import log_file
from launch.sweep import Trial
from launch.table import State

LARGEST = 1000  # tasks of an array: MaxArraySize is 1001 where nobody changed it
# With --kill-on-bad-exit=1 the first that leaves has the others ended by SIGTERM, and srun's code is 143, not theirs.
GRACE_S = 120  # between a claim and the job that is to follow it
PLAIN = {"partition": "main", "account": "lab", "qos": "high", "time": "12:00:00", "python": "/shared/venv/bin/python"}


@dataclasses.dataclass(frozen=True)
class Settings:
    nodes: int = 1  # of each trial
    tasks_per_node: int = 1  # processes on each of them
    gpus_per_node: int = 0  # shared evenly by its processes; 0 asks for none
    cpus_per_task: int = 1
    at_once: int = 0  # trials that run at a time; 0 leaves it to Slurm
    time: str = ""  # limit of a start; the trial is told 2 minutes before, saves and is queued again
    partition: str = ""
    account: str = ""
    qos: str = ""
    python: str = sys.executable  # of an environment with gptjax, as the nodes see it
    setup: str = ""  # lines of shell before each start, such as module load


def check(batch: Batch, settings: Settings) -> None:
    plain(settings, PLAIN)
    for key in ("nodes", "tasks_per_node", "cpus_per_task"):
        if getattr(settings, key) < 1:
            raise BadInput(f"--on.{key}={getattr(settings, key)}: must be at least 1")
    if settings.gpus_per_node % settings.tasks_per_node:
        raise BadInput(f"--on.gpus_per_node={settings.gpus_per_node}: must be a multiple of --on.tasks_per_node")
    if "://" in batch.place.root:
        raise BadInput(f"--runs={batch.place.root}: Slurm needs a folder that every node sees")


def render(batch: Batch, settings: Settings) -> dict[str, str]:
    """The batch script of each array of up to 1,000 trials."""
    check(batch, settings)
    parts = [batch.trials[first : first + LARGEST] for first in range(0, len(batch.trials), LARGEST)]
    return {f"{batch.name}-{n}.sh": script(batch._replace(trials=part), settings) for n, part in enumerate(parts)}


def script(batch: Batch, settings: Settings) -> str:
    s, logs = settings, batch.place.here / "logs"
    throttle = f"%{s.at_once}" if s.at_once else ""
    flags = {
        "job-name": batch.name, "array": f"0-{len(batch.trials) - 1}{throttle}", "nodes": s.nodes,
        "ntasks-per-node": s.tasks_per_node, "cpus-per-task": s.cpus_per_task, "gpus-per-node": s.gpus_per_node or "",
        "time": s.time, "partition": s.partition, "account": s.account, "qos": s.qos,
        "signal": "TERM@120", "open-mode": "append", "output": f"{logs}/{batch.name}-%a.log",
    }  # fmt: skip
    lines = ["#!/bin/bash", *(f"#SBATCH --{key}={value}" for key, value in flags.items() if value != "")]
    lines += ["#SBATCH --requeue", "trap '' TERM  # for the processes, which save; not for this script", ""]
    lines += ["case $SLURM_ARRAY_TASK_ID in"]
    for number, trial in enumerate(batch.trials):
        job, train = job_words(batch, trial, "slurm", python=s.python), train_words(batch, trial, s.python)
        lines += [f"{number})", f"    log={shlex.quote(str(log_file(batch.place, trial.id)))}"]
        lines += [f"    job=({shlex.join(job[3:-1])})", f"    train=({shlex.join(train)})", "    ;;"]
    lines += ["esac", 'exec >> "$log" 2>&1', f"cd {shlex.quote(os.getcwd())} || exit 1", *filter(None, [s.setup])]
    return "\n".join([*lines, *place(s), "", *start(s)]) + "\n"


def place(s: Settings) -> list[str]:
    """What tells all processes how many they are and where they meet."""
    if s.nodes * s.tasks_per_node == 1:
        return ["export GPTJAX_NUM_PROCESSES=1"]
    host = "127.0.0.1" if s.nodes == 1 else '$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)'
    return [
        f"export GPTJAX_NUM_PROCESSES={s.nodes * s.tasks_per_node}",
        f"export GPTJAX_COORDINATOR={host}:$((61440 + SLURM_JOB_ID % 4096))",
    ]


def start(s: Settings) -> list[str]:
    own, share = [], s.gpus_per_node // s.tasks_per_node
    if s.nodes * s.tasks_per_node > 1:
        own += ["export GPTJAX_PROCESS_ID=$SLURM_PROCID"]
    if share:
        own += [f"first=$((SLURM_LOCALID * {share}))"]
        own += [f"export GPTJAX_LOCAL_DEVICE_IDS=$(seq -s, $first $((first + {share - 1})))"]
    own += ['exec "$@"']
    return [
        f'{shlex.quote(s.python)} -m launch.job "${{job[@]}}" --again=queued '
        '--job="${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}" -- \\',
        f"    srun --ntasks={s.nodes * s.tasks_per_node} --kill-on-bad-exit=0 --wait={LAST_S} --open-mode=append "
        "bash -c '",
        *(f"        {line}" for line in own),
        '    \' trial "${train[@]}"',
        "code=$?",
        '[ $code = 75 ] && scontrol requeue "$SLURM_JOB_ID" && exit 0',
        "exit $code",
    ]


def submit(batch: Batch, settings: Settings, claim: Callable[[Trial], bool]) -> dict[str, str]:
    check(batch, settings)
    batch = batch._replace(trials=[trial for trial in batch.trials if claim(trial)])
    folder, jobs = batch.place.here / "batches", {}
    for made in (folder, batch.place.here / "logs"):
        made.mkdir(parents=True, exist_ok=True)
    for number, (name, text) in enumerate(render(batch, settings).items()):
        (folder / name).write_text(text)
        job = asked(["sbatch", "--parsable", str(folder / name)]).strip().partition(";")[0]
        part = batch.trials[number * LARGEST :][:LARGEST]
        jobs |= {trial.id: f"{job}_{task}" for task, trial in enumerate(part)}
    return jobs


def states(live: Mapping[str, State], place: Place, settings: Settings) -> dict[str, str]:
    rows = [line.split("|") for line in asked(["squeue", "-h", "-r", "-a", "-o", "%i|%j"]).splitlines()]
    jobs, names = {row[0] for row in rows}, {row[1] for row in rows}
    return {trial: seen(state, jobs, names) for trial, state in live.items()}


def seen(state: State, jobs: set[str], names: set[str]) -> str:
    if not state.job:  # the launcher that claimed it has not said what came of it
        young = time.time() - state.at < GRACE_S
        return "alive" if state.batch in names else "unknown" if young else "gone"
    if state.job in jobs:
        return "alive"
    with contextlib.suppress(RuntimeError):  # Slurm forgets a job after some minutes
        if re.search(r"JobState=OUT_OF_MEMORY", asked(["scontrol", "-o", "show", "job", state.job])):
            return "out of memory"
    return "gone"


def cancel(live: Mapping[str, State], place: Place, settings: Settings) -> None:
    if alive := [state.job for state in live.values() if state.job]:
        asked(["scancel", *alive])
    for name in {state.batch for state in live.values() if not state.job}:
        asked(["scancel", f"--name={name}"])


def logs(trial: str, state: State, place: Place, settings: Settings) -> list[str]:
    return ["cat", str(log_file(place, trial))]
