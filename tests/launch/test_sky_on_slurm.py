"""SkyPilot's own dry run of our tasks, against a real Slurm of two nodes on this machine, reached through ssh."""

import os
import pathlib
import subprocess

import pytest
import yaml

from launch import batch, engines, skypilot, sweep
from launch.sweep import Base, Sweep, product
from tests.children import free_port
from tests.launch import cluster
from tests.launch.launcher import wait_until

SKY = pathlib.Path(os.environ.get("GPTJAX_SKYPILOT_PYTHON", "/nowhere"))  # of an environment with skypilot[slurm]
LACKING = cluster.missing() or ("" if SKY.exists() else "names no Python with skypilot in GPTJAX_SKYPILOT_PYTHON")
SSHD = """Port {port}
ListenAddress 127.0.0.1
HostKey {home}/.ssh/key
AuthorizedKeysFile {home}/.ssh/key.pub
PidFile {home}/sshd.pid
StrictModes no
UsePAM no
SetEnv SLURM_CONF={conf}
"""
HOST = """Host here
  HostName 127.0.0.1
  Port {port}
  User root
  IdentityFile {home}/.ssh/key
  IdentitiesOnly yes
"""

pytestmark = [pytest.mark.prove, pytest.mark.skipif(bool(LACKING), reason=LACKING or "none")]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home whose `sky` knows the cluster `here`; what is started is ended."""
    made, port = cluster.Cluster(tmp_path / "slurm"), free_port()
    folder = tmp_path / "home"
    for name in (".ssh", ".slurm"):
        (folder / name).mkdir(parents=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / ".ssh" / "key"], check=True)
    (folder / "sshd_config").write_text(SSHD.format(port=port, home=folder, conf=made.conf))
    (folder / ".slurm" / "config").write_text(HOST.format(port=port, home=folder))
    pathlib.Path("/run/sshd").mkdir(exist_ok=True)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("SKYPILOT_DISABLE_USAGE_COLLECTION", "1")
    try:
        made.start()
        subprocess.run(["/usr/sbin/sshd", "-f", folder / "sshd_config"], check=True)
        wait_until(lambda: sky(folder, "api", "start")[0] == 0, 300)  # on a busy machine it gives up too early
        yield folder
    finally:
        sky(folder, "api", "stop")
        if (folder / "sshd.pid").exists():
            subprocess.run(["kill", (folder / "sshd.pid").read_text().strip()])
        made.close()


def sky(home: pathlib.Path, *words: str) -> tuple[int, str]:
    done = subprocess.run([SKY.parent / "sky", *words], cwd=home, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_a_task_finds_its_place_on_a_slurm(home, tmp_path):
    settings = engines.settings("skypilot", {"infra": "slurm/here", "nodes": 2})
    made = Sweep(config="configs/smoke.py", cells=product({"seed": [0]}))
    place = batch.place("s3://bucket/runs", "question")
    (trial,) = sweep.trials(made, Base(made), "question")
    ((name, text),) = skypilot.render(batch.Batch("q-0123abcd", place, made.config, [trial], 3, "x"), settings).items()
    (home / name).write_text(yaml.safe_dump(yaml.safe_load(text) | {"workdir": str(tmp_path)}))
    code, told = sky(home, "launch", "--yes", "--dryrun", name)
    assert code == 0 and "(2 nodes)" in told and "Slurm (here)" in told, told
    code, told = sky(home, "launch", "--yes", "--dryrun", "--infra=slurm/nowhere", name)
    assert code != 0, told
