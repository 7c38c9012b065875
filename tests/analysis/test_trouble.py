"""Trouble that is planted in a log is found where it lies; logs in which there is none are left in peace."""

import dataclasses
import pathlib

import numpy as np
import pytest

from gptjax.analysis import frames, trouble
from gptjax.analysis.run import Run

GOLDEN = pathlib.Path(__file__).parent / "golden"
BATCH = 4096
BEGAN = 1_760_000_000.0


def healthy(seed: int, n_lines: int = 600, every: int = 10, noise: float = 0.03) -> dict[str, np.ndarray]:
    """What a good run of a small model logs: a power of the step, a cosine, noise, a machine that hiccups."""
    draw = np.random.default_rng(seed)
    step = every * np.arange(n_lines)
    part = step / step[-1]
    rate = 1e-3 * np.minimum((step + 1) / (0.03 * step[-1]), 0.1 + 0.45 * (1 + np.cos(np.pi * part)))
    nll = 1.7 + 3.8 / (1 + 20 * step / 1000) ** 0.35 + draw.normal(0, noise, n_lines)
    grad = (0.6 + 0.5 * part + 6 / (1 + step / 20)) * np.exp(draw.normal(0, 0.15, n_lines))
    speed = 20_000 * np.exp(draw.normal(0, 0.05, n_lines)) * np.where(draw.random(n_lines) < 0.02, 0.4, 1.0)
    speed[0] *= 0.2
    waited = np.cumsum(np.exp(draw.normal(-6, 1, n_lines)))
    return {
        "step": step,
        "train/nll": nll,
        "optim/lr": rate,
        "grad/norm": grad,
        "perf/tokens_per_s": speed,
        "perf/data_wait_s": waited,
    }


def run_of(columns: dict[str, np.ndarray], **changes: object) -> Run:
    """A run that is done, with these columns."""
    rows = [dict(zip(columns, map(float, row), strict=True)) for row in zip(*columns.values(), strict=True)]
    last = int(columns["step"][-1])
    lines = [row | {"tokens": row["step"] * BATCH, "time_s": row["step"] * 0.2, "time/began": BEGAN} for row in rows]
    made = frames.of_objects("planted", "runs/planted", lines, {"n_steps": last})
    return dataclasses.replace(made, **changes)


def kinds(run: Run) -> list[str]:
    return [found.kind for found in trouble.find(run)]


@pytest.mark.parametrize("n_lines", [28, 100, 600, 5000])
def test_healthy_runs_are_left_in_peace(n_lines):
    noises = (0.005, 0.03, 0.1)
    found = [trouble.find(run_of(healthy(seed, n_lines, noise=noises[seed % 3]))) for seed in range(12)]
    assert found == [[]] * 12


def test_a_real_run_is_left_in_peace():
    """`gptjax train --config=configs/smoke.py`, whose processor was busy with other things for a while."""
    (run,) = frames.read([str(GOLDEN / "smoke")])
    assert len(run.series("train/nll").step) == 22
    assert trouble.find(run) == []


def test_a_spike_is_found_with_its_step_and_its_end():
    columns = healthy(0)
    columns["train/nll"][300:306] += [1.0, 2.5, 1.5, 1.0, 0.8, 0.5]
    (found,) = trouble.find(run_of(columns))
    assert (found.kind, found.step) == ("spike", 3000)
    assert "back by step 3,060" in found.text and f"{columns['train/nll'][301]:.4g}" in found.text


def test_a_loss_that_stays_high_is_one_spike_that_is_not_back():
    columns = healthy(1)
    columns["train/nll"][300:] += 3.0
    found = [one for one in trouble.find(run_of(columns)) if one.kind == "spike"]
    assert [one.step for one in found] == [3000] and "not back" in found[0].text


def test_many_spikes_are_few_lines_that_count_them():
    columns = healthy(2)
    columns["train/nll"][100::40] += 2.0
    found = [one.text for one in trouble.find(run_of(columns))]
    assert len(found) == trouble.MOST + 1 and sum("8 more, less bad" in text for text in found) == 1


def test_what_the_run_did_about_a_spike_is_told():
    columns = healthy(3)
    columns["train/nll"][300] += 2.0
    told = {
        "spikes": [
            {"step": 3000, "z": 12.0, "action": "skip"},
            {"step": 41, "z": 7.5, "action": "skip"},
            {"step": "?"},
            3,
        ]
    }
    first, second = trouble.find(run_of(columns, header=told))
    assert (first.kind, first.step) == ("spike", 41) and "7.5 deviations" in first.text
    assert second.step == 3000 and "spike.action=skip" in second.text and "back by" in second.text


def test_a_plateau_is_found_and_a_rate_that_has_decayed_excuses_it():
    columns = healthy(4, noise=0.01)
    columns["train/nll"][150:450] = 2.6 + np.random.default_rng(0).normal(0, 0.01, 300)
    (found,) = trouble.find(run_of(columns))
    assert found.kind == "plateau" and 1200 <= found.step <= 1800
    columns["train/nll"][300:] = 2.6 + np.random.default_rng(0).normal(0, 0.01, 300)
    columns["optim/lr"][300:] = 1e-6
    assert "plateau" not in kinds(run_of(columns))


def test_gradients_that_grow_are_found_before_the_loss_shows_it():
    columns = healthy(5)
    columns["grad/norm"][400:500] *= np.geomspace(1, 30, 100)
    columns["grad/norm"][500:] *= 30
    until = {name: column[:520] for name, column in columns.items()}
    (found,) = trouble.find(run_of(until))
    assert found.kind == "growing gradients" and 3700 <= found.step <= 4600


def test_the_first_number_that_is_not_finite_is_named():
    columns = healthy(6)
    columns["train/nll"][450:] = np.nan
    columns["grad/norm"][450:] = np.inf
    found = [one for one in trouble.find(run_of(columns)) if one.kind == "not finite"]
    assert [(one.step, one.text) for one in found] == [(4500, "train/nll is NaN, grad/norm is Infinity")]


def test_a_stretch_that_waits_for_data_is_found():
    columns = healthy(7)
    update_s = 10 * BATCH / columns["perf/tokens_per_s"]
    columns["perf/data_wait_s"] = np.cumsum(
        np.where((np.arange(600) >= 200) & (np.arange(600) < 260), 0.5, 0.01) * update_s
    )
    (found,) = trouble.find(run_of(columns))
    assert found.kind == "waits for data" and abs(found.step - 2000) <= 30
    assert found.text.startswith("50% ")


def test_a_slower_stretch_is_found_and_a_hiccup_is_not():
    columns = healthy(8)
    columns["perf/tokens_per_s"][400:500] *= 0.6
    (found,) = trouble.find(run_of(columns))
    assert found.kind == "slower" and abs(found.step - 4000) <= 300 and "-4" in found.text


def test_a_restart_says_what_was_done_again():
    lines = [{"step": step, "train/nll": 3.0, "time/began": BEGAN} for step in range(0, 131)]
    lines += [{"step": step, "train/nll": 3.0, "time/began": BEGAN + 300} for step in range(100, 200)]
    (found,) = [one for one in trouble.find(frames.of_objects("r", "r", lines)) if one.kind == "restart"]
    assert found.step == 100 and "steps 100 to 130 were done again" in found.text


def test_a_run_that_nobody_writes_any_more_is_stale():
    columns = healthy(9, n_lines=300)
    run = run_of(columns, header={"config": {"n_steps": 6000}}, age_s=86_400.0)
    (found,) = trouble.find(run)
    assert (found.kind, found.step) == ("stale", 2990) and "of 6,000" in found.text


def test_logs_that_are_hardly_there_raise_nothing():
    for n in range(4):
        columns = {name: column[:n] for name, column in healthy(0).items()}
        lines = [dict(zip(columns, map(float, row), strict=True)) for row in zip(*columns.values(), strict=True)]
        assert trouble.find(frames.of_objects("short", "short", lines)) == []
