"""What a plan and a status say, what they cost, and what is left blank."""

import json
import pathlib
import subprocess
import sys

import pytest

from gptjax import config
from gptjax.config import BadInput
from gptjax.planning import flops, topology
from launch import __main__, plan, sweep
from launch.sweep import Base, Sweep, product, seeds
from launch.table import State, Table

SWEEP = Sweep(config="configs/gpt2_124m.py", cells=product({"n_steps": [10_000, 20_000]}, seeds(2)))
LARGE = "[{'seed': s, 'optim.peak_lr': 1e-4 * (1 + r)} for s in range(100) for r in range(100)]"


def planned(on: str | None = None, made: Sweep = SWEEP) -> plan.Plan:
    base = Base(made)
    return plan.make(base, sweep.trials(made, base, "question"), on, False, False)


def test_tokens_and_flops_are_of_each_trial_and_of_all():
    found, cfg = planned(), config.load("configs/gpt2_124m.py")
    assert found.total("tokens") == 60_000 * cfg.batch_tokens
    assert found.total("flops") == pytest.approx(60_000 * cfg.batch_tokens * flops.train_flops_per_token(cfg.model))
    assert found.total("chip_hours") is None and found.dollars is None, "without a machine nobody knows"


def test_memory_and_hours_are_those_of_gptjax_plan(tmp_path):
    found = planned("v5e:4x4")
    words = ["plan", "--config=configs/gpt2_124m.py", "--topology=v5e:4x4", "--no_compile", "--config.n_steps=10000"]
    subprocess.run(
        [sys.executable, "-m", "gptjax.cli", *words, f"--json={tmp_path}/plan"], check=True, capture_output=True
    )
    said = json.loads((tmp_path / "plan").read_text())
    cost = next(iter(found.costs.values()))
    assert cost.memory_bytes == said["memory_bytes"] and cost.fits == said["fits"]
    assert cost.chip_hours == pytest.approx(said["estimate"]["chip_hours"])
    assert cost.chip_hours is not None
    assert found.total("chip_hours") == pytest.approx(6 * cost.chip_hours)
    assert found.dollars is None, "the shipped table has no prices"


PRICES = 'as_of = "2026-11-25"\n[v5e]\non_demand = 1.5\nspot = 0.5\n[h100]\non_demand = 3\n'


def test_a_price_has_its_date_or_is_blank(tmp_path):
    file = tmp_path / "prices.toml"
    file.write_text(PRICES)
    v5e, h100, v4 = (topology.parse(text) for text in ("2*v5e:4x4", "h100:1x8", "v4:2x2x1"))
    assert plan.price_of(v5e, False, file) == (1.5, "2026-11-25")
    assert plan.price_of(v5e, True, file) == (0.5, "2026-11-25")
    assert plan.price_of(h100, True, file) == (None, "2026-11-25")
    assert plan.price_of(v4, False, file) == (None, "2026-11-25")
    for text in (
        PRICES.partition("\n")[2],
        PRICES.replace("2026-11-25", "today"),
        "[v5e]\n=",
        'as_of="2026-11-25"\n[v5e]\non_demand="x"',
    ):
        file.write_text(text)
        with pytest.raises(BadInput, match="not a table of prices with its date"):
            plan.price_of(v5e, False, file)
    assert plan.price_of(v5e, False) == (None, None)


@pytest.fixture
def large(tmp_path) -> list[str]:
    """A sweep of 10,000 trials, all of which have been started: 30,000 events."""
    file = tmp_path / "large" / "sweep.py"
    file.parent.mkdir()
    file.write_text(f"from launch.sweep import Sweep\nSWEEP = Sweep(config='configs/smoke.py', cells={LARGE})")
    return [str(file), f"--runs={tmp_path}/runs"]


def cpu_seconds(*words: str) -> float:
    """User and system seconds of `python -m launch`, which other load of this machine leaves alone."""
    program = "import os, sys; from launch.__main__ import main; code = main(sys.argv[1:]); t = os.times()"
    program += "; print('seconds', t.user + t.system); sys.exit(code)"
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


@pytest.mark.prove  # it is timed
def test_ten_thousand_trials_are_planned_in_five_seconds(large):
    assert cpu_seconds("run", *large, "--topology=v5e:1x1") < 5


@pytest.mark.prove
def test_the_state_of_ten_thousand_trials_is_told_in_two_seconds(large, tmp_path):
    name, made = sweep.load(large[0])
    table = Table(f"{tmp_path}/runs/large/table")
    for number, trial in enumerate(sweep.trials(made, Base(made), name)):
        folder = pathlib.Path(table.root, trial.id)
        folder.mkdir(parents=True)
        state = State().next("submitted")
        for kind in ("submitted", "running", "done"):
            state = state.next(kind, result={"step": 220, "eval/nll": number / 1e4})
            (folder / f"{state.event - 1:05d}.json").write_text(json.dumps(vars(state) | {"event": state.event - 1}))
    assert cpu_seconds("status", *large) < 2


def test_it_starts_at_once_and_says_what_it_can_do():
    program = "import resource, subprocess, sys; subprocess.run([sys.executable, '-m', 'launch', '--help'], check=True)"
    program += "; used = resource.getrusage(resource.RUSAGE_CHILDREN); print(used.ru_utime + used.ru_stime)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "start what has not been" in done.stdout and float(done.stdout.split()[-1]) < 1


REFUSED = [
    (["plan"], "the following arguments are required"),
    (["paln", "x"], "no command paln; did you mean plan?"),
    (["plan", "experiments/none/sweep.py"], "experiments/none/sweep.py: no such file"),
    (["plan", "{file}", "--on=slrum"], "--on=slrum: did you mean slurm?"),
    (["plan", "{file}", "--on.at_onc=2"], "the engine local has no setting at_onc; did you mean at_once?"),
    (["plan", "{file}", "--config.seed=2"], "--config.seed: changes the numbers of every trial"),
    (["plan", "{file}", "--config.mesh.dat=2"], "did you mean mesh.data?"),
    (["plan", "{file}", "--config.mesh.data"], "expected --config.mesh.data=VALUE"),
    (["plan", "{file}", "--fast"], "--fast: not a flag of plan"),
    (["plan", "{file}", "--topolgy=v5e:4x4"], "--topolgy=v5e:4x4: not a flag of plan; did you mean --topology?"),
    (["cancel", "{file}", "--trial=98d0"], "--trial=98d0: the sweep has no such trial; did you mean 98d059fc4065?"),
    (["plan", "{file}", "--trial=abc"], "--trial=abc: the sweep has no such trial"),
    (["plan", "{file}", "--runs="], "--runs: name a folder or a bucket"),
    (["plan", "{file}", "--topology=v5x:4x4"], "--topology=v5x:4x4"),
    (["plan", "{file}", "--compile"], "--compile: name a machine too"),
    (["plan", "{file}", "--json={file}/x"], "name a file that can be written"),
    (["logs", "{file}"], "name one of the 2 trials"),
]


@pytest.fixture
def small(tmp_path) -> str:
    file = tmp_path / "small" / "sweep.py"
    file.parent.mkdir()
    file.write_text("from launch.sweep import Sweep, seeds\nSWEEP = Sweep(config='configs/base.py', cells=seeds(2))")
    return str(file)


@pytest.mark.parametrize(("words", "says"), REFUSED)
def test_bad_words_are_refused_in_one_line(small, tmp_path, monkeypatch, capsys, words, says):
    runs = [f"--runs={tmp_path}/runs"] if len(words) > 2 else []
    given = [word.format(file=small) for word in words]
    assert __main__.main([*given[:2], *runs, *given[2:]]) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1 and err.startswith("launch: ")
    assert not (tmp_path / "runs").exists()


def test_the_plan_of_trials_that_wait_is_their_exact_commands(small, tmp_path, capsys):
    assert __main__.main(["plan", small, f"--runs={tmp_path}/runs", "--config.mesh.data=2"]) == 0
    out = capsys.readouterr().out
    specs, _, last = out.partition("nothing was started; ")
    assert specs.count("--config.mesh.data=2") == 2 and "--config.seed=1" in specs
    assert last == f"python -m launch run {small} --runs={tmp_path}/runs --config.mesh.data=2 --go does\n"
