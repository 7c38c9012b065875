"""Several processes as one run: how they find each other, and agree on what they opened and when they stop.

Explicit variables come first, then Slurm, then a TPU slice of several hosts; without any of them there is one process
and no distributed runtime. docs/hosts.md says how to start each.
"""

import contextlib
import functools
import importlib.util
import json
import os
import pathlib
import re
import resource
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TypeVar

import jax
from jax._src import distributed  # its key-value store has no public name

from gptjax.config import BadInput

NUMBER, OWN, COORDINATOR = "GPTJAX_NUM_PROCESSES", "GPTJAX_PROCESS_ID", "GPTJAX_COORDINATOR"
DEVICES = "GPTJAX_LOCAL_DEVICE_IDS"
SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")  # all: inside srun
JOIN_S, HEARTBEAT_S, LEAVE_S = 120, 10, 10  # to find each other; until a silent one counts as dead; to end together
PREPARE_S = 24 * 3600  # one process may tokenise while the others wait
LOST = ("Gloo", "Connection", "UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED")  # in what JAX raises where one is gone
Made = TypeVar("Made")


class Place(NamedTuple):
    """A process among several."""

    coordinator: str  # host:port, where process 0 listens
    n_processes: int
    process: int
    local_devices: list[int]  # of this machine's GPUs, the ones this process takes; empty = all that it sees


def join(env: Mapping[str, str] | None = None, within_s: float = JOIN_S) -> None:
    """Makes this process one of a run's, where the environment says so; before anything touches a device.

    Raises BadInput for variables that make no sense. Ends the process with code 1 and one line where the others cannot
    be reached in time: they may come up later, so a scheduler may try again. Every process but the first falls silent.
    None leaves a core: when another is gone JAX ends this one by an abort, and a host's memory takes minutes to write.
    """
    env = os.environ if env is None else env
    if (found := place(env)) is None and not tpu_slice(env):
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # its handler of SIGTERM would take Stop's place
    initialize = functools.partial(
        jax.distributed.initialize,
        initialization_timeout=round(within_s) + 60,  # past it JAX aborts with a core dump; ours is earlier
        heartbeat_timeout_seconds=HEARTBEAT_S,
        shutdown_timeout_seconds=LEAVE_S,
    )
    if found is None:
        with given_up_after(within_s, "the other hosts of this TPU slice did not come up"):
            initialize()
    elif found.n_processes > 1:
        who = f"process {found.process} of {found.n_processes}"
        if found.process == 0:
            refuse_taken_port(found.coordinator)
        with given_up_after(within_s, f"{who}: not all processes met at {found.coordinator}"):
            initialize(
                found.coordinator,
                found.n_processes,
                found.process,
                found.local_devices,
                cluster_detection_method="deactivate",
                coordinator_bind_address=found.coordinator if is_loopback(found.coordinator) else None,
            )
    if distributed.global_state.process_id:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # progress is told once; errors still go to stderr


def place(env: Mapping[str, str]) -> Place | None:
    """What the environment says of this process; None where it names no others. Raises BadInput."""
    if env.get(NUMBER) == "1":
        return None  # alone, whatever the cluster
    if any(name in env for name in (NUMBER, OWN, COORDINATOR)):
        return explicit(env)
    if all(name in env for name in SLURM) and number(env, "SLURM_NTASKS", least=1) > 1:
        return of_slurm(env)
    return None


def explicit(env: Mapping[str, str]) -> Place:
    for name in (NUMBER, OWN, COORDINATOR):
        if not env.get(name):
            raise BadInput(f"{name} is not set; several processes need {NUMBER}, {OWN} and {COORDINATOR}=host:port")
    n_processes = number(env, NUMBER, least=1)
    process = number(env, OWN, least=0)
    if process >= n_processes:
        raise BadInput(f"{OWN}={process}: must be below {NUMBER}={n_processes}")
    host, _, port = env[COORDINATOR].rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise BadInput(f"{COORDINATOR}={env[COORDINATOR]}: must be host:port, as in 10.0.0.1:8476")
    return Place(env[COORDINATOR], n_processes, process, chosen_devices(env) or [])


def of_slurm(env: Mapping[str, str]) -> Place:
    """A task of `srun`: process 0 listens on the step's first node, at a port that the step's number gives."""
    n_processes, process = number(env, "SLURM_NTASKS", least=1), number(env, "SLURM_PROCID", least=0)
    step = number(env, "SLURM_STEP_ID", least=0) if "SLURM_STEP_ID" in env else 0
    port = 61440 + (number(env, "SLURM_JOB_ID", least=0) + step) % 4096
    first = re.match(r"([^\[,]+)(?:\[(\d+))?", env["SLURM_STEP_NODELIST"])  # n1 | n1,n2 | n[1-4,7],m1
    if first is None:
        raise BadInput(f"SLURM_STEP_NODELIST={env['SLURM_STEP_NODELIST']}: not a list of nodes")
    alone = env.get("SLURM_STEP_NUM_NODES", env.get("SLURM_NNODES")) == "1"
    host = "127.0.0.1" if alone else first[1] + (first[2] or "")
    own = chosen_devices(env)
    return Place(f"{host}:{port}", n_processes, process, slurm_devices(env) if own is None else own)


def slurm_devices(env: Mapping[str, str]) -> list[int]:
    """The GPUs of a task: all it sees, unless the tasks of a node see the same ones; then each takes an equal share."""
    n_tasks, n_seen = tasks_here(env), len([gpu for gpu in env.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu])
    shared_out = any(name in env for name in ("SLURM_GPUS_PER_TASK", "SLURM_TRES_PER_TASK")) or 0 < n_seen < n_tasks
    if n_tasks == 1 or shared_out:
        return []
    if not n_seen:  # Slurm does not manage them
        return [number(env, "SLURM_LOCALID", least=0)]
    if n_seen % n_tasks:
        raise BadInput(f"{n_tasks} tasks cannot share {n_seen} GPUs evenly; set {DEVICES} for each, or --gpus-per-task")
    share = n_seen // n_tasks
    return [number(env, "SLURM_LOCALID", least=0) * share + index for index in range(share)]


def tasks_here(env: Mapping[str, str]) -> int:
    """Tasks of this step on this node, from a list such as "4(x2),3"."""
    counts = []
    for many, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", env.get("SLURM_STEP_TASKS_PER_NODE", "1")):
        counts += [int(many)] * int(times or 1)
    return counts[number(env, "SLURM_NODEID", least=0) if len(counts) > 1 else 0]


def tpu_slice(env: Mapping[str, str]) -> bool:
    """Whether this is a host of a Cloud TPU slice, or of several: GKE tells by variables, a VM by its chips."""
    if env.get(NUMBER) == "1":
        return False
    hosts = env.get("TPU_PROCESS_ADDRESSES") or env.get("TPU_WORKER_HOSTNAMES") or ""
    if "," in hosts or env.get("MEGASCALE_NUM_SLICES", "1") != "1":
        return True
    on_vm = not hosts and "TPU_SKIP_MDS_QUERY" not in env and importlib.util.find_spec("libtpu") is not None
    chips = (*pathlib.Path("/dev").glob("accel*"), *pathlib.Path("/dev/vfio").glob("[0-9]*")) if on_vm else ()
    return bool(chips)


def chosen_devices(env: Mapping[str, str]) -> list[int] | None:
    if DEVICES not in env:
        return None
    if not re.fullmatch(r"\d+(,\d+)*", env[DEVICES]):
        raise BadInput(f"{DEVICES}={env[DEVICES]}: must be numbers, as in 0,1")
    return [int(word) for word in env[DEVICES].split(",")]


def number(env: Mapping[str, str], name: str, *, least: int) -> int:
    if not env[name].isdecimal() or int(env[name]) < least:
        raise BadInput(f"{name}={env[name]}: must be a number of at least {least}")
    return int(env[name])


def refuse_taken_port(address: str) -> None:
    """Ends the process with one line where another listens at this port: JAX, refused there, may end in a SIGSEGV."""
    host, _, port = address.rpartition(":")
    where = host.strip("[]") if is_loopback(address) else ""  # elsewhere JAX listens on every interface
    try:
        socket.create_server((where, int(port)), family=socket.AF_INET6 if ":" in where else socket.AF_INET).close()
    except OSError as error:
        raise SystemExit(f"gptjax: process 0 cannot listen at {address}: {os.strerror(error.errno or 0)}") from error


def is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0]
    return host in ("localhost", "[::1]") or host.startswith("127.")


@contextlib.contextmanager
def given_up_after(seconds: float, why: str) -> Iterator[None]:
    """Ends the process with one line when the body fails or takes longer: JAX would abort with a core dump instead."""

    def give_up() -> None:
        print(f"gptjax: {why} within {seconds:g} s", file=sys.stderr, flush=True)
        os._exit(1)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    except jax.errors.JaxRuntimeError as error:  # the port is taken, for one
        raise SystemExit(f"gptjax: {why}: {' '.join(str(error).split())}") from error
    finally:
        timer.cancel()


def leave(why: Exception) -> None:
    """Ends this process at once, with code 1: JAX's shutdown would wait for the one that is gone, and abort."""
    reason = " ".join(str(why).split())[:200]
    print(f"gptjax: another process of this run is gone, so this one ends: {reason}", file=sys.stderr, flush=True)
    os._exit(1)


def agreed(make: Callable[[], Made], seen: Callable[[Made], Mapping]) -> Made:
    """What `make` gives, once every process has made the same as far as `seen` tells; raises BadInput otherwise.

    A process that refuses its input would leave the others waiting in their first collective: here they refuse too.
    """
    if (client := distributed.global_state.client) is None:
        return make()
    index = jax.process_index()
    try:
        made = make()
    except BadInput as error:
        client.key_value_set(f"gptjax/opened/{index}", json.dumps({"refused": str(error)}))
        raise
    mine = {"found": json.loads(json.dumps(seen(made)))}
    client.key_value_set(f"gptjax/opened/{index}", json.dumps(mine))
    for other in range(jax.process_count()):
        theirs = json.loads(client.blocking_key_value_get(f"gptjax/opened/{other}", PREPARE_S * 1000))
        if "refused" in theirs:
            raise BadInput(f"process {other} refuses: {theirs['refused']}")
        for key, value in mine["found"].items():
            if theirs["found"][key] != value:
                raise BadInput(f"processes {index} and {other} disagree on {key}; every host needs the same")
    return made


def of_first(make: Callable[[], Made], name: str) -> Made:
    """What `make` gives process 0, which alone calls it, told to all as JSON; its BadInput is everybody's."""
    if (client := distributed.global_state.client) is None:
        return make()
    key = f"gptjax/first/{name}"
    if jax.process_index() == 0:
        try:
            made = make()
        except BadInput as error:
            client.key_value_set(key, json.dumps({"refused": str(error)}))
            raise
        client.key_value_set(key, json.dumps({"made": made}))
    said = json.loads(client.blocking_key_value_get(key, PREPARE_S * 1000))
    if "refused" in said:
        raise BadInput(f"process 0 refuses: {said['refused']}")
    return said["made"]


def wait_for_all() -> None:
    """Returns when every process is done: one that writes the last logs may take longer than LEAVE_S."""
    if (client := distributed.global_state.client) is not None:
        client.wait_at_barrier("gptjax/done", PREPARE_S * 1000)
