"""What is sent to an engine, word for word; and that it means what it should."""

import os
import pathlib
import shlex
import shutil
import subprocess
import sys

import pytest

from gptjax import config
from gptjax.config import BadInput
from launch import batch, engines, sweep
from launch.sweep import Base
from tests.launch.golden.make import CASES, HERE, SWEEP, rendered

FAMILIES = {"local": "/shared/runs", "slurm": "/shared/runs", "jobset": "gs://b/runs", "skypilot": "gs://b/runs"}


def made(engine: str, runs: str | None = None) -> batch.Batch:
    trials = sweep.trials(SWEEP, Base(SWEEP), "question")
    return batch.Batch(
        "question-0123abcd", batch.place(runs or FAMILIES[engine], "question"), SWEEP.config, trials, 3, "x"
    )


@pytest.mark.parametrize("case", CASES)
def test_every_spec_is_as_it_was(case):
    assert rendered(case) == (HERE / f"{case}.txt").read_text(), (
        "look at the change, then python -m tests.launch.golden.make"
    )


def test_every_engine_has_the_same_five_functions_in_one_short_file():
    for name, engine in engines.ENGINES.items():
        for function in ("render", "submit", "states", "cancel", "logs"):
            assert callable(getattr(engine, function)), (name, function)
        assert len(pathlib.Path(engine.__file__ or "").read_text().splitlines()) < 200, name


def test_a_local_trial_is_the_command_that_loads_its_config():
    for trial, text in zip(
        made("local").trials,
        engines.engine("local").render(made("local"), engines.settings("local", {})).values(),
        strict=True,
    ):
        job, train = text.split(" -- ")
        assert f"--trial={trial.id}" in shlex.split(job.replace("\\\n", " "))
        words = shlex.split(train.replace("\\\n", " "))
        assert words[:4] == [sys.executable, "-m", "gptjax.cli", "train"]
        loaded = config.load(
            "configs/smoke.py", [word.removeprefix("--config.") for word in words if word.startswith("--config.")]
        )
        assert loaded.note == "it's $(one)" and loaded.optim.peak_lr == trial.cell["optim.peak_lr"]


@pytest.mark.parametrize("trial", ["12e45678", "12345678"])
def test_an_id_that_a_reader_of_yaml_could_take_for_a_number_stands_in_quotes(trial):
    """YAML 1.2, and so kubectl, reads 12e45678 as a number, which no label may be."""
    cell = made("jobset").trials[0]._replace(id=trial)
    alone = made("jobset")._replace(trials=[cell])
    (text,) = engines.engine("jobset").render(alone, engines.settings("jobset", {"image": "gcr.io/lab/it:1"})).values()
    assert f"gptjax-trial: '{trial}'\n" in text and f"--trial={trial}\n" in text


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("slurm")])
def test_a_batch_script_gives_each_task_its_trial_and_each_process_its_place(case, tmp_path):
    """The script runs under a shell whose Slurm is a few lines, and tells what each process was told."""
    _, runs, settings = CASES[case]
    root = batch.place(str(tmp_path / "runs"), "question")
    one = made("slurm", str(tmp_path / "runs"))
    chosen = engines.settings("slurm", settings | {"setup": "", "python": "python"})
    ((_, script),) = engines.engine("slurm").render(one, chosen).items()
    (root.here / "logs").mkdir(parents=True)
    tools = tmp_path / "tools"
    tools.mkdir()
    n_tasks = chosen.nodes * chosen.tasks_per_node
    fakes = {
        # The job is its command; the command is told on the way.
        "python": 'if [ "$2" = launch.job ]; then'
        ' while [ "$1" != -- ]; do [[ $1 = --trial=* ]] && echo "$1"; shift; done;'
        ' shift; exec "$@"; fi; env | grep ^GPTJAX_ | sort; printf "%s|" "$@"; echo',
        "srun": 'while [[ $1 = --* ]]; do shift; done; for ((t = 0; t < N_TASKS; t++)); do'
        " SLURM_PROCID=$t SLURM_LOCALID=$((t % PER_NODE)) \"$@\"; done",
        "scontrol": '[ "$2" = hostnames ] && echo n7 && echo n8 || echo "scontrol $*"',
    }  # fmt: skip
    for name, text in fakes.items():
        (tools / name).write_text(f"#!/bin/bash\n{text}\n")
        (tools / name).chmod(0o755)
    given = {
        "PATH": f"{tools}:/usr/bin:/bin",
        "SLURM_ARRAY_TASK_ID": "1",
        "SLURM_JOB_ID": "70",
        "SLURM_JOB_NODELIST": "n",
    }
    given |= {"N_TASKS": str(n_tasks), "PER_NODE": str(chosen.tasks_per_node)}
    subprocess.run(["bash", "-c", script], env=given, check=True)
    told = (root.here / "logs" / f"{one.trials[1].id}.log").read_text().splitlines()
    assert told[0] == f"--trial={one.trials[1].id}"
    if n_tasks == 1:
        assert told[1] == "GPTJAX_NUM_PROCESSES=1" and len(told) == 3
    else:
        ids = [line for line in told if line.startswith("GPTJAX_PROCESS_ID")]
        assert ids == [f"GPTJAX_PROCESS_ID={task}" for task in range(4)]
        assert told.count("GPTJAX_NUM_PROCESSES=4") == told.count("GPTJAX_COORDINATOR=n7:61510") == 4
        devices = [line.partition("=")[2] for line in told if line.startswith("GPTJAX_LOCAL_DEVICE_IDS")]
        assert devices == ["0,1,2,3", "4,5,6,7"] * 2
    words = [line for line in told if line.startswith("-m|gptjax.cli|train|")]
    assert len(words) == n_tasks and "|--config.note=it's $(one)|" in words[0]


REFUSED = [
    ("slurm", {"partition": "a b"}, None, "--on.partition='a b': must be one plain word"),
    ("slurm", {"account": "x\n#SBATCH --uid=0"}, None, "--on.account="),
    ("slurm", {"nodes": 0}, None, "--on.nodes=0: must be at least 1"),
    ("slurm", {"gpus_per_node": 3, "tasks_per_node": 2}, None, "must be a multiple of --on.tasks_per_node"),
    ("slurm", {}, "s3://bucket/runs", "Slurm needs a folder that every node sees"),
    ("local", {"device": "npu"}, None, "is one of cpu, gpu, tpu"),
    ("local", {"at_once": 0}, None, "--on.at_once=0: must be at least 1"),
    ("jobset", {}, None, "--on.image: is empty"),
    ("jobset", {"image": "a", "namespace": "a: b"}, None, "--on.namespace='a: b'"),
    ("jobset", {"image": "a"}, "/folder", "name a bucket"),
    ("jobset", {"image": "a", "accelerator": "tpu-v6e-slice"}, None, "--on.topology=''"),
    ("skypilot", {"nodes": 2, "accelerators": "tpu-v6e-16"}, None, "a TPU slice is one node"),
    ("skypilot", {}, "/folder", "name a bucket"),
]  # fmt: skip


@pytest.mark.parametrize(("engine", "given", "runs", "says"), REFUSED)
def test_settings_that_no_engine_could_use_are_refused_before_anything_is_sent(engine, given, runs, says):
    with pytest.raises(BadInput) as error:
        engines.engine(engine).render(made(engine, runs), engines.settings(engine, given))
    assert says in str(error.value)


def test_unknown_engines_and_settings_are_refused_by_name():
    for make, says in [
        (lambda: engines.engine("slrum"), "did you mean slurm?"),
        (lambda: engines.settings("slurm", {"node": 2}), "no setting node; did you mean nodes?"),
        (lambda: engines.settings("slurm", {"nodes": "2"}), "expected int"),
        (lambda: engines.settings("slurm", {}, ["nodes=two"]), "--on.nodes=two: not a valid int"),
    ]:
        with pytest.raises(BadInput) as error:
            make()
        assert says in str(error.value)
    assert engines.settings("slurm", {"nodes": 2}, ["nodes=3", "time=1:00"]).nodes == 3


@pytest.mark.skipif(shutil.which("shellcheck") is None and not os.path.exists("/bin/bash"), reason="no shell here")
@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("slurm")])
def test_a_shell_can_read_every_script(case):
    assert subprocess.run(["bash", "-n"], input=rendered(case), text=True, capture_output=True).stderr == ""
