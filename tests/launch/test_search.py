"""Trials that Optuna chooses, a pruner ends, or a promotion makes longer."""

import importlib.util
import json
import pathlib
from collections.abc import Iterator

import pytest

from gptjax.config import BadInput
from launch import halving, search
from launch.halving import Halving
from launch.search import Between, Search
from launch.sweep import Base, Sweep
from tests.launch import launcher
from tests.launch.launcher import alive, kill, run, started, states, wait_until

needs_optuna = pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="needs gptjax[search]")
SPACE = {"optim.peak_lr": Between(1e-4, 1e-2, log=True), "model.n_layers": Between(1, 4), "optim.b1": [0.8, 0.9]}
GRID = {"optim.b1": [0.8, 0.9], "optim.b2": [0.9, 0.95]}


@pytest.fixture
def runs(tmp_path, monkeypatch) -> Iterator[pathlib.Path]:
    launcher.fake(monkeypatch)
    monkeypatch.setenv("PYTHONPATH", ":".join([str(pathlib.Path.cwd()), *optuna_path()]))
    yield tmp_path / "runs"
    for process in alive(tmp_path):
        kill(process)


def optuna_path() -> list[str]:
    found = importlib.util.find_spec("optuna")
    return [str(pathlib.Path(found.origin).parents[1])] if found and found.origin else []


def write(folder: pathlib.Path, given: str, base: str = "{}") -> str:
    file = folder / "question" / "sweep.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(
        "from launch.sweep import Sweep, product, seeds\nfrom launch.search import Between, Search\n"
        "from launch.halving import Halving\n"
        f"SWEEP = Sweep(config='configs/base.py', base={base}, engines={{'local': {{'at_once': 3}}}}, {given})\n"
    )
    return str(file)


def told(runs: pathlib.Path) -> list:
    """The trials of the study, as another program reads them."""
    import optuna

    storage = optuna.storages.RDBStorage(f"sqlite:///{runs}/question/search.db")
    try:
        return optuna.load_study(study_name="question", storage=storage).trials
    finally:
        storage.remove_session()
        storage.engine.dispose()


@needs_optuna
@pytest.mark.parametrize(
    "sampler", ["tpe", *(pytest.param(name, marks=pytest.mark.prove) for name in ("random", "cmaes"))]
)
def test_a_sampler_chooses_and_is_told_every_end(runs, tmp_path, sampler):
    space = {key: value for key, value in SPACE.items() if sampler != "cmaes" or isinstance(value, Between)}
    file = write(tmp_path, f"search=Search({space!r}, n_trials=6, sampler={sampler!r}, at_once=3)")
    assert run("plan", file, runs) == 0 and not runs.exists()
    assert run("run", file, runs, "--go") == 0
    found = told(runs)
    assert [trial.state.name for trial in found] == ["COMPLETE"] * 6
    assert {trial.value for trial in found} == {-4.0} and len(states(runs)) == 6
    assert run("run", file, runs, "--go") == 0 and len(told(runs)) == 6
    assert run("status", file, runs, f"--json={tmp_path}/told") == 0
    cells = [trial["cell"] for trial in json.loads((tmp_path / "told").read_text())["trials"]]
    assert all(1e-4 <= cell["optim.peak_lr"] <= 1e-2 and 1 <= cell["model.n_layers"] <= 4 for cell in cells)


@needs_optuna
def test_a_grid_is_walked_once(runs, tmp_path):
    file = write(tmp_path, f"search=Search({GRID!r}, n_trials=4, sampler='grid', at_once=2)")
    assert run("run", file, runs, "--go") == 0
    assert {tuple(trial.params.values()) for trial in told(runs)} == {
        (0.8, 0.9), (0.8, 0.95), (0.9, 0.9), (0.9, 0.95)
    }  # fmt: skip


@needs_optuna
def test_a_killed_launcher_leaves_no_trial_running_in_the_study(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("TRAINER_STEP_S", "0.05")
    file = write(tmp_path, f"search=Search({SPACE!r}, n_trials=6, at_once=3)")
    with started(file, runs) as launch:
        wait_until(lambda: len(alive(runs)) >= 4)
        launch.kill()
        launch.wait()
        for process in alive(runs):
            kill(process)
    assert {trial.state.name for trial in told(runs)} == {"RUNNING"}
    assert run("run", file, runs, "--go") == 0
    assert [trial.state.name for trial in told(runs)] == ["COMPLETE"] * 6
    assert {state.state for state in states(runs).values()} == {"done"}
    assert len(states(runs)) == 6  # the second launcher's sampler does not choose what the first one's chose


@needs_optuna
def test_a_choice_made_before_is_told_without_another_run(runs, tmp_path):
    """Also where it comes last: nothing is left to run then, and the study must not be left with a running trial."""
    file = write(tmp_path, "search=Search({'optim.b1': [0.8]}, n_trials=5, sampler='random', at_once=2)")
    assert run("run", file, runs, "--go") == 0
    assert [trial.state.name for trial in told(runs)] == ["COMPLETE"] * 5
    assert [state.attempt for state in states(runs).values()] == [1]


@needs_optuna
def test_a_pruned_trial_ends_early_and_is_told_as_pruned(runs, tmp_path, monkeypatch):
    """The stand-in's metric is the same for all, so a pruner that wants better than the best ends every later trial."""
    import optuna

    monkeypatch.setenv("TRAINER_HOLD", "3")
    file = write(tmp_path, f"search=Search({SPACE!r}, n_trials=3, pruner='median', at_once=1)")
    picky = lambda *args: optuna.pruners.ThresholdPruner(upper=3.5, n_warmup_steps=1)  # 4.0 at step 1
    monkeypatch.setattr(optuna.pruners, "MedianPruner", picky)
    assert run("run", file, runs, "--go") == 0
    assert [trial.state.name for trial in told(runs)] == ["PRUNED"] * 3
    assert {(state.state, state.why) for state in states(runs).values()} == {("cancelled", "pruned at step 1")}
    wait_until(lambda: not alive(runs))
    assert not list(runs.glob("question/*/finished"))


@needs_optuna
def test_a_study_has_one_launcher_at_a_time(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TRAINER_STEP_S", "0.2")
    file = write(tmp_path, f"search=Search({SPACE!r}, n_trials=3)")
    with started(file, runs):
        wait_until(lambda: alive(runs))
        assert run("run", file, runs, "--go") == 2
        assert "a study has one at a time" in capsys.readouterr().err


BAD = [
    (Search(SPACE, 3, sampler="bayes"), "sampler='bayes' is not one of tpe, random, grid, cmaes"),
    (Search(SPACE, 3, pruner="half"), "pruner='half' is not one of"),
    (Search({"optim.peak_l": [1.0]}, 3), "did you mean optim.peak_lr?"),
    (Search({"optim.b1": []}, 3), "optim.b1 has nothing to choose from"),
    (Search({"n_steps": Between(0.5, 2.5)}, 3), "n_steps=0.5: expected int"),
    (Search({"optim.b1": Between(0.9, 0.1)}, 3), "low=0.9 not below high=0.1"),
    (Search(SPACE, 3, sampler="grid"), "optim.peak_lr is a range, and a grid has points"),
]


@pytest.mark.parametrize(("given", "says"), BAD)
def test_a_search_that_cannot_be_is_refused_by_name(given, says):
    with pytest.raises(BadInput) as error:
        search.check(given, Base(Sweep(config="configs/base.py", search=given)))
    assert says in str(error.value)


def base(n_steps: int, **changes) -> Base:
    given = {"n_steps": n_steps, "optim.schedule": "constant", **changes}
    return Base(Sweep(config="configs/base.py", base=given, halving=Halving(10)))


def test_rungs_grow_by_the_factor_up_to_the_whole_length():
    assert halving.lengths(Halving(100, 3), base(900)) == [100, 300, 900]
    assert halving.lengths(Halving(100, 3), base(1000)) == [100, 300, 900, 1000]
    assert halving.lengths(Halving(60, 2), base(200)) == [60, 120, 200]
    for given, of, says in [
        (Halving(900), base(900), "0 < first < n_steps=900"),
        (Halving(10, 1), base(900), "factor >= 2"),
        (Halving(10), base(900, **{"optim.schedule": "wsd"}), "optim.schedule='wsd' depends on n_steps"),
    ]:
        with pytest.raises(BadInput, match=says.replace("(", ".")):
            halving.lengths(given, of)


def test_the_length_of_a_run_that_can_be_promoted_is_not_in_its_id():
    assert base(900).trial({}, "q").id == base(300).trial({}, "q").id


PROMOTES = "cells=seeds(9), halving=Halving(first=60, factor=3)"
STEADY = "{'n_steps': 540, 'optim.schedule': 'constant'}"


@pytest.mark.parametrize("killed", [False, True])
def test_the_best_third_of_each_rung_goes_on(runs, tmp_path, killed):
    """A trial's metric is its seed, by a stand-in that counts how often it was started and up to where."""
    file = write(tmp_path, PROMOTES, STEADY)
    if killed:
        with started(file, runs) as launch:
            wait_until(lambda: sum(len(state.rungs) == 1 for state in states(runs).values()) >= 4)
            launch.kill()
    assert run("run", file, runs, "--go") == 0
    found = states(runs)
    assert sorted(state.rung for state in found.values()) == [0] * 6 + [1] * 2 + [2]
    assert all(len(state.rungs) == state.rung + 1 and state.state == "done" for state in found.values())
    words = {path.parent.name: path.read_text().splitlines() for path in runs.glob("question/*/steps")}
    best = max(found, key=lambda trial: found[trial].rung)
    assert list(dict.fromkeys(words[best])) == ["60", "180", "540"]
    values = {trial: state.rungs[0] for trial, state in found.items()}
    assert None not in values.values()
    best_first = sorted(found, key=lambda trial: values[trial] or 0)
    assert [found[trial].rung for trial in best_first] == [2, 1, 1, *[0] * 6]
