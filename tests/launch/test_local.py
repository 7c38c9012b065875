"""The local engine through its faults: no trial is lost, doubled or left running."""

import json
import pathlib
import random
import sys
import time
from collections.abc import Iterator

import pytest

from launch import job
from launch.table import State, Table
from tests.launch import launcher
from tests.launch.launcher import alive, kill, run, started, states, wait_until, write


@pytest.fixture
def runs(tmp_path, monkeypatch) -> Iterator[pathlib.Path]:
    """A folder for runs; nothing of it is alive after the test."""
    launcher.fake(monkeypatch)
    monkeypatch.setenv("PYTHONPATH", str(pathlib.Path.cwd()))
    yield tmp_path / "runs"
    for process in alive(tmp_path):
        kill(process)


def check(runs: pathlib.Path, n: int, name: str = "question") -> None:
    """Every trial done once: none lost, none doubled, no process left."""
    found = states(runs, name)
    assert {trial: (state.state, state.why) for trial, state in found.items() if state.state != "done"} == {}
    folders = [path for path in (runs / name).iterdir() if (path / "checkpoints").exists()]
    assert len(found) == len(folders) == n
    assert [path for path in folders if (path / "doubled").exists()] == []
    assert [path for path in folders if not (path / "finished").exists()] == []
    wait_until(lambda: alive(runs) == {})  # a job that has written its last word is about to leave


def test_a_sweep_runs_to_its_end_and_is_not_run_again(runs, tmp_path, capsys):
    file = write(tmp_path, "seeds(5)", at_once=2)
    assert run("plan", file, runs) == 0
    assert "nothing was started" in capsys.readouterr().out and not runs.exists()
    assert run("run", file, runs) == 0 and not runs.exists(), "only --go starts anything"
    assert run("run", file, runs, "--go") == 0
    check(runs, 5)
    before = states(runs)
    assert {state.result["eval/nll"] for state in before.values()} == {-4.0}
    assert run("run", file, runs, "--go") == 0
    assert states(runs) == before
    write(tmp_path, "seeds(7)", at_once=2)
    assert run("run", file, runs, "--go") == 0
    check(runs, 7)
    assert {trial: state for trial, state in states(runs).items() if trial in before} == before


@pytest.mark.parametrize(("note", "attempts", "why"), [("code=2", 1, "bad input"), ("code=3", 1, "diverged"),
                                                        ("code=1", 3, "ended with code 1, 3 times"),
                                                        ("code=75", 3, "stopped, 3 times")])  # fmt: skip
def test_what_is_retried_and_how_often(runs, tmp_path, note, attempts, why, capsys):
    file = write(tmp_path, f"[dict(note={note!r})]", max_failures=2)
    assert run("run", file, runs, "--go") == 1
    (state,) = states(runs).values()
    assert (state.state, state.attempt) == ("failed", attempts) and why in state.why
    assert run("run", file, runs, "--go") == 1 and list(states(runs).values()) == [state], "a failed trial stays so"
    assert run("retry", file, runs) == 0 and list(states(runs).values()) == [state], "without --go nothing is touched"
    assert run("retry", file, runs, "--go") == 1
    (again,) = states(runs).values()
    assert again.attempt == 2 * attempts
    assert run("logs", file, runs) == 0


def test_a_killed_worker_goes_on_from_what_it_saved(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("TRAINER_STEP_S", "0.1")
    file = write(tmp_path, "seeds(1)")
    with started(file, runs) as launch:
        wait_until(lambda: list(runs.glob("question/*/checkpoints/3")))
        (worker,) = [process for process, words in alive(runs).items() if "trainer.py" in words.split(" -- ")[0]]
        kill(worker)
        assert launch.wait(30) == 0
    check(runs, 1)
    (state,) = states(runs).values()
    assert state.attempt == 2 and state.event > 5


@pytest.mark.parametrize("victim", ["launcher", "job", "node"])
def test_whoever_is_killed_the_next_launcher_goes_on(runs, tmp_path, monkeypatch, victim):
    monkeypatch.setenv("TRAINER_STEP_S", "0.05")
    file = write(tmp_path, "seeds(3)", at_once=2)
    with started(file, runs) as launch:
        wait_until(lambda: len(list(runs.glob("question/*/checkpoints/3"))) == 2)
        if victim == "launcher":
            launch.kill()
            launch.wait()
            wait_until(lambda: len(list(runs.glob("question/*/finished"))) == 2)  # they go on by themselves
        for process, words in alive(runs).items():
            if victim == "node" or victim == "job" and "launch.job" in words:
                kill(process)
    assert run("run", file, runs, "--go") == 0
    check(runs, 3)


def test_two_launchers_share_a_sweep_and_its_slots(runs, tmp_path):
    file = write(tmp_path, "seeds(8)", at_once=2)
    most = 0
    with started(file, runs) as one, started(file, runs) as other:
        while one.poll() is None or other.poll() is None:
            most = max(most, sum("trainer.py" in words and "launch.job" not in words for words in alive(runs).values()))
            time.sleep(0.02)  # a trial is there for 0.1 s
        assert one.returncode == other.returncode == 0
    check(runs, 8)
    assert most <= 2
    assert {state.attempt for state in states(runs).values()} == {1}


def test_a_cancelled_trial_saves_ends_and_stays_so(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TRAINER_STEP_S", "0.05")
    file = write(tmp_path, "seeds(3)", at_once=2)
    with started(file, runs) as launch:
        wait_until(lambda: len(list(runs.glob("question/*/checkpoints/2"))) == 2)
        assert run("cancel", file, runs) == 0
        assert launch.wait(30) == 1
    wait_until(lambda: not alive(runs))
    found = states(runs)
    assert {state.state for state in found.values()} == {"cancelled"} and len(found) == 3
    assert not list(runs.glob("question/*/finished"))
    one = min(found)
    assert run("run", file, runs, "--go") == 1 and states(runs) == found
    assert run("retry", file, runs, f"--trial={one}", "--go") == 0
    assert states(runs)[one].state == "done"


def test_a_cancel_that_was_cut_off_is_taken_up_by_the_next(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("TRAINER_STEP_S", "1")
    file = write(tmp_path, "seeds(1)")
    with started(file, runs):
        wait_until(lambda: alive(runs) and all(s.state == "running" for s in states(runs).values()))
        table = Table(str(runs / "question/table"))
        ((trial, state),) = table.latest().items()
        assert table.append(trial, state.next("cancelled"))  # and its writer was killed before it told the job
        assert run("cancel", file, runs) == 0
        wait_until(lambda: not alive(runs))
    assert states(runs)[trial].state == "cancelled"


def test_a_job_that_comes_late_starts_nothing(runs, tmp_path):
    table = Table(str(runs / "table"))
    for state in ("submitted", "cancelled", "done"):
        trial = f"t-{state}"
        table.append(trial, State().next(state, batch="newer" if state == "submitted" else "mine"))
        words = [f"--table={runs}/table", f"--trial={trial}", "--batch=mine", "--engine=local", f"--workdir={runs}/w"]
        touch = [sys.executable, "-c", f"open({str(tmp_path / 'started')!r}, 'w')"]
        assert job.main([*words, "--max_failures=3", "--metric=eval/nll", "--", *touch]) == 0
        assert table.get(trial).event == 1
    assert not (tmp_path / "started").exists()


PROCESSES = """
import json, os, sys
names = ("GPTJAX_NUM_PROCESSES", "GPTJAX_PROCESS_ID", "GPTJAX_COORDINATOR", "CUDA_VISIBLE_DEVICES")
with open(f"{sys.argv[1]}-{os.environ['GPTJAX_PROCESS_ID']}", "w") as file:
    json.dump([os.environ.get(name) for name in names], file)
"""


def test_several_processes_are_told_who_they_are_and_given_their_own_devices(tmp_path, monkeypatch):
    table = Table(str(tmp_path / "table"))
    table.append("t", State().next("submitted", batch="b"))
    words = [f"--table={tmp_path}/table", "--trial=t", "--batch=b", "--engine=local", f"--workdir={tmp_path}"]
    words += ["--max_failures=3", "--metric=x", "--processes=2", "--own=CUDA_VISIBLE_DEVICES=4,5"]
    words += ["--own=CUDA_VISIBLE_DEVICES=6,7", "--", sys.executable, "-c", PROCESSES, str(tmp_path / "told")]
    assert job.main(words) == 0
    told = [json.loads((tmp_path / f"told-{process}").read_text()) for process in range(2)]
    assert [one[:2] for one in told] == [["2", "0"], ["2", "1"]]
    assert told[0][2] == told[1][2] and told[0][2].startswith("127.0.0.1:")
    assert [one[3] for one in told] == ["4,5", "6,7"]


def chaos(runs: pathlib.Path, file: str, n_kills: int, seed: int) -> int:
    """Kills launchers, jobs, workers and whole nodes at random moments, with two launchers at a time; how many."""
    draw, kills = random.Random(seed), 0
    while kills < n_kills:
        with started(file, runs) as one, started(file, runs) as other:
            until = time.monotonic() + draw.uniform(0.5, 4)
            while time.monotonic() < until and kills < n_kills:
                time.sleep(draw.uniform(0, 0.1))
                victims = alive(runs)
                if victims and draw.random() < 0.1:  # a node: all that runs on it
                    for process in victims:
                        kill(process)
                        kills += 1
                elif victims:
                    kill(draw.choice(list(victims)))
                    kills += 1
                if one.poll() is not None and other.poll() is not None:
                    return kills
        kills += 2  # both launchers, by the end of the block
    return kills


def survives(runs: pathlib.Path, tmp_path: pathlib.Path, n_kills: int, n_trials: int) -> int:
    kills, sweeps = 0, 0
    while kills < n_kills:
        file = write(tmp_path, f"seeds({n_trials})", max_failures=10_000, name=f"q{sweeps}", at_once=4)
        kills += chaos(runs, file, n_kills - kills, sweeps)
        assert run("run", file, runs, "--go") == 0
        check(runs, n_trials, f"q{sweeps}")
        sweeps += 1
    return kills


def test_random_kills_lose_double_and_strand_no_trial(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("TRAINER_STEP_S", "0.02")
    assert survives(runs, tmp_path, 25, 8) >= 25


@pytest.mark.prove
def test_450_random_kills_lose_double_and_strand_no_trial(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TRAINER_STEP_S", "0.02")
    kills = survives(runs, tmp_path, 450, 40)
    with capsys.disabled():
        print(f"\n{kills} kills: 0 lost, 0 doubled, 0 left running")
