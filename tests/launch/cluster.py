"""A real Slurm of several nodes on this machine, on loopback alone, for tests; in /etc it changes node names alone.

Needs Debian's `slurm-wlm` and `munge`, and root. `python -m tests.launch.cluster FOLDER` starts one of two nodes by
hand and prints its SLURM_CONF.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

from tests.children import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
KEEPS_ONE_CREDENTIAL_S = 5  # a job that is queued again starts only then; 120 where nobody says so
CONF = """ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={base}/run/munge.sock,cred_expire={credential}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort={port}
StateSaveLocation={base}/state
SlurmdSpoolDir={base}/spool/%n
SlurmctldPidFile={base}/run/slurmctld.pid
SlurmdPidFile={base}/run/slurmd-%n.pid
SlurmctldLogFile={base}/log/slurmctld.log
SlurmdLogFile={base}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
JobRequeue=1
KillWait=20
SlurmdTimeout=10
SlurmdParameters=config_overrides
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Cluster:
    """Daemons that are ended by `close()`; `SLURM_CONF` names its config to every command of Slurm."""

    def __init__(self, base: pathlib.Path, n_nodes: int = 2, cpus: int = 4):
        self.base, self.names = base, [f"n{number}" for number in range(1, n_nodes + 1)]
        for name in ("state", "log", "run", "munge", *(f"spool/{node}" for node in self.names)):
            (base / name).mkdir(parents=True, exist_ok=True)
        base.chmod(0o755)
        (base / "munge").chmod(0o700)
        self.conf = str(base / "slurm.conf")
        host = socket.gethostname().partition(".")[0]
        self.ports = {node: free_port() for node in self.names}
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} State=UNKNOWN"
            for node, port in self.ports.items()
        )
        given = dict(base=base, host=host, port=free_port(), nodes=nodes, credential=KEEPS_ONE_CREDENTIAL_S)
        pathlib.Path(self.conf).write_text(CONF.format(**given))
        self.name_nodes()

    def name_nodes(self) -> None:
        """Processes find each other by the names of their nodes, so these must mean this machine."""
        hosts = pathlib.Path("/etc/hosts")
        words = hosts.read_text().split()
        with hosts.open("a") as file:
            file.writelines(f"127.0.0.1 {node}\n" for node in self.names if node not in words)

    def start(self) -> "Cluster":
        run = self.base / "run"
        key = self.base / "munge" / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        logs = [f"--log-file={self.base}/log/munged.log", f"--seed-file={self.base}/munge/seed", "--num-threads=2"]
        told = [f"--key-file={key}", f"--socket={run}/munge.sock", f"--pid-file={run}/munged.pid"]
        self.call("munged", "--force", *told, *logs)
        self.call("slurmctld", "-f", self.conf)
        for node in self.names:
            self.start_node(node)
        self.wait_for(len(self.names))
        return self

    def start_node(self, node: str) -> None:
        self.call("slurmd", "-f", self.conf, "-N", node)

    def wait_for(self, n_nodes: int, within_s: float = 120) -> None:
        """Returns once so many nodes take jobs."""
        deadline = time.monotonic() + within_s
        while self.call("sinfo", "-h", "-t", "idle,alloc,mix", "-o", "%D", bad=True).strip() != str(n_nodes):
            assert time.monotonic() < deadline, self.call("sinfo", bad=True)
            time.sleep(0.2)

    def call(self, *words: str, bad: bool = False) -> str:
        done = subprocess.run(words, env=os.environ | {"SLURM_CONF": self.conf}, capture_output=True, text=True)
        if done.returncode and not bad:
            raise RuntimeError(f"{words}: {done.stderr}")
        return done.stdout

    def daemon(self, name: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            return int((self.base / "run" / f"{name}.pid").read_text())
        return 0

    def kill_node(self, node: str) -> None:
        """The node's daemon, and all that runs on it, are gone at once."""
        victims = [self.daemon(f"slurmd-{node}")]
        for entry in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                environment = (entry / "environ").read_bytes() if entry.name.isdecimal() else b""
                if f"SLURMD_NODENAME={node}\0".encode() in environment and self.conf.encode() in environment:
                    victims.append(int(entry.name))
                elif entry.name.isdecimal() and "slurmstepd" in (entry / "cmdline").read_text():
                    children = (entry / "task" / entry.name / "children").read_text().split()
                    of_node = [c for c in children if f"SLURMD_NODENAME={node}\0" in read(f"/proc/{c}/environ")]
                    victims += [int(entry.name)] if of_node else []
        for victim in filter(None, victims):
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)

    def close(self) -> None:
        self.call("scancel", "--signal=KILL", "--full", "--user=root", bad=True)
        self.call("scancel", "--user=root", bad=True)
        time.sleep(1)
        for name in (*(f"slurmd-{node}" for node in self.names), "slurmctld", "munged"):
            if process := self.daemon(name):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGTERM)


def read(path: str) -> str:
    with contextlib.suppress(OSError):
        return pathlib.Path(path).read_text(errors="replace")
    return ""


def missing() -> str:
    """Why there can be no cluster here; empty where there can."""
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    if lacking:
        return f"needs Slurm ({lacking[0]} is missing): apt-get install slurm-wlm munge"
    return "" if os.geteuid() == 0 else "needs root, to start Slurm's daemons"


if __name__ == "__main__":
    print(f"export SLURM_CONF={Cluster(pathlib.Path(sys.argv[1])).start().conf}")
