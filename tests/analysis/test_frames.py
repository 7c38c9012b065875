"""Runs are read as they were written: later lines win, sessions and states are told, nothing is dropped in silence."""

import json
import math
import os
import pathlib
import time

import fsspec
import numpy as np
import pytest

from gptjax import config
from gptjax.analysis import frames, places
from gptjax.config import BadInput, LogConfig
from gptjax.planning import flops
from gptjax.runs import clock, log
from tests.analysis import planted

QUIET = LogConfig(tensorboard=False, wandb_project="", trackio_project="")


def write(folder: pathlib.Path, *lines: dict, header: dict | None = None, age_s: float = 0.0) -> frames.Run:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_bytes(b"".join(map(log.encode, lines)))
    if header is not None:
        (folder / "run.json").write_text(json.dumps(header))
    os.utime(folder / "metrics.jsonl", (now := time.time() - age_s, now))
    (run,) = frames.read([str(folder)])
    return run


@pytest.mark.parametrize("damage", [{}, {"changed": 3}, {"changed": {"n_steps": 7}}, 5])
def test_the_config_is_that_of_the_last_session(damage, tmp_path):
    changed = [{"n_steps": [220, 240], "mesh.data": [1, 2]}, {"n_steps": [240, 230]}]
    sessions = [{"changed": changed[0]}, damage, {"changed": changed[1]}]
    header = {"config": planted.nested({"n_steps": 220}), "sessions": sessions}
    found = write(tmp_path / "run", {"step": 0, "train/nll": 5.0}, header=header).config
    assert (found["n_steps"], found["mesh.data"], found["seed"]) == (230, 2, planted.base()["seed"])


def test_a_series_has_each_step_once_in_order_and_the_last_value_wins(tmp_path):
    run = write(
        tmp_path,
        {"step": 0, "tokens": 0, "time_s": 1.0, "train/nll": 5.0},
        {"step": 4, "tokens": 40, "time_s": 2.0, "train/nll": 4.0},
        {"step": 4, "tokens": 40, "time_s": 2.5, "eval/nll": 9.0},
        {"step": 8, "tokens": 80, "time_s": 3.0, "train/nll": 3.0},
        {"step": 4, "tokens": 40, "time_s": 7.0, "train/nll": 3.9},
        {"step": 6, "tokens": 60, "time_s": 8.0, "train/nll": float("nan")},
    )
    found = run.series("train/nll")
    assert found.step.tolist() == [0, 4, 6, 8] and found.tokens.tolist() == [0, 40, 60, 80]
    assert found.time_s.tolist() == [1, 7, 8, 3]
    assert found.value.tolist()[:2] == [5.0, 3.9] and math.isnan(found.value[2]) and found.value[3] == 3.0
    assert run.redone == 1 and run.metrics == ("train/nll", "eval/nll") and not run.left_out
    assert len(run.series("no/such").step) == 0


def test_what_a_log_writes_is_what_is_read_from_a_disk_and_from_a_store(tmp_path, monkeypatch):
    monkeypatch.setattr(log, "SEGMENT_LINES", 2)
    for workdir in (str(tmp_path / "run"), f"memory://{tmp_path.name}/run"):
        writer = log.RunLog(workdir, QUIET)
        for step in range(5):
            writer.write(step, {"train/nll": 5.0 - step, "a/b": math.inf}, tokens=step * 10)
        writer.sample(3, "one", 'two "lines"\n \udc80')
        writer.close()
        (run,) = frames.read([workdir])
        assert run.series("train/nll").value.tolist() == [5, 4, 3, 2, 1]
        assert run.series("a/b").value.tolist() == [math.inf] * 5
        assert run.series("train/nll").tokens.tolist() == [0, 10, 20, 30, 40]
        assert [(one["step"], one["text"]) for one in run.samples()] == [(3, 'two "lines"\n \udc80')]
        assert run.name == "run"
    fs = fsspec.filesystem("memory")
    assert len(fs.glob(f"/{tmp_path.name}/run/metrics-*.jsonl")) == 3
    fs.rm(f"/{tmp_path.name}/run/metrics-00001.jsonl")
    (run,) = frames.read([f"memory://{tmp_path.name}"])
    assert run.series("train/nll").step.tolist() == [0, 1, 4] and "1 segments of the log are missing" in run.notes


def test_segments_of_a_store_come_in_the_order_of_their_numbers():
    names = ["metrics-100000.jsonl", "metrics-99999.jsonl", "metrics.jsonl", "metrics-00000.jsonl", "metrics-x.jsonl"]
    listing = pytest.MonkeyPatch()
    with listing.context() as patch:
        patch.setattr(places, "listed", lambda path: names)
        found = [file.removeprefix("r/metrics") for file in places.files("r", "metrics")]
    assert found == ["-00000.jsonl", "-99999.jsonl", "-100000.jsonl", ".jsonl"]


def test_names_lead_to_runs_and_tell_them_apart(tmp_path, monkeypatch):
    for folder in ("a/one", "a/two", "b/one", "b/deep/er/one", "a/table"):
        (tmp_path / folder).mkdir(parents=True)
        if folder != "a/table":
            (tmp_path / folder / "metrics.jsonl").write_text('{"step": 0}\n')
    monkeypatch.chdir(tmp_path)
    names = lambda *asked: [run.name for run in frames.read(asked)]
    assert names("a") == ["one", "two"]
    assert names("a", "b") == ["a/one", "a/two", "er/one", "b/one"]
    assert names("*/one", "a/one/") == ["a/one", "b/one"]
    assert names("a/one/metrics.jsonl") == ["one"]
    for name in ("a/table", "nowhere", "c*", "a/table/x", "\0"):
        with pytest.raises(BadInput, match="name a run directory"):
            frames.read([name])


def lines(first: int, last: int, began: float, **end: float) -> list[dict]:
    metrics = {"train/nll": 1.0, "time/began": began}
    return [{"step": step, "time/step": step - first + 1.0, **metrics} for step in range(first, last)] + (
        [{"step": last, "time/began": began, **end}] if end else []
    )


STEPS = {"config": {"n_steps": 8}}


@pytest.mark.parametrize(
    ("status", "written", "age_s"),
    [
        ("done", [*lines(0, 8, 1.0), {"step": 8, "eval/nll": 1.0}], 1e5),
        ("stopped", lines(0, 4, 1.0, **{"time/end": 0.5}), 1e5),
        ("running", lines(0, 4, 1.0), 1.0),
        ("stale", lines(0, 4, 1.0), 1e5),
        ("diverged", [*lines(0, 4, 1.0), {"step": 4, "train/nll": math.nan}], 1.0),
        ("diverged", [*lines(0, 4, 1.0), {"step": 4, "train/nll": 1.0, "update/norm": math.inf}], 1e5),
        ("stale", [{"step": 0, "train/nll": math.nan}, *lines(0, 4, 1.0)], 1e5),  # it went on from before that
        ("running", lines(0, 4, 1.0, **{"time/end": 0.5}) + lines(4, 5, 9.0), 1.0),
        ("unknown", [], 1e5),
    ],
)
def test_a_run_says_how_it_stands(status, written, age_s, tmp_path):
    assert write(tmp_path / "run", *written, header=STEPS, age_s=age_s).status == status


def test_a_run_that_logs_seldom_is_not_stale_between_two_lines(tmp_path):
    slow = [{"step": step, "time_s": 600.0 * step} for step in range(5)]
    assert write(tmp_path / "slow", *slow, header=STEPS, age_s=3600).status == "running"
    assert write(tmp_path / "fast", *slow[:1], header=STEPS, age_s=3600).status == "stale"


def test_a_held_lock_says_that_a_run_is_running(tmp_path):
    from gptjax.training.lock import RunLock

    lock = RunLock(str(tmp_path / "run"))
    lock.take()
    assert write(tmp_path / "run", *lines(0, 4, 1.0), header=STEPS, age_s=1e5).status == "running"
    lock.close()
    assert write(tmp_path / "run", *lines(0, 4, 1.0), header=STEPS, age_s=1e5).status == "stale"


def test_sessions_and_goodput_are_those_of_the_whole_log(tmp_path):
    run_of = {one.name: one for one in planted.sweep()}
    for name in ("lr0.003-d64-s2", "lr0.001-d64-s1", "lr0.03-d64-s1"):
        planted.write(run_of[name], tmp_path)
        (run,) = frames.read([str(tmp_path / name)])
        assert run.goodput == clock.goodput(log.read_metrics(str(tmp_path / name))), name
    (run,) = frames.read([str(tmp_path / "lr0.003-d64-s2")])
    first, second = run.sessions
    assert (first.first_step, first.last_step, first.ended) == (0, 128, False)
    assert (second.first_step, second.last_step, second.ended) == (100, 200, True)
    assert second.began == planted.BEGAN + 300 and run.redone == 15
    assert run.goodput is not None and run.goodput.seconds["lost"] == pytest.approx(29 * 0.5 * 1.01)


def test_goodput_of_few_lines_is_goodput_of_all(tmp_path):
    draw = np.random.default_rng(0)
    for case in range(20):
        written, step, began = [], 0, 1e9
        for _ in range(int(draw.integers(1, 5))):
            first, spent = (
                max(0, step - int(draw.integers(0, 9))),
                {"time/step": 0.0, "time/start": 2.0, "time/data": 0.0},
            )
            for step in range(first, first + int(draw.integers(1, 30))):
                if draw.random() < 0.5:
                    spent = {name: value + draw.random() for name, value in spent.items()}
                    trained = {"train/nll": 1.0} if draw.random() < 0.8 else {"eval/nll": 1.0}
                    written.append({"step": step, "time/began": began, **trained, **spent})
            began += 1000
        if written:
            run = write(tmp_path / str(case), *written)
            assert run.goodput is not None
            whole = clock.goodput(log.read_metrics(str(tmp_path / str(case))))
            assert run.goodput.seconds == pytest.approx(whole.seconds)


def test_flops_are_those_of_the_model_and_unknown_where_a_part_is_trained(tmp_path):
    one = planted.sweep()[0]
    planted.write(one, tmp_path)
    (run,) = frames.read([str(tmp_path)])
    cfg = config.from_dict(run.header["config"])
    assert run.flops_per_token == flops.train_flops_per_token(cfg.model)
    assert run.config["optim.peak_lr"] == one.lr and run.config["data.corpora"] == cfg.data.corpora
    for changes in ({"lora.rank": 4}, {"tune.patterns": ["x"]}, {"model.n_layers": "two"}):
        planted.write_run(tmp_path / "x" / str(len(changes)) / next(iter(changes)), changes, [{"step": 0}])
    assert [run.flops_per_token for run in frames.read([str(tmp_path / "x")])] == [None] * 3
