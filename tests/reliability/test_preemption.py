"""Two processes of which one is told to stop, dies or hangs: both save the same step, or the other is soon gone."""

import math
import signal
import subprocess
import time

import pytest

from gptjax.training import checkpoint
from tests.children import processes
from tests.reliability import runs
from tests.reliability.draws import draw

GONE_S, SAVED_S = 15, 5
LONG = {"n_steps": 1_000_000, "save_every": 0, "optim__schedule": "constant", "batch_tokens": 256}


@pytest.fixture
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def preempted(folder):
    """One run, preempted again and again: each draw goes on from where the one before was stopped."""
    run, words = folder / "run", runs.command(folder / "run", folder / "cache", **LONG)

    def outcome(rng, i):
        before = checkpoint.latest(f"{run}/checkpoints") or 0
        with processes(2, words) as children:
            runs.wait_for_lines(run, before + 1 + int(rng.integers(60)), children)
            time.sleep(float(rng.random()) * 0.1)
            children[rng.integers(2)].send_signal((signal.SIGTERM, signal.SIGINT)[i % 4 == 3])
            told = time.monotonic()
            codes = [child.wait(120) for child in children]
            seconds = time.monotonic() - told
        saved, lines = checkpoint.latest(f"{run}/checkpoints"), [row for row in runs.rows(run) if "train/nll" in row]
        if codes != [75, 75] or saved is None or saved <= before:
            return f"exit {codes}"
        if [row["step"] for row in lines] != list(range(saved)):
            return "lost a step"
        return f"saved, 75, within {math.ceil(seconds)} s"

    return outcome


IN_TIME = {f"saved, 75, within {seconds} s" for seconds in range(1, SAVED_S + 1)}


@pytest.mark.prove  # tests/commands/test_hosts.py has one in `make test`
def test_preemptions(preempted):
    found = draw("preemptions", 100, preempted, keep=True)
    assert sum(found[outcome] for outcome in IN_TIME) >= 99 and all(word.startswith("saved, 75") for word in found)


@pytest.fixture
def bereaved(folder):
    """A run in two processes of which one is killed or stopped, at any time after they met; the other must end."""

    def outcome(rng, i):
        words = runs.command(folder / f"run{i}", folder / "cache", **LONG)
        with processes(2, words) as children:
            assert children[0].stdout is not None
            said = children[0].stdout.readline()  # the first, once both have opened everything
            time.sleep(float(rng.random()) * 8)
            which = int(rng.integers(2))
            children[which].send_signal((signal.SIGKILL, signal.SIGSTOP)[i % 2])
            began = time.monotonic()
            try:
                code = children[1 - which].wait(60)
            except subprocess.TimeoutExpired:
                return "hangs"
            if code in (0, 75) or "parameters" not in said:
                return f"exit {code}"
            return "gone in time" if time.monotonic() - began <= GONE_S else "gone too late"

    return outcome


@pytest.mark.prove
def test_deaths_and_hangs(bereaved):
    assert draw("deaths_and_hangs", 100, bereaved, keep=True).keys() == {"gone in time"}


@pytest.fixture
def stopped_early(folder):
    """A run told to stop while it opens, compiles, restores or takes its first steps; then begun again."""
    keys = {"n_steps": 30, "save_every": 10, "model__dropout": 0.1}
    whole = folder / "whole"
    with processes(1, runs.command(whole, folder / "cache", **keys)) as (child,):
        assert child.wait(120) == 0

    def outcome(rng, i):
        run = folder / f"run{i}"
        words = runs.command(run, folder / "cache", **keys)
        with processes(1, words) as (child,):
            time.sleep(float(rng.random()) * 8)
            child.send_signal(signal.SIGTERM)
            code = child.wait(120)
        with processes(1, words) as (child,):
            again = child.wait(120)
        if code not in (75, -signal.SIGTERM, 0) or again != 0:
            return f"exit {code}, then {again}"
        return "goes on" if runs.losses(run) == runs.losses(whole) else "differs"

    return outcome


def test_a_signal_at_any_time_of_the_start_does_no_harm(stopped_early):
    assert draw("early_stops", 1, stopped_early, keep=False).keys() == {"goes on"}


@pytest.mark.prove
def test_early_stops(stopped_early):
    assert draw("early_stops", 60, stopped_early, keep=True).keys() == {"goes on"}
