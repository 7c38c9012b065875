"""`gptjax train` in several processes, each with virtual CPU devices of its own, against one with one device."""

import json
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from gptjax import cli, mesh, tree
from gptjax.commands import train
from gptjax.config import BadInput
from gptjax.training import hosts, source
from tests.children import free_port, processes
from tests.tiny import mesh_of

TINY = {
    "n_steps": "16",
    "batch_tokens": "128",
    "log_every": "1",
    "eval_every": "8",
    "eval_tokens": "256",
    "save_every": "8",
    "keep_last": "2",
    "sample_tokens": "4",
    "sample_prompt": "the",
    "optim.warmup_steps": "2",
    "optim.schedule": "constant",
    "optim.peak_lr": "1e-2",
    "model.context": "16",
    "model.n_layers": "2",
    "model.d_model": "32",
    "model.d_hidden": "64",
    "data.corpora": "synthetic",
}
MESH = {"mesh__replica": 2, "mesh__data": 2, "mesh__tensor": 2}  # of the run in two processes
FILES = ("run.json", "metrics.jsonl", "samples.jsonl", "checkpoints", "tokenizer")


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """The arguments of a tiny run in a directory, with some keys changed ("__" for the dot)."""
    cache = tmp_path_factory.mktemp("cache")

    def make(workdir, **changes):
        keys = TINY | {"data.cache": str(cache)} | {key.replace("__", "."): value for key, value in changes.items()}
        return [
            "train",
            "--config=configs/base.py",
            f"--workdir={workdir}",
            *(f"--config.{k}={v}" for k, v in keys.items()),
        ]

    return make


def alone(words):
    """The command's exit code in this process, on one of its devices."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mesh, "make", lambda cfg: mesh_of(1, 1, 1, 1))
        return cli.main(words)


def codes(children):
    """The exit codes once all have ended, and what each wrote; a failure shows the errors."""
    said = [child.communicate(timeout=120) for child in children]
    return [child.returncode for child in children], [out for out, _ in said], [error for _, error in said]


def lines(workdir, key="train/nll"):
    rows = [json.loads(line) for line in (pathlib.Path(workdir) / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row[key] for row in rows if key in row}


def weights(run):
    return {name: np.asarray(leaf) for name, leaf in tree.named(source.open_run(str(run)).params).items()}


def assert_equal_runs(workdir, whole, step=16):
    """The lines that a run has are those of another, and so are the weights that both saved at a step."""
    for key in ("train/nll", "eval/nll"):
        found, expected = lines(workdir, key), lines(whole, key)
        assert found == pytest.approx({at: expected[at] for at in found}, abs=1e-5)
    found, expected = lines(workdir, "data/batch_crc"), lines(whole, "data/batch_crc")
    assert found and found == {at: expected[at] for at in found}, "the batches, whoever read their rows"
    ours, theirs = (weights(f"{run}/checkpoints/{step}") for run in (workdir, whole))
    assert ours.keys() == theirs.keys()
    for name, leaf in ours.items():
        np.testing.assert_allclose(leaf, theirs[name], rtol=0, atol=1e-4, err_msg=name)


@pytest.fixture(scope="module")
def one(tmp_path_factory, command):
    workdir = tmp_path_factory.mktemp("runs") / "one"
    assert alone(command(workdir)) == 0
    return workdir


@pytest.fixture(scope="module")
def two(tmp_path_factory, command):
    """A run of 2 processes x 4 devices."""
    workdir = tmp_path_factory.mktemp("runs") / "two"
    with processes(2, command(workdir, **MESH), 4) as children:
        ended, said, errors = codes(children)
    assert ended == [0, 0], errors
    assert "validation:" in said[0] and said[1] == ""
    return workdir


def test_two_processes_train_as_one(one, two):
    assert_equal_runs(two, one)
    assert set(FILES) <= {path.name for path in two.iterdir()}
    steps = [json.loads(line)["step"] for line in (two / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted([*range(16), 8, 16, 0, 16]), "each line is written once, and one of the clock's at each end"


@pytest.mark.prove
def test_four_processes_train_as_one(one, command, tmp_path):
    """Some processes have the same rows here and other parts of the context."""
    with processes(4, command(tmp_path / "four", n_steps=8, mesh__data=2, mesh__sequence=4), 2) as children:
        ended, _, errors = codes(children)
    assert ended == [0] * 4, errors
    assert_equal_runs(tmp_path / "four", one, step=8)


def test_one_process_goes_on_from_the_checkpoint_of_two(two, one, command, tmp_path):
    """From step 8 of two processes to step 16, where one process has been by itself."""
    shutil.copytree(two, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints/16")
    (tmp_path / "run/metrics.jsonl").unlink()
    assert alone(command(tmp_path / "run", **MESH)) == 0
    assert list(lines(tmp_path / "run")) == list(range(8, 16))
    assert_equal_runs(tmp_path / "run", one)


@pytest.mark.prove
def test_a_signal_to_one_process_stops_both_at_one_step_and_resume_is_exact(two, command, tmp_path):
    run = tmp_path / "run"
    with processes(2, command(run, **MESH), 4) as children:
        deadline = time.monotonic() + 60
        while not ((run / "metrics.jsonl").exists() and (run / "metrics.jsonl").read_bytes().count(b"\n") > 2):
            assert time.monotonic() < deadline and all(child.poll() is None for child in children)
            time.sleep(0.01)
        children[1].send_signal(signal.SIGTERM)
        ended, said, errors = codes(children)
    assert ended == [75, 75], errors
    saved = max(int(path.name) for path in (run / "checkpoints").iterdir() if path.name.isdigit())
    assert f"stopped by SIGTERM at step {saved} of 16" in said[0]
    assert list(lines(run)) == list(range(saved))
    with processes(2, command(run, **MESH), 4) as children:
        assert codes(children)[0] == [0, 0]
    assert lines(run) == lines(two) and lines(run, "eval/nll") == lines(two, "eval/nll")
    again, whole = weights(run), weights(two)
    assert all(np.array_equal(leaf, whole[name]) for name, leaf in again.items())


def test_processes_that_disagree_are_refused_by_all(command, tmp_path):
    with processes(2, command(tmp_path / "run"), 4, [[], ["--config.seed=1"]]) as children:
        ended, _, errors = codes(children)
    assert ended == [2, 2], errors
    assert all("disagree on their config" in error for error in errors)


EXPLICIT = {hosts.NUMBER: "4", hosts.OWN: "3", hosts.COORDINATOR: "10.0.0.1:8476"}
IN_SLURM = {
    "SLURM_JOB_ID": "70000",
    "SLURM_STEP_ID": "2",
    "SLURM_STEP_NODELIST": "gpu[07-08,11]",
    "SLURM_STEP_NUM_NODES": "3",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2),1",
    "SLURM_NODEID": "1",
    "SLURM_NTASKS": "9",
    "SLURM_PROCID": "6",
    "SLURM_LOCALID": "2",
}
PORT = 61440 + 70002 % 4096


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, None),
        ({hosts.NUMBER: "1"}, None),
        (IN_SLURM | {hosts.NUMBER: "1"}, None),
        (IN_SLURM | {"SLURM_NTASKS": "1"}, None),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, None),  # a batch script outside srun
        (EXPLICIT, ("10.0.0.1:8476", 4, 3, [])),
        (EXPLICIT | {hosts.DEVICES: "2,3"}, ("10.0.0.1:8476", 4, 3, [2, 3])),
        (IN_SLURM | EXPLICIT, ("10.0.0.1:8476", 4, 3, [])),
        (IN_SLURM, (f"gpu07:{PORT}", 9, 6, [2])),
        (IN_SLURM | {"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, (f"gpu07:{PORT}", 9, 6, [2])),
        (IN_SLURM | {"CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7"}, (f"gpu07:{PORT}", 9, 6, [4, 5])),
        (IN_SLURM | {"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_GPUS_PER_TASK": "2"}, (f"gpu07:{PORT}", 9, 6, [])),
        (IN_SLURM | {"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_NODEID": "2"}, (f"gpu07:{PORT}", 9, 6, [])),
        (IN_SLURM | {"SLURM_STEP_NODELIST": "gpu07", "SLURM_STEP_NUM_NODES": "1"}, (f"127.0.0.1:{PORT}", 9, 6, [2])),
    ],
)
def test_the_environment_says_who_a_process_is(env, expected):
    assert hosts.place(env) == expected


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({hosts.OWN: None}, f"{hosts.OWN} is not set"),
        ({hosts.NUMBER: None}, f"{hosts.NUMBER} is not set"),
        ({hosts.COORDINATOR: ""}, f"{hosts.COORDINATOR} is not set"),
        ({hosts.OWN: "4"}, f"{hosts.OWN}=4: must be below {hosts.NUMBER}=4"),
        ({hosts.OWN: "-1"}, f"{hosts.OWN}=-1: must be a number of at least 0"),
        ({hosts.NUMBER: "0"}, f"{hosts.NUMBER}=0: must be a number of at least 1"),
        ({hosts.NUMBER: "two"}, f"{hosts.NUMBER}=two: must be a number"),
        ({hosts.COORDINATOR: "10.0.0.1"}, f"{hosts.COORDINATOR}=10.0.0.1: must be host:port"),
        ({hosts.COORDINATOR: "10.0.0.1:99999"}, "must be host:port"),
        ({hosts.DEVICES: "0;1"}, f"{hosts.DEVICES}=0;1: must be numbers"),
    ],
)
def test_variables_that_make_no_sense_are_refused_by_name(changes, words, monkeypatch, capsys):
    for name, value in (EXPLICIT | changes).items():
        monkeypatch.setenv(name, value) if value is not None else monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(train, "run", lambda *_: pytest.fail("started"))
    assert cli.main(["train", "--config=configs/base.py", "--workdir=nowhere"]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_gpus_that_tasks_cannot_share_are_refused():
    with pytest.raises(BadInput, match="4 tasks cannot share 6 GPUs evenly; set GPTJAX_LOCAL_DEVICE_IDS"):
        hosts.place(IN_SLURM | {"CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5"})


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, False),
        ({"TPU_WORKER_HOSTNAMES": "a"}, False),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, True),
        ({"TPU_WORKER_HOSTNAMES": "a,b", hosts.NUMBER: "1"}, False),
        ({"TPU_WORKER_HOSTNAMES": "a", "MEGASCALE_NUM_SLICES": "2"}, True),
    ],
)
def test_a_tpu_slice_is_told_by_its_variables(env, expected):
    assert hosts.tpu_slice(env | {"TPU_SKIP_MDS_QUERY": "1"}) is expected


@pytest.mark.parametrize("process", [0, 1])
def test_processes_that_do_not_meet_end_with_one_line(process):
    address = f"127.0.0.1:{free_port()}"
    done = joined({hosts.NUMBER: "2", hosts.OWN: str(process), hosts.COORDINATOR: address})
    assert done.returncode == 1
    assert done.stderr == f"gptjax: process {process} of 2: not all processes met at {address} within 1 s\n"


def test_a_port_that_is_taken_is_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = joined({hosts.NUMBER: "2", hosts.OWN: "0", hosts.COORDINATOR: address})
    line = f"gptjax: process 0 cannot listen at {address}: Address already in use\n"
    assert (done.returncode, done.stderr) == (1, line)


def joined(env):
    """What becomes of a process that gives the others a second to come."""
    program = f"from gptjax.training import hosts; hosts.join({env}, within_s=1)"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
