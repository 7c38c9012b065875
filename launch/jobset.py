"""The engine `jobset`: a Kubernetes JobSet for each trial, for TPU slices and GPUs on GKE. Never run.

A manifest is held against the schema of the real resource before anything is sent: the server would drop a misspelt
field without a word. Pods run `launch.job`; its exit 75 restarts the set, 2 ends it.
"""

import dataclasses
import functools
import gzip
import json
import pathlib
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from gptjax.config import BadInput
from launch.batch import Batch, Place, asked, job_words, plain, train_words
from launch.structural import problems
from launch.sweep import Trial
from launch.table import State
from launch.yaml_text import written

SCHEMA = pathlib.Path(__file__).with_name("jobset_v1alpha2.json.gz")  # of the resource's definition, without its prose
PORT = 8476
GRACE_S = 120  # between a claim and the object that is to follow it
RESTARTS = 1000  # the table bounds them: a trial that makes no progress ends with 2
PLAIN = {
    "namespace": "default", "queue": "tpu-queue", "image": "gcr.io/project/gptjax:1", "accelerator": "tpu-v6e-slice",
    "topology": "4x4", "service_account": "trainer", "python": "python",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Settings:
    image: str = ""  # that holds a checkout at its working directory, and its packages
    namespace: str = "default"
    queue: str = ""  # Kueue's local queue
    accelerator: str = ""  # the node label: tpu-v6e-slice, nvidia-h100-80gb, ...; empty: CPUs
    topology: str = ""  # of a TPU slice, such as 4x4
    slices: int = 1
    hosts: int = 1  # of each slice: pods
    chips: int = 4  # of each host
    spot: bool = False
    grace_s: int = 300  # from SIGTERM to SIGKILL
    service_account: str = ""  # that may write to the bucket of --runs
    python: str = "python"


def check(batch: Batch, settings: Settings) -> None:
    plain(settings, PLAIN)
    if not settings.image:
        raise BadInput("--on.image: is empty; name the container image to run: --on.image=gcr.io/project/gptjax:1")
    if "://" not in batch.place.root:
        raise BadInput(f"--runs={batch.place.root}: pods share no folder; name a bucket, such as gs://bucket/runs")
    for key in ("slices", "hosts", "chips", "grace_s"):
        if getattr(settings, key) < 1:
            raise BadInput(f"--on.{key}={getattr(settings, key)}: must be at least 1")
    if settings.accelerator.startswith("tpu") != bool(settings.topology):
        raise BadInput(f"--on.topology={settings.topology!r}: goes with a TPU, and --on.accelerator is "
                       f"{settings.accelerator!r}")  # fmt: skip


def render(batch: Batch, settings: Settings) -> dict[str, str]:
    check(batch, settings)
    found = {}
    for trial in batch.trials:
        made = manifest(batch, trial, settings)
        if wrong := faults(made):
            raise BadInput(f"jobset of trial {trial.id}: {wrong[0]}")
        found[f"{name(batch.name, trial.id)}.yaml"] = written(made)
    return found


def name(batch: str, trial: str) -> str:
    """A DNS label, of which the names of pods are made."""
    return f"gptjax-{trial}-{batch.rpartition('-')[2]}"


def manifest(batch: Batch, trial: Trial, s: Settings) -> dict[str, Any]:
    named, on_tpu = name(batch.name, trial.id), s.accelerator.startswith("tpu")
    label = f"cloud.google.com/gke-{'tpu-' if on_tpu else ''}accelerator"
    selector = {label: s.accelerator} if s.accelerator else {}
    selector |= {"cloud.google.com/gke-tpu-topology": s.topology} if on_tpu else {}
    selector |= {"cloud.google.com/gke-spot": "true"} if s.spot else {}
    limits = {"google.com/tpu" if on_tpu else "nvidia.com/gpu": s.chips}
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": s.grace_s,
        **({"serviceAccountName": s.service_account} if s.service_account else {}),
        "nodeSelector": selector,
        "containers": [
            {
                "name": "trial",
                "image": s.image,
                "command": ["bash", "-c", start(s), "trial"],
                "args": [*job_words(batch, trial, "jobset", ["--again=queued", f"--job={named}"], s.python),
                         *train_words(batch, trial, s.python)],
                "env": environment(named, s),
                "ports": [{"containerPort": PORT}, *([{"containerPort": 8471}] if on_tpu else [])],
                **({"resources": {"limits": limits}} if s.accelerator else {}),
            }
        ],
    }  # fmt: skip
    never = {"action": "FailJob", "onExitCodes": {"containerName": "trial", "operator": "In", "values": [2, 3]}}
    job = {
        "parallelism": s.hosts, "completions": s.hosts, "completionMode": "Indexed", "backoffLimit": 0,
        "podFailurePolicy": {"rules": [never]},
        "template": {"spec": pod},
    }  # fmt: skip
    never_again = {"name": "never-again", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}
    queue = {"kueue.x-k8s.io/queue-name": s.queue} if s.queue else {}
    exclusive = {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"} if on_tpu else {}
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {
            "name": named,
            "namespace": s.namespace,
            "labels": {"gptjax-sweep": batch.place.sweep, "gptjax-trial": trial.id, **queue},
            **({"annotations": exclusive} if exclusive else {}),
        },
        "spec": {
            "failurePolicy": {"maxRestarts": RESTARTS, "rules": [never_again]},
            "replicatedJobs": [{"name": "slice", "replicas": s.slices, "template": {"spec": job}}],
        },
    }


def environment(named: str, s: Settings) -> list[dict[str, Any]]:
    """How many processes there are, where the first listens, and which set of hosts a pod is in."""
    if s.slices * s.hosts == 1:
        return [{"name": "GPTJAX_NUM_PROCESSES", "value": "1"}]
    label = "metadata.labels['jobset.sigs.k8s.io/job-index']"
    return [
        {"name": "GPTJAX_NUM_PROCESSES", "value": str(s.slices * s.hosts)},
        {"name": "GPTJAX_COORDINATOR", "value": f"{named}-slice-0-0.{named}:{PORT}"},
        {"name": "SLICE", "valueFrom": {"fieldRef": {"fieldPath": label}}},
    ]


def start(s: Settings) -> str:
    """The pod's shell: its number among all, by the numbers that Kubernetes gives; then the words of `args`."""
    own = f"export GPTJAX_PROCESS_ID=$((SLICE * {s.hosts} + JOB_COMPLETION_INDEX)); " if s.slices * s.hosts > 1 else ""
    ids = ",".join(map(str, range(s.chips)))
    gpus = f"export GPTJAX_LOCAL_DEVICE_IDS={ids}; " if s.accelerator.startswith("nvidia") else ""
    return own + gpus + 'exec "$@"'


@functools.cache
def schema() -> dict[str, Any]:
    return json.loads(gzip.decompress(SCHEMA.read_bytes()))


def faults(made: Any) -> list[str]:
    """What of a JobSet the resource's own definition does not allow, as "spec/replicatedJobs/0: ..."."""
    found = problems(made, schema(), "")
    if not found and not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,43}[a-z0-9])?", made["metadata"]["name"]):
        found.append("metadata/name: must be a DNS label of at most 45 characters, since pods are named after it")
    return found


def submit(batch: Batch, settings: Settings, claim: Callable[[Trial], bool]) -> dict[str, str]:
    check(batch, settings)
    jobs = {}
    for trial in batch.trials:
        ((_, text),) = render(batch._replace(trials=[trial]), settings).items()
        if claim(trial):
            asked(["kubectl", "create", "--validate=strict", "-f", "-"], text)
            jobs[trial.id] = name(batch.name, trial.id)
    return jobs


def states(live: Mapping[str, State], place: Place, settings: Settings) -> dict[str, str]:
    words = ["kubectl", "get", "jobsets", "-n", settings.namespace, "-l", f"gptjax-sweep={place.sweep}", "-o", "json"]
    ended = {item["metadata"]["name"]: over(item) for item in json.loads(asked(words))["items"]}
    return {trial: seen(state, ended.get(name(state.batch, trial))) for trial, state in live.items()}


def seen(state: State, ended: bool | None) -> str:
    """A word of `states`; `ended` is None where the cluster has no such object."""
    if ended is None and state.state == "submitted" and time.time() - state.at < GRACE_S:
        return "unknown"  # its launcher may be about to send it
    return "gone" if ended is None or ended else "alive"


def over(item: Mapping[str, Any]) -> bool:
    said = {one["type"]: one["status"] for one in item.get("status", {}).get("conditions", [])}
    return "True" in (said.get("Completed"), said.get("Failed"))


def cancel(live: Mapping[str, State], place: Place, settings: Settings) -> None:
    names = [name(state.batch, trial) for trial, state in live.items()]
    asked(["kubectl", "delete", "jobsets", "-n", settings.namespace, "--ignore-not-found", "--wait=false", *names])


def logs(trial: str, state: State, place: Place, settings: Settings) -> list[str]:
    label = f"jobset.sigs.k8s.io/jobset-name={name(state.batch, trial)}"
    return ["kubectl", "logs", "-n", settings.namespace, "-l", label, "--prefix", "--tail=-1"]
