"""The engine `skypilot`: a managed job for each trial, on whatever cloud SkyPilot finds. Never run.

SkyPilot brings a job back after a preemption or the loss of a node by itself; after the codes of RECOVERED too, which
`launch.job` leaves with as long as the trial makes progress.
"""

import dataclasses
import json
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from gptjax.config import BadInput
from launch.batch import Batch, Place, asked, job_words, plain, train_words
from launch.jobset import PORT, name, seen
from launch.sweep import Trial
from launch.table import State
from launch.yaml_text import written

RECOVERED = [75]  # never 137: SkyPilot takes it for a loss of its own
ENDED = ("SUCCEEDED", "CANCELLED", "FAILED")  # and what begins so, as FAILED_SETUP
PLAIN = {"infra": "gcp/us-east5", "accelerators": "tpu-v6e-16", "runtime_version": "v2-alpha-tpuv6e"}


@dataclasses.dataclass(frozen=True)
class Settings:
    accelerators: str = ""  # H100:8, tpu-v6e-16, ...; the hosts of a TPU slice follow from it
    infra: str = ""  # where: gcp, aws/us-east-1, k8s/context, slurm/cluster; empty: the cheapest
    nodes: int = 1  # with GPUs; a TPU slice is one
    spot: bool = False
    runtime_version: str = ""  # of a TPU VM
    setup: str = "pip install --quiet '.[EXTRAS]'"  # once on each node, in the checkout that SkyPilot has sent


def check(batch: Batch, settings: Settings) -> None:
    plain(settings, PLAIN)
    if settings.nodes < 1:
        raise BadInput(f"--on.nodes={settings.nodes}: must be at least 1")
    if settings.nodes > 1 and settings.accelerators.startswith("tpu"):
        raise BadInput(f"--on.nodes={settings.nodes}: a TPU slice is one node; choose a larger slice by accelerators")
    if "://" not in batch.place.root:
        raise BadInput(f"--runs={batch.place.root}: its machines share no folder; name a bucket, as s3://bucket/runs")


def render(batch: Batch, settings: Settings) -> dict[str, str]:
    """The task of each trial."""
    check(batch, settings)
    made = {name(batch.name, trial.id): task(batch, trial, settings) for trial in batch.trials}
    return {f"{named}.yaml": written(made[named]) for named in made}


def task(batch: Batch, trial: Trial, s: Settings) -> dict[str, Any]:
    named = name(batch.name, trial.id)
    recovery = {"max_restarts_on_errors": batch.max_failures, "recover_on_exit_codes": RECOVERED}
    resources: dict[str, Any] = {"infra": s.infra} if s.infra else {}
    resources |= {"accelerators": s.accelerators} if s.accelerators else {}
    resources |= {"accelerator_args": {"runtime_version": s.runtime_version}} if s.runtime_version else {}
    job = job_words(batch, trial, "skypilot", ["--again=queued", f"--job={named}"], "python")
    return {
        "name": named,
        "resources": resources | {"use_spot": s.spot, "job_recovery": recovery},
        "num_nodes": s.nodes,
        "workdir": ".",
        **({"setup": s.setup.replace("EXTRAS", extras(s))} if s.setup else {}),
        "run": "\n".join(
            [*place(s), f"exec {shlex.join(job)} \\", f"    {shlex.join(train_words(batch, trial, 'python'))}"]
        )
        + "\n",
    }


def extras(s: Settings) -> str:
    """What EXTRAS of `setup` stands for: without the chip's own, JAX would train on the CPUs beside it."""
    return "cloud" + (",tpu" if s.accelerators.startswith("tpu") else ",cuda12" if s.accelerators else "")


def place(s: Settings) -> list[str]:
    """Every host runs the same lines: how many there are, which this one is, where the first listens, its GPUs."""
    lines = [
        'export GPTJAX_NUM_PROCESSES=$(echo "$SKYPILOT_NODE_IPS" | wc -l)',
        "export GPTJAX_PROCESS_ID=$SKYPILOT_NODE_RANK",
        f'export GPTJAX_COORDINATOR=$(echo "$SKYPILOT_NODE_IPS" | head -n 1):{PORT}',
    ]
    if s.accelerators and not s.accelerators.startswith("tpu"):
        lines.append("export GPTJAX_LOCAL_DEVICE_IDS=$(seq -s, 0 $((SKYPILOT_NUM_GPUS_PER_NODE - 1)))")
    return lines


def submit(batch: Batch, settings: Settings, claim: Callable[[Trial], bool]) -> dict[str, str]:
    check(batch, settings)
    folder, jobs = batch.place.here / "batches", {}
    folder.mkdir(parents=True, exist_ok=True)
    for trial in batch.trials:
        ((file, text),) = render(batch._replace(trials=[trial]), settings).items()
        (folder / file).write_text(text)
        if claim(trial):
            named = name(batch.name, trial.id)
            asked(["sky", "jobs", "launch", "--yes", "--detach-run", "--name", named, str(folder / file)])
            jobs[trial.id] = named
    return jobs


def states(live: Mapping[str, State], place: Place, settings: Settings) -> dict[str, str]:
    rows = json.loads(asked(["sky", "jobs", "queue", "--all", "--output", "json"]))
    ended = {row["job_name"]: row["status"].startswith(ENDED) for row in rows}
    return {trial: seen(state, ended.get(name(state.batch, trial))) for trial, state in live.items()}


def cancel(live: Mapping[str, State], place: Place, settings: Settings) -> None:
    for trial, state in live.items():
        asked(["sky", "jobs", "cancel", "--yes", "--name", name(state.batch, trial)])


def logs(trial: str, state: State, place: Place, settings: Settings) -> list[str]:
    return ["sky", "jobs", "logs", "--no-follow", "--name", name(state.batch, trial)]
