"""The engine slurm on a real Slurm of two nodes on this machine."""

import json
import os
import pathlib
import random
import signal
import subprocess
import time

import pytest

from launch import controller, slurm
from launch.table import State
from tests.launch import cluster, launcher
from tests.launch.launcher import run, states, wait_until

pytestmark = [pytest.mark.prove, pytest.mark.skipif(bool(cluster.missing()), reason=cluster.missing() or "none")]

BIND = "export JAX_COORDINATOR_BIND_ADDRESS=127.0.0.1:$((61440 + SLURM_JOB_ID % 4096))"  # nodes are one machine here
TINY = {
    "n_steps": 40, "batch_tokens": 128, "log_every": 1, "eval_every": 0, "eval_tokens": 256, "save_every": 10,
    "sample_tokens": 4, "sample_prompt": "the", "optim.warmup_steps": 2, "optim.schedule": "constant",
    "model.context": 16, "model.n_layers": 2, "model.d_model": 32, "model.d_hidden": 64, "data.corpora": ("synthetic",),
    "stuck_after_s": 0.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    """A running cluster of two nodes, in the environment of every command."""
    made = cluster.Cluster(tmp_path_factory.mktemp("slurm"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", made.conf)
        patch.setenv("PYTHONPATH", os.getcwd())
        patch.setenv("XLA_FLAGS", os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1"))
        patch.setitem(controller.LEAST_POLL_S, "slurm", 0.5)
        try:
            yield made.start()
        finally:
            made.close()


@pytest.fixture
def sweep(tmp_path):
    """Writes an experiment of real training; gives its file."""

    def write(cells: str, name: str = "real", **settings) -> str:
        file = tmp_path / name / "sweep.py"
        file.parent.mkdir(exist_ok=True)
        given = {"slurm": {"nodes": 2, "setup": BIND} | settings, "local": {"processes": settings.get("nodes", 2)}}
        base = TINY | {"data.cache": str(tmp_path / "cache")}
        file.write_text(
            "from launch.sweep import Sweep, product, seeds\n"
            f"SWEEP = Sweep(config='configs/base.py', base={base!r}, cells={cells}, engines={given!r})\n"
        )
        return str(file)

    return write


def losses(workdir: pathlib.Path) -> dict[int, list]:
    """{step: [loss, crc of the batch]}, later lines winning."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: [row["train/nll"], row["data/batch_crc"]] for row in lines if "train/nll" in row}


def training(workdir: pathlib.Path, n_processes: int) -> list[int]:
    """The processes of the trial of this directory, once there are so many."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        words = cluster.read(f"{entry}/cmdline").split("\0")
        if entry.name.isdecimal() and words[1:4] == ["-m", "gptjax.cli", "train"] and f"--workdir={workdir}" in words:
            found.append(int(entry.name))
    return found if len(found) == n_processes else []


def of_trial(runs: pathlib.Path, name: str = "real") -> tuple[pathlib.Path, State]:
    ((trial, state),) = states(runs, name).items()
    return runs / name / trial, state


def at_step(workdir: pathlib.Path, step: int) -> bool:
    return (workdir / "metrics.jsonl").exists() and max(losses(workdir), default=0) >= step


SCENARIOS = ("nothing", "sigterm", "requeue", "kill_one", "kill_job", "node")


@pytest.fixture(scope="module")
def undisturbed() -> dict:
    """The losses of the run that nothing happened to."""
    return {}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_two_processes_end_bit_exact_whatever_happens(nodes, sweep, tmp_path, undisturbed, scenario):
    file, runs = sweep("[{}]"), tmp_path / "runs"
    assert run("run", file, runs, "--on=slurm", "--go", "--detach") == 75
    workdir, state = of_trial(runs)
    wait_until(lambda: at_step(workdir, 12), 600)
    _, state = of_trial(runs)
    attempts = state.attempt
    if scenario == "sigterm":  # what comes before a time limit
        nodes.call("scancel", "--signal=TERM", state.job)
    elif scenario == "requeue":  # what an administrator or a preemption does
        nodes.call("scontrol", "requeue", state.job)
    elif scenario == "kill_one":
        launcher.kill(max(training(workdir, 2)))
    elif scenario == "kill_job":
        launcher.kill(state.process)
    elif scenario == "node":
        nodes.kill_node("n2")
        time.sleep(3)
        nodes.start_node("n2")
    assert run("run", file, runs, "--on=slurm", "--go") == 0
    workdir, state = of_trial(runs)
    assert state.state == "done" and (state.attempt > attempts) == (scenario != "nothing")
    assert sorted(losses(workdir)) == list(range(40))
    if scenario == "nothing":
        undisturbed |= losses(workdir)
    assert losses(workdir) == undisturbed


def test_what_every_process_refuses_is_bad_input_and_not_retried(nodes, sweep, tmp_path):
    file, runs = sweep("[{'batch_tokens': 144}]"), tmp_path / "runs"  # nine rows, for two devices
    assert run("run", file, runs, "--on=slurm", "--go") == 1
    _, state = of_trial(runs)
    assert (state.state, state.why, state.attempt) == ("failed", "bad input", 1)


def test_a_sweep_that_loses_a_node_has_the_table_of_one_on_this_machine(nodes, sweep, tmp_path):
    cells = "product({'optim.peak_lr': [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1]})"
    file, runs = sweep(cells, "rates", nodes=1, at_once=2), tmp_path / "runs"
    assert run("run", file, runs, "--on=slurm", "--go", "--detach") == 75
    wait_until(lambda: sum(state.state == "running" for state in states(runs, "rates").values()) >= 2, 600)
    time.sleep(5)
    nodes.kill_node("n2")
    time.sleep(12)
    nodes.start_node("n2")
    assert run("run", file, runs, "--on=slurm", "--go", "--json=x") == 0
    here = tmp_path / "here"
    assert run("run", file, here, "--on=local", "--go") == 0
    tables = [{trial: state.result for trial, state in states(one, "rates").items()} for one in (runs, here)]
    assert tables[0] == tables[1] and len(tables[0]) == 8


def test_fifty_random_kills_lose_double_and_strand_no_trial(nodes, tmp_path, monkeypatch, capsys):
    """Workers, jobs, nodes' daemons and requeues, with the stand-in for training."""
    monkeypatch.setattr(slurm, "train_words", launcher.trainer_words)
    monkeypatch.setenv("TRAINER_STEP_S", "0.5")
    file = launcher.write(tmp_path, "seeds(12)", max_failures=10_000)
    runs, draw, kills = tmp_path / "runs", random.Random(0), 0
    while kills < 50:
        run("run", file, runs, "--on=slurm", "--go", "--detach")
        for _ in range(10):
            time.sleep(draw.uniform(0.2, 1.5))
            victims = {process: words for process, words in launcher.alive(runs).items() if "bash" not in words[:20]}
            if not victims:
                continue
            kind = draw.random()
            if kind < 0.1:
                node = draw.choice(nodes.names)
                nodes.kill_node(node)
                nodes.start_node(node)
            elif kind < 0.2:
                jobs = [state.job for state in states(runs).values() if state.state == "running" and state.job]
                if jobs:
                    nodes.call("scontrol", "requeue", draw.choice(jobs), bad=True)
            else:
                launcher.kill(draw.choice(list(victims)))
            kills += 1
        if all(state.state == "done" for state in states(runs).values()):
            file = launcher.write(tmp_path, f"seeds(12, first={kills})", max_failures=10_000)
    nodes.wait_for(2)
    assert run("run", file, runs, "--on=slurm", "--go") == 0
    wait_until(lambda: not nodes.call("squeue", "-h").strip() and not launcher.alive(runs), 120)
    found = states(runs)
    assert {state.state for state in found.values()} == {"done"}
    folders = [path for path in (runs / "question").iterdir() if (path / "checkpoints").exists()]
    assert len(folders) == len(found) and not [path for path in folders if (path / "doubled").exists()]
    assert all((path / "finished").exists() for path in folders)
    with capsys.disabled():
        print(f"\n{kills} kills on a real Slurm, {len(found)} trials: 0 lost, 0 doubled, 0 left running")


def test_sbatch_accepts_every_script(nodes, tmp_path):
    from tests.launch.golden.make import rendered

    script = rendered("slurm").partition("\n")[2].replace("/shared/runs", str(tmp_path)).replace("PYTHON", "python")
    (tmp_path / "script.sh").write_text(script)
    done = subprocess.run(["sbatch", "--test-only", str(tmp_path / "script.sh")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_cancelled_trial_saves_and_leaves_the_queue(nodes, tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "train_words", launcher.trainer_words)
    monkeypatch.setenv("TRAINER_STEP_S", "2")
    file, runs = launcher.write(tmp_path, "seeds(2)"), tmp_path / "runs"
    assert run("run", file, runs, "--on=slurm", "--go", "--detach") == 75
    wait_until(lambda: sum(state.state == "running" for state in states(runs).values()) == 2, 120)
    assert run("cancel", file, runs, "--on=slurm") == 0
    wait_until(lambda: not nodes.call("squeue", "-h").strip(), 120)
    assert {state.state for state in states(runs).values()} == {"cancelled"}
    assert run("run", file, runs, "--on=slurm", "--go") == 1
    assert signal.SIGTERM and not list(runs.glob("question/*/finished"))
