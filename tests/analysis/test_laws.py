"""`gptjax analyze RUN... --scaling`: which runs count, what is too little, what is too far, and what is said."""

import csv
import json

import numpy as np
import pytest

from gptjax import cli, config
from gptjax.analysis import frames, ladder
from gptjax.analysis.foreign import formats
from gptjax.analysis.ladder import Rung
from gptjax.planning import flops
from tests.analysis import planted
from tests.analysis.test_scaling import SMALL_K, measured, rungs


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table of points of a planted ladder."""
    file = tmp_path_factory.mktemp("points") / "points.csv"
    write(file, rungs(0.003, 5))
    return file


def write(file, made) -> None:
    with open(file, "w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["name", "n_params", "tokens", "loss"])
        writer.writerows([f"r{number}", one.n_params, one.tokens, one.loss] for number, one in enumerate(made))


def test_the_command_finds_the_law_and_foretells_the_largest_size(table, capsys, tmp_path):
    words = ["analyze", str(table), "--scaling", "--budget=1e13", "--budget=1e18", f"--json={tmp_path}/law.json"]
    assert cli.main(words) == 0
    told, found = capsys.readouterr().out, json.loads((tmp_path / "law.json").read_text())
    assert "15 runs: N 4e+04 to 1e+06 parameters" in told and "C 2e+11 to 1.8e+12 FLOPs" in told
    planted_law = dict(zip(("A", "alpha", "B", "beta", "E"), SMALL_K, strict=True))
    for name, one in found["law"].items():
        value = planted_law[name] if name in ("alpha", "beta") else np.exp(planted_law[name])
        assert one["low"] <= value <= one["high"]
    assert [one["inside"] for one in found["held_out"]] == [True] * 3 and told.count(": inside") == 3
    best, far = found["optima"]
    assert best["flops"] == 1e13 and best["n_params"]["value"] * best["tokens"]["value"] * 6 == pytest.approx(1e13)
    assert "no prediction for 1e+18 FLOPs: its optimum is too far" in told and "too far" in far["why"]
    assert "isoFLOP parabolas:" in told and len(found["isoflop"]) == 3


def run_of(tmp_path, name: str, width: int, n_steps: int, loss: float, **more) -> None:
    keys = {"model.d_model": width, "model.n_heads": 2, "model.n_kv_heads": 2, "model.d_hidden": 4 * width}
    keys |= {"model.n_layers": 2, "model.context": 64, "batch_tokens": 4096, "n_steps": n_steps, "name": name}
    lines = [{"step": n_steps, "tokens": n_steps * 4096, "time_s": 1.0, "eval/nll": loss}]
    planted.write_run(tmp_path / name, keys | more, lines)


def test_points_are_runs_at_their_end_and_the_best_config_of_each_size(tmp_path):
    run_of(tmp_path, "a", 32, 100, 3.0)
    run_of(tmp_path, "slow", 32, 100, 3.5, **{"optim.peak_lr": 1e-5})
    run_of(tmp_path, "a-again", 32, 100, 3.1, seed=1)
    run_of(tmp_path, "b", 64, 200, 2.5)
    run_of(tmp_path, "cut", 64, 300, 2.5)
    (tmp_path / "cut/metrics.jsonl").write_text('{"step": 100, "tokens": 409600, "time_s": 1.0, "train/nll": 3.0}\n')
    run_of(tmp_path, "broken", 64, 100, float("nan"))
    runs = frames.read([str(tmp_path)])
    found, left_out = ladder.rungs(runs)
    assert [one.name for one in found] == ["a", "a-again", "b"]
    assert left_out == {"running": 1, "diverged": 1, "not the best config of its size and length": 1}
    model = config.from_dict(next(run for run in runs if run.name == "b").header["config"]).model
    assert found[2] == Rung("b", flops.n_params(model), 819_200, flops.train_flops_per_token(model) * 819_200, 2.5)


def test_what_is_too_little_for_a_law():
    made = rungs(0.0, 0)
    assert ladder.too_little(made) is None
    assert "7 finished runs, and a law of five unknowns needs 8" in (ladder.too_little(made[:7]) or "")
    two = [one for one in made if one.n_params < 1e5] * 2
    assert "2 different sizes" in (ladder.too_little(two) or "")
    once = [one._replace(tokens=1e7 * (1 + 0.01 * n)) for n, one in enumerate(made)]
    assert "lengths in tokens" in (ladder.too_little(once) or "")
    in_step = [one._replace(tokens=20 * one.n_params) for one in made]
    assert "the tokens go with the size" in (ladder.too_little(in_step) or "")


def test_what_is_too_far_for_a_law():
    made = rungs(0.0, 0)  # 4e4 to 1e6 parameters, a factor of 25
    tokens = made[0].tokens
    assert ladder.too_far(made, 2.4e7, tokens) is None and ladder.too_far(made, 1700.0, tokens) is None
    assert "2.6e+07 parameters; the runs have 4e+04 to 1e+06, so up to 2.5e+07" in (
        ladder.too_far(made, 2.6e7, tokens) or ""
    )
    assert "parameters" in (ladder.too_far(made, 1500.0, tokens) or "") and "tokens" in (
        ladder.too_far(made, 1e6, 1e12) or ""
    )


def test_from_too_little_nothing_is_foretold(tmp_path, capsys):
    write(tmp_path / "few.csv", rungs(0.003, 5)[:7])
    assert cli.main(["analyze", str(tmp_path / "few.csv"), "--scaling"]) == 0
    told = capsys.readouterr().out
    assert "no law: 7 finished runs" in told and "no check: without the largest size there are" in told
    assert "compute-optimal" not in told


def test_a_size_that_breaks_the_law_is_outside(tmp_path, capsys):
    broken = [one._replace(loss=one.loss * (1.1 if one.n_params > 9e5 else 1.0)) for one in rungs(0.003, 5)]
    write(tmp_path / "broken.csv", broken)
    assert cli.main(["analyze", str(tmp_path / "broken.csv"), "--scaling"]) == 0
    assert capsys.readouterr().out.count(": OUTSIDE") == 3


def test_a_table_says_what_it_leaves_out(tmp_path):
    (tmp_path / "table.csv").write_text("n_params,tokens,loss,flops\n1e6,1e8,3.1,7e14\n1e6,,2\n")
    (run,) = formats.read([str(tmp_path / "table.csv")])
    (one,), _ = ladder.rungs([run])
    assert one[1:] == (1e6, 1e8, 7e14, 3.1)
    assert run.left_out == {"lines without a positive number of each of n_params, tokens and loss": 1}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--scaling", "--budget=-1"], "--budget=-1: FLOPs are a positive number"),
        (["--scaling", "--budget=nan"], "--budget=nan: FLOPs are a positive number"),
        (["--budget=1e12"], "give --scaling too"),
        (["--scaling", "--csv=x"], "--csv is of the table"),
        (["--scaling", "--where=name=none"], "none of 0 runs is a point of a law"),
    ],
)
def test_what_cannot_be_asked_is_refused(table, capsys, words, says):
    assert cli.main(["analyze", str(table), *words]) == 2
    assert says in capsys.readouterr().err


def test_measured_is_the_law_without_noise():
    points = measured(SMALL_K, np.array([1e5]), np.array([1e6]), 0.0, 0)
    assert points.loss_P[0] == pytest.approx(80 / 1e5**0.45 + 300 / 1e6**0.40 + 1.2)
