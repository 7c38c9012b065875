"""Tasks for SkyPilot: what `sky` is told, and (with SkyPilot installed elsewhere) that it reads them."""

import json
import os
import pathlib
import subprocess
import time

import pytest

from launch import batch, engines, skypilot, sweep
from launch.sweep import Base
from launch.table import State
from tests.launch.golden.make import CASES, SWEEP, rendered

PYTHON = os.environ.get("GPTJAX_SKYPILOT_PYTHON", "")  # of an environment with skypilot, which shares none with ours
READ = """
import sys, sky
task = sky.Task.from_yaml(sys.argv[1])
(resources,) = task.resources
print(task.num_nodes, resources.use_spot, resources.job_recovery["recover_on_exit_codes"], sep="|")
"""
SKY = """#!/bin/bash
echo "$*" >> "$TOLD"
[ "$2" = queue ] && cat "$ITEMS"
exit 0
"""


@pytest.mark.skipif(not PYTHON, reason="names no Python with skypilot in GPTJAX_SKYPILOT_PYTHON")
@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("skypilot")])
def test_skypilot_reads_every_task(case, tmp_path):
    for number, text in enumerate(part for part in rendered(case).split("# gptjax-") if part):
        file = tmp_path / f"{number}.yaml"
        file.write_text(text.partition("\n")[2])
        done = subprocess.run([PYTHON, "-c", READ, str(file)], capture_output=True, text=True, cwd=tmp_path)
        nodes, spot, codes = done.stdout.strip().splitlines()[-1].split("|") if done.stdout else ("", "", done.stderr)
        assert (nodes, spot, codes) == (("1", "True", "[75]") if "slice" in case else ("2", "False", "[75]"))
        planted = tmp_path / "planted.yaml"
        planted.write_text(file.read_text().replace("num_nodes:", "num_node:"))
        assert subprocess.run([PYTHON, "-c", READ, str(planted)], capture_output=True, cwd=tmp_path).returncode


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("skypilot")])
def test_each_host_is_told_its_place(case, tmp_path):
    """The lines of `run` under a shell whose SkyPilot is a few variables; the job is replaced by what it was told."""
    _, _, settings = CASES[case]
    lines = skypilot.place(engines.settings("skypilot", settings))
    given = {"SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "SKYPILOT_NODE_RANK": "1", "SKYPILOT_NUM_GPUS_PER_NODE": "8"}
    script = "\n".join([*lines, "env | grep ^GPTJAX_ | sort"])
    told = subprocess.run(["bash", "-c", script], env=given | {"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    devices = [] if "slice" in case else ["GPTJAX_LOCAL_DEVICE_IDS=0,1,2,3,4,5,6,7"]
    assert told.stdout.splitlines() == [
        "GPTJAX_COORDINATOR=10.0.0.1:8476", *devices, "GPTJAX_NUM_PROCESSES=2", "GPTJAX_PROCESS_ID=1"
    ]  # fmt: skip


def test_sky_is_told_to_launch_ask_and_cancel(tmp_path, monkeypatch):
    (tmp_path / "sky").write_text(SKY)
    (tmp_path / "sky").chmod(0o755)
    for name, value in {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "TOLD": tmp_path / "told",
        "ITEMS": tmp_path / "items",
    }.items():
        monkeypatch.setenv(name, str(value))
    settings, place = (
        engines.settings("skypilot", CASES["skypilot_gpus"][2]),
        batch.place("s3://bucket/runs", "question"),
    )
    trials = sweep.trials(SWEEP, Base(SWEEP), "question")
    made = batch.Batch("question-0123abcd", place, SWEEP.config, trials, 3, "eval/nll")
    jobs = skypilot.submit(made, settings, lambda trial: trial is trials[1])
    named = f"gptjax-{trials[1].id}-0123abcd"
    assert jobs == {trials[1].id: named}
    told = (tmp_path / "told").read_text().split()
    assert told[:6] == ["jobs", "launch", "--yes", "--detach-run", "--name", named]
    assert pathlib.Path(told[6]).read_text() == skypilot.render(made, settings)[f"{named}.yaml"]

    status = {"runs": "RUNNING", "back": "RECOVERING", "done": "SUCCEEDED", "failed": "FAILED_SETUP"}
    rows = [{"job_name": f"gptjax-{one}-0123abcd", "status": word} for one, word in status.items()]
    (tmp_path / "items").write_text(json.dumps(rows))
    live = {one: State(state="queued", batch=made.name, at=time.time()) for one in (*status, "lost")}
    assert skypilot.states(live, place, settings) == {
        "runs": "alive", "back": "alive", "done": "gone", "failed": "gone", "lost": "gone"
    }  # fmt: skip
    skypilot.cancel({"runs": live["runs"]}, place, settings)
    last = (tmp_path / "told").read_text().splitlines()[-1]
    assert last == "jobs cancel --yes --name gptjax-runs-0123abcd"
