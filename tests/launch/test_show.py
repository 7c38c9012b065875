"""What a person reads of a sweep on a terminal of 80 columns, and of a bucket or an engine that does not answer."""

import io
import sys

import fsspec
import pytest
from rich.console import Console

from launch import __main__, engines, plan, show, sweep
from launch.flags import COMMANDS, EXAMPLES, parsed
from launch.sweep import Base, Sweep, product, seeds, zip_

OF_OPTIMIZERS = {"optim.name": ["adamw", "lion"], "optim.b1": [0.9, 0.95]}
OF_BOTH = zip_(OF_OPTIMIZERS | {"optim.clip_norm": [1.0, 0.5]})
CELLS = product({"optim.peak_lr": [1e-4, 1e-3]}, OF_BOTH, seeds(2))
SWEEP = Sweep(config="configs/gpt2_124m.py", cells=CELLS)


def drawn(monkeypatch, on: str | None) -> str:
    base = Base(SWEEP)
    trials = sweep.trials(SWEEP, base, "question")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    shown = io.StringIO()
    Console(width=80, file=shown, highlight=False).print(show.plan(plan.make(base, trials, on, False, False), trials))
    text = shown.getvalue()
    assert all(trial.id in text for trial in trials), "an ID that is cut cannot be typed"
    return text


def test_a_plan_fits_80_columns_and_says_once_what_all_trials_share(monkeypatch):
    text = drawn(monkeypatch, "v5e:4x4")
    assert "…" not in text and max(map(len, text.splitlines())) <= 80
    assert text.count("FLOPs") == 2 and "each trial: tokens 2.949e+11, FLOPs 2.353e+20, " in text.replace("\n", " ")


def test_what_a_plan_leaves_blank_is_said_with_what_fills_it():
    base = Base(SWEEP)
    trials = sweep.trials(SWEEP, base, "question")
    without, on = (plan.make(base, trials[:1], name, False, False) for name in (None, "v5e:4x4"))
    sky = engines.settings("skypilot", {})
    assert show.unknown(without, sky)[0].startswith("memory, hours and price: add --topology=")
    assert show.unknown(on, sky)[0].startswith("no price: launch/prices.toml has none for v5e")
    assert "WITHOUT accelerators: no --on.accelerators" in show.unknown(on, sky)[1]
    assert len(show.unknown(on, engines.settings("skypilot", {"accelerators": "H100:8"}))) == 1


@pytest.fixture
def dead_bucket(monkeypatch):
    def find(self, path, **_):
        raise ValueError("Unable to locate\ncredentials")

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "find", find)


SILENT = "launch: --runs: /none/optimizers/table cannot be read (Unable to locate credentials); look at its name"


def test_a_bucket_that_does_not_answer_costs_a_plan_only_what_has_ended(dead_bucket, capsys):
    words = ["experiments/optimizers/sweep.py", "--runs=memory://none", "--on=skypilot", "--on.accelerators=H100:8"]
    assert __main__.main(["plan", *words]) == 0
    told = capsys.readouterr()
    assert SILENT in told.err and "accelerators: H100:8" in told.out
    for command in ("status", "cancel"):
        assert __main__.main([command, *words]) == 1
        assert capsys.readouterr().err.startswith(SILENT)


def test_what_an_engine_says_again_and_again_is_told_once(capsys):
    told = __main__.Teller()
    for name in ("0a1b2c3d", "deadbeef"):
        told(f"slurm took nothing: sbatch q-{name}.sh")
    told("slurm took nothing: another reason")
    assert capsys.readouterr().err.count("\n") == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_an_example_that_parses(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        parsed([command, "--help"])
    text = capsys.readouterr().out
    assert "example: python -m launch" in " ".join(text.split()) and max(map(len, text.splitlines())) <= 80
    assert ("--go" in text.partition("options")[2].partition("--config.KEY")[0]) == (
        command in ("plan", "run", "retry")
    )
    parsed([command, *EXAMPLES[command].split()])
