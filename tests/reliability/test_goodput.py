"""Every second of a run that was killed and went on is accounted for; a run that is stuck ends."""

import signal
import time

import pytest

from gptjax.runs import clock, log
from tests.children import processes
from tests.reliability import runs


def test_the_seconds_of_a_run_that_was_killed_add_up(tmp_path):
    """Wall time as it is seen from outside, from the start of the first process to the end of the second."""
    words = runs.command(tmp_path / "run", tmp_path / "cache", n_steps=2000, save_every=40, log_every=3, eval_every=90)
    began = time.time()
    with processes(1, words) as (child,):
        runs.wait_for_lines(tmp_path / "run", 30, [child])
        child.send_signal(signal.SIGKILL)
        child.wait(60)
        killed = time.time()
    begun_anew = time.time()
    with processes(1, words) as (child,):
        runs.wait_for_lines(tmp_path / "run", 60, [child])
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 75
    wall = time.time() - began
    found = clock.goodput(log.read_metrics(str(tmp_path / "run")))
    assert found.wall_s == pytest.approx(wall, rel=0.01)
    assert all(found.seconds[kind] > 0 for kind in ("start", "open", "compile", "restore", "step", "data", "save"))
    assert found.seconds["lost"] > 0
    assert 0 < found.seconds["idle"] < begun_anew - killed + 1


STUCK = """
import sys, time
from gptjax import cli
from gptjax.data.batches import Batches

make_batch = Batches.__call__

def store_that_hangs(batches, step):
    if step == 6:
        time.sleep(600)
    return make_batch(batches, step)

Batches.__call__ = store_that_hangs
sys.exit(cli.main())
"""


def test_a_run_whose_data_hangs_ends_with_the_stacks_in_its_directory(tmp_path):
    words = runs.command(tmp_path / "run", tmp_path / "cache", stuck_after_s=1, save_every=4)
    with processes(1, words, program=("-c", STUCK)) as (child,):
        error = child.communicate(timeout=120)[1]
        assert child.returncode == 1
    assert "gptjax: stuck in data for" in error and "in store_that_hangs" in error
    assert "in store_that_hangs" in (tmp_path / "run/stuck-0.txt").read_text()
    assert (tmp_path / "run/checkpoints/4").is_dir()
