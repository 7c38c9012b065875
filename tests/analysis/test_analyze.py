"""The command: what it writes, that it follows runs that write, and that it starts at once."""

import csv
import json
import math
import os
import pathlib
import subprocess
import sys
import time

import pyarrow.parquet
import pytest

from gptjax import cli
from gptjax.commands import analyze
from gptjax.runs.log import encode
from tests.analysis import planted


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    made = tmp_path_factory.mktemp("made")
    planted.write_sweep(made)
    return made


def test_json_is_the_contract(sweep, tmp_path):
    assert cli.main(["analyze", str(sweep), f"--json={tmp_path / 'a.json'}", "--at=tokens"]) == 0
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["at"] == {"axis": "tokens", "where": 50.0 * planted.BATCH}  # the last evaluation of the shortest run
    assert [run["at"]["value"] for run in found["runs"]] == sorted(run["at"]["value"] for run in found["runs"])
    run = {run["name"]: run for run in found["runs"]}["lr0.03-d64-s1"]
    assert run["status"] == "diverged" and run["final"]["train/nll"] == "NaN" and math.isnan(float("NaN"))
    assert run["config"] == {"seed": 1, "model.d_model": 64, "model.d_hidden": 256, "optim.peak_lr": 0.03}
    assert not any(name.startswith("time/") for name in run["final"])
    group = found["groups"][0]
    assert group["config"] == {"model.d_model": 64, "model.d_hidden": 256, "optim.peak_lr": 0.003} and group["n"] == 3
    assert group["mean"] == pytest.approx(planted.loss(planted.sweep()[10])(50) + 0.05, abs=1e-6)
    half = 4.3027 * 0.01 / 3**0.5
    assert group["interval"] == pytest.approx([group["mean"] - half, group["mean"] + half], abs=1e-5)
    assert sorted(group["runs"]) == [f"lr0.003-d64-s{seed}" for seed in range(3)]


def test_csv_and_parquet_have_a_row_for_each_run(sweep, tmp_path):
    flags = [f"--csv={tmp_path / 'a.csv'}", f"--parquet={tmp_path / 'a.parquet'}"]
    assert cli.main(["analyze", str(sweep), *flags]) == 0
    with open(tmp_path / "a.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert len(rows) == len(table) == 24 and list(rows[0]) == list(table[0])
    for text, values in zip(rows, table, strict=True):
        assert text["name"] == values["name"] and float(text["eval/nll"]) == values["eval/nll"]
        assert int(text["step"]) == values["step"] and (values["mfu"] is None) == (text["mfu"] == "")
    assert rows[0]["name"] == "lr0.003-d64-s0" and table[0]["optim.peak_lr"] == 0.003


def test_a_file_that_cannot_be_written_is_bad_input(sweep, capsys):
    assert cli.main(["analyze", str(sweep), "--json=/nowhere/a.json"]) == 2
    assert "--json=/nowhere/a.json: No such file or directory" in capsys.readouterr().err


def test_following_shows_what_is_written_and_ends_with_the_runs(tmp_path, monkeypatch, capsys):
    one = planted.sweep()[9]
    planted.write(one, tmp_path)
    log = tmp_path / one.name / "metrics.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:50]) + lines[50][:20])
    looks = []

    def write_on(seconds: float) -> None:
        looks.append(seconds)
        now = {1: b"".join(lines[:80]) + lines[80][:10], 2: b"".join(lines[:80]), 3: b"".join(lines)}
        log.write_bytes(now[len(looks)])

    monkeypatch.setattr(analyze.time, "sleep", write_on)
    assert cli.main(["analyze", str(tmp_path), "--follow", "--metric=train/nll"]) == 0
    said = capsys.readouterr().out
    steps = [line.split()[1] for line in said.splitlines() if line.startswith(one.name) and "left out" not in line]
    as_read = [json.loads(line)["step"] for line in (lines[49], lines[79], lines[79], lines[-1])]
    assert steps == [str(step) for step in as_read] and len(looks) == 3
    assert said.count("1 last line not whole") == 2


def test_ctrl_c_ends_following_in_good_order(tmp_path, monkeypatch):
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    (tmp_path / "metrics.jsonl").write_bytes(encode({"step": 0, "train/nll": 1.0}))
    monkeypatch.setattr(analyze.time, "sleep", interrupt)
    assert cli.main(["analyze", str(tmp_path), "--follow"]) == 0


def test_a_run_opens_without_jax_and_leaves_nothing_beside_it(tmp_path):
    """10,000 steps of eight metrics; `benchmarks.analyze` times them."""
    from benchmarks.analyze import log

    (tmp_path / "run").mkdir()
    (tmp_path / "run/metrics.jsonl").write_bytes(log(0, 10_000))
    program = "import sys; from gptjax import cli; cli.main(['analyze', sys.argv[1]]); print(*sys.modules)"
    loaded = in_a_process(program, tmp_path).splitlines()[-1].split()
    assert "gptjax.analysis.frames" in loaded and not {"jax", "pandas", "scipy", "matplotlib"} & set(loaded)
    assert list((tmp_path / "cache/gptjax/analysis").iterdir())
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["metrics.jsonl"], "nothing beside the log"


def in_a_process(program: str, folder: pathlib.Path) -> str:
    """What it printed."""
    command = [sys.executable, "-c", program, str(folder / "run")]
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


def test_the_age_of_a_run_is_told_from_its_log(tmp_path):
    planted.write(planted.sweep()[12]._replace(fate="stale", end=50), tmp_path)
    path = next(tmp_path.rglob("metrics.jsonl"))
    for age_s, status in ((1, "running"), (3600, "stale")):
        os.utime(path, (now := time.time() - age_s, now))
        assert cli.main(["analyze", str(tmp_path), f"--json={tmp_path / 'a.json'}"]) == 0
        assert json.loads(pathlib.Path(tmp_path, "a.json").read_text())["runs"][0]["status"] == status
