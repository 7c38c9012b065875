"""Cells, ids and what a spec is refused for."""

import dataclasses
import math

import pytest

from gptjax import config
from gptjax.config import BadInput
from launch import sweep
from launch.sweep import Base, Sweep, chain, product, seeds, when, zip_

BASE = "configs/base.py"
RATES = {"optim.peak_lr": [1e-3, 3e-3]}


def trials(cells, **changes):
    made = Sweep(config=BASE, cells=cells, **changes)
    return sweep.trials(made, Base(made), "question")


def ids(cells, free=None, **changes) -> list[str]:
    made = Sweep(config=BASE, cells=cells, **changes)
    return [trial.id for trial in sweep.trials(made, Base(made, free), "question")]


def test_cells_are_what_their_functions_say():
    assert product({"a": [1, 2], "b": "xy".split("x")}) == [
        {"a": 1, "b": ""}, {"a": 1, "b": "y"}, {"a": 2, "b": ""}, {"a": 2, "b": "y"}
    ]  # fmt: skip
    assert zip_({"a": [1, 2], "b": [3, 4]}) == [{"a": 1, "b": 3}, {"a": 2, "b": 4}]
    assert product(zip_({"a": [1, 2], "b": [3, 4]}), seeds(2, first=5))[1] == {"a": 1, "b": 3, "seed": 6}
    assert chain(seeds(1), seeds(1, first=7)) == [{"seed": 0}, {"seed": 7}]
    only = when(product({"a": [1, 2]}), {"a": 2}, {"c": [8, 9]})
    assert only == [{"a": 1}, {"a": 2, "c": 8}, {"a": 2, "c": 9}]
    assert when(product({"a": [1, 2]}), lambda cell: cell["a"] < 2, seeds(1)) == [{"a": 1, "seed": 0}, {"a": 2}]


REFUSED = [
    (lambda: product({"optim.peak_lr": []}), "the sweep's axis optim.peak_lr is empty"),
    (lambda: product({"seed": [1, 2, 1]}), "the sweep's axis seed has 1 twice"),
    (lambda: product({"optim.name": "adamw"}), "the sweep's axis optim.name='adamw': must be a list"),
    (lambda: product(RATES, RATES), "axis optim.peak_lr stands there twice"),
    (lambda: product(RATES, []), "a list of cells is empty"),
    (lambda: zip_({"a": [1, 2], "b": [1]}), "zip_: b has 1 values, and a has 2"),
    (lambda: when(seeds(2), {"seed": 5}, RATES), "when: no cell has {'seed': 5}"),
    (lambda: trials([{"optim.peak_lrr": 1.0}]), "config has no key optim.peak_lrr; did you mean optim.peak_lr?"),
    (lambda: trials([{"n_steps": "many"}]), "n_steps='many': expected int"),
    (lambda: trials([{"seed": 1}, {"seed": 1}]), "two cells are one trial"),
    (lambda: trials([{"seed": 0}, {"mesh.data": 2}]), "two cells are one trial"),
    (lambda: trials([]), "the sweep has no cells"),
    (lambda: ids(seeds(1), free={"seed": 3}), "--config.seed: changes the numbers of every trial"),
    (lambda: ids(seeds(1), base={"model.d_modl": 3}), "did you mean model.d_model?"),
]


@pytest.mark.parametrize(("make", "says"), REFUSED)
def test_what_no_sweep_could_mean_is_refused_by_name(make, says):
    with pytest.raises(BadInput) as error:
        make()
    assert says in str(error.value)


def test_an_id_is_of_what_changes_the_numbers_alone():
    assert ids(seeds(3)) == ids(seeds(3), free={"mesh.data": 2, "log_every": 3, "name": "x", "model.remat": "full"})
    assert ids(seeds(3)) != ids(seeds(3), base={"optim.b1": 0.91})
    assert ids(product(RATES)) == ids(chain(product(RATES), [{"optim.peak_lr": 1.0}]))[:2]
    assert ids([{"seed": 0}]) == ids([{}]), "a value that the config has anyway is no other trial"
    assert ids([{"optim.peak_lr": 1}]) == ids([{"optim.peak_lr": 1.0}])
    rollback = {"spike.action": "rollback", "keep_every": 1000}
    assert ids([rollback]) != ids([rollback | {"keep_every": 500}]), "there a spike goes back to what was kept"


def test_what_does_not_change_the_numbers_may_differ_on_resume():
    keys = [key for key in config.key_types() if sweep.keeps_numbers(key)]
    assert "mesh.data" in keys and "eval_every" in keys and "model.attention" in keys
    assert {config.resume_rule(key) for key in keys} == {"free"}
    free = {key for key in config.key_types() if config.resume_rule(key) == "free"}
    assert free - set(keys) == {
        "n_steps", "eval_tokens", "stop_patience", "spike.action", "spike.threshold", "spike.window"
    }  # fmt: skip


EVERY_KIND = {
    "n_steps": 77, "optim.peak_lr": 3e-4, "optim.eps": 1e-12, "model.bias": False, "note": "two words; $(x)",
    "data.corpora": ("python", "synthetic"), "data.weights": (0.25, 1.0), "profile_steps": (3, 5), "tags": ("a b", "c"),
    "optim.name": "lion", "data.cache": "/tmp/a b", "sample_prompt": "\n",
}  # fmt: skip


def test_the_words_of_a_trial_load_as_its_config():
    made = Sweep(config=BASE, cells=product([EVERY_KIND], {"seed": [4, 2**32 - 1]}))
    base = Base(made)
    for trial in sweep.trials(made, base, "question"):
        loaded = config.load(BASE, trial.overrides)
        assert dataclasses.replace(base.config_of(trial), name=loaded.name) == loaded
        assert loaded.name == f"question-{trial.id}"


def test_a_config_that_no_run_could_use_names_its_trial():
    made = Sweep(config=BASE, cells=product({"model.d_model": [128, 130]}))
    base = Base(made)
    good, bad = sweep.trials(made, base, "question")
    base.config_of(good)
    with pytest.raises(BadInput, match=f"trial {bad.id} .model.d_model=130.: model.d_model=130 is not a multiple"):
        base.config_of(bad)


def test_values_that_are_right_alone_may_not_fit_each_other():
    sizes = zip_({"model.d_model": [128, 96, 128], "model.n_heads": [4, 3, 3], "model.n_kv_heads": [4, 3, 3]})
    base = Base(made := Sweep(config=BASE, cells=sizes))
    one, other, bad = sweep.trials(made, base, "question")
    base.config_of(one)
    base.config_of(other)
    with pytest.raises(BadInput, match="model.d_model=128 is not a multiple of model.n_heads=3"):
        base.config_of(bad)


FILES = [
    ("SWEEP = 3", "has no SWEEP = Sweep(...)"),
    ("1 / 0", "ZeroDivisionError: division by zero"),
    ("import sys; sys.exit(4)", "SystemExit: 4"),
    ("from launch.sweep import product\nSWEEP = product({'seed': []})", "the sweep's axis seed is empty"),
]


@pytest.mark.parametrize(("text", "says"), FILES)
def test_a_file_that_describes_no_sweep_is_refused_by_name(tmp_path, text, says):
    file = tmp_path / "question" / "sweep.py"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(BadInput) as error:
        sweep.load(str(file))
    assert str(file) in str(error.value) and says in str(error.value)


@pytest.mark.parametrize("name", ["a b", "Name", "$(x)", "x" * 31])
def test_a_name_that_no_scheduler_takes_is_refused(tmp_path, name):
    file = tmp_path / name / "sweep.py"
    file.parent.mkdir()
    file.write_text("")
    with pytest.raises(BadInput, match="use up to 30 of"):
        sweep.load(str(file))


def test_ten_thousand_ids_are_all_different():
    cells = product({"seed": range(100), "optim.peak_lr": [10 ** -(2 + n / 50) for n in range(100)]})
    assert len(set(ids(cells))) == 10_000
    assert math.isclose(float(trials(cells[:2])[1].overrides[1].partition("=")[2]), cells[1]["optim.peak_lr"])
