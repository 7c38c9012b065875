"""A watch ends what is stuck, and nothing else; each in a process of its own."""

import os
import signal
import subprocess
import sys
import time

import pytest

PROGRAM = """
import sys, time
from gptjax.runs.clock import Clock
from gptjax.training.watch import Watch

def stand_still(seconds):
    time.sleep(seconds)

clock = Clock(time.time())
with Watch(clock, 0.5, sys.argv[1], 3):
    clock("compile")
    for _ in range(4):
        clock("data")
        time.sleep(0.1)
        clock("step")
    {then}
print("came to the end")
"""


def begun(tmp_path, then):
    words = [sys.executable, "-c", PROGRAM.replace("{then}", then), str(tmp_path)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("kind", ["data", "step"])
def test_a_stuck_step_is_dumped_and_ended(kind, tmp_path):
    """The median step takes 0.1 s, so that 1 s is allowed."""
    started = time.monotonic()
    child = begun(tmp_path, f"clock('{kind}'); stand_still(60)")
    said, error = child.communicate(timeout=60)
    assert (child.returncode, said) == (1, "") and time.monotonic() - started < 30
    first, _, stacks = error.partition("\n")
    assert f"stuck in {kind} for 1 s, where 1 s are allowed" in first and f"{tmp_path}/stuck-3.txt" in first
    assert "in stand_still" in stacks and "Thread" in stacks
    assert (tmp_path / "stuck-3.txt").read_text() == error


@pytest.mark.prove
def test_a_stuck_save_is_ended_later(tmp_path):
    child = begun(tmp_path, "clock('save'); time.sleep(3); clock('data'); stand_still(60)")
    assert "stuck in data" in child.communicate(timeout=60)[1] and child.returncode == 1
    child = begun(tmp_path, "clock('save'); stand_still(60)")
    assert "stuck in save for 15 s" in child.communicate(timeout=60)[1] and child.returncode == 1


def test_a_process_that_was_stopped_and_goes_on_is_not_stuck(tmp_path):
    child = begun(tmp_path, "print('now', flush=True); [time.sleep(0.1) for _ in range(5)]")
    assert child.stdout is not None and child.stdout.readline() == "now\n"
    os.kill(child.pid, signal.SIGSTOP)
    time.sleep(2.5)
    os.kill(child.pid, signal.SIGCONT)
    said, error = child.communicate(timeout=60)
    assert (child.returncode, said, error) == (0, "came to the end\n", "")
