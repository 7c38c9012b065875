"""What the page is made of, before a browser sees it."""

import base64
import dataclasses
import hashlib
import json
import re

import pytest

from gptjax import cli
from gptjax.analysis import frames, report, summary
from gptjax.analysis.run import Run
from gptjax.analysis.summary import Found
from tests.analysis import planted

EVIL = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 1'>%{x} $x$ <b>bold</b>"


def evil_runs() -> list[Run]:
    """Two runs, all of whose words would be markup and scripts, if anybody took them so."""
    lines = [{"step": step, "train/nll": 3.0, EVIL: 1.0, "time/began": 1.0, "time/step": 1.0} for step in range(40)]
    lines[20]["train/nll"] = 90.0
    runs = [frames.of_objects(f"{EVIL}{n}", EVIL, lines, {"note": EVIL, EVIL: EVIL + str(n)}) for n in range(2)]
    told = {"command": EVIL, "versions": {EVIL: EVIL}}
    return [dataclasses.replace(run, header={**run.header, **told}, notes=(EVIL,)) for run in runs]


def found_of(runs: list[Run]) -> Found:
    metric = summary.metric_of(runs, None)
    return Found(metric, None, summary.rows(runs, metric, None)[0], [], [])


def data_of(page: str) -> dict:
    found = re.search('<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found is not None
    return json.loads(found[1])


def test_a_page_holds_its_own_scripts_and_no_other():
    page = report.html(found_of(evil_runs()))
    scripts = re.findall("<script>(.*?)</script>", page, re.S)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    policy = re.findall('http-equiv="Content-Security-Policy" content="(.*?)"', page)
    assert len(scripts) == 2 and all(f"'sha256-{one}'" in policy[0] for one in hashes)
    assert "default-src 'none'" in policy[0] and "unsafe-inline" not in policy[0].split("style-src")[0]
    outside = re.sub("<script>.*?</script>", "", page, flags=re.S)
    assert "<img" not in outside and "window.broken = 1</" not in outside
    assert not re.search("(src|href)=.?https?:", outside)


def test_what_runs_say_comes_back_as_it_was():
    found = data_of(report.html(found_of(evil_runs())))
    first = found["runs"][0]
    assert (first["name"], first["path"], first["config"]) == (f"{EVIL}0", EVIL, {EVIL: f"{EVIL}0"})
    assert first["environment"] == {"command": EVIL, EVIL: EVIL} and [0, "log", EVIL] in first["trouble"]


def test_the_page_knows_what_the_table_knows(tmp_path):
    for one in planted.sweep()[:8]:
        planted.write(one, tmp_path)
    runs = frames.read([str(tmp_path)])
    rows = found_of(runs).rows
    for made, row in zip(data_of(report.html(found_of(runs)))["runs"], rows, strict=True):
        assert made["status"] == row.run.status and made["tokens"] == row.tokens
        assert made["final"]["train/nll"] == pytest.approx(row.final["train/nll"], rel=1e-5)
        assert made["goodput"] == pytest.approx(row.goodput, rel=1e-5)
        assert row.run.goodput is not None
        assert sum(made["seconds"].values()) == pytest.approx(row.run.goodput.wall_s, rel=1e-3)
        steps, values = made["curves"]["train/nll"]["raw"]
        series = row.run.series("train/nll")
        assert steps == series.step.tolist() and values == pytest.approx(series.value.tolist(), rel=1e-5)


def test_numbers_that_json_lacks_are_gaps(tmp_path):
    (one,) = (one for one in planted.sweep() if one.fate == "diverged")
    planted.write(one, tmp_path)
    (made,) = data_of(report.html(found_of(frames.read([str(tmp_path)]))))["runs"]
    assert made["curves"]["train/nll"]["raw"][1][-1] is None and made["final"]["train/nll"] is None


def test_the_command_tells_trouble_and_writes_the_page(tmp_path, capsys, monkeypatch):
    for one in planted.sweep():
        if one.fate in ("diverged", "restarted"):
            planted.write(one, tmp_path / "runs")
    words = ["analyze", str(tmp_path / "runs"), f"--html={tmp_path}/page.html"]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path}/runs/lr0.03-d64-s1, step 60: not finite: train/nll is NaN, grad/norm is NaN\n" in said
    assert f"{tmp_path}/runs/lr0.003-d64-s2, step 100: restart: session 2 of 2 began at step 100" in said
    assert f"wrote {tmp_path}/page.html (4." in said or f"wrote {tmp_path}/page.html (5." in said
    assert len(data_of((tmp_path / "page.html").read_text(encoding="utf-8"))["runs"]) == 2

    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("importlib.resources.files", missing)
    assert cli.main(words) == 2
    assert "--html needs the package plotly: pip install 'gptjax[analysis]'" in capsys.readouterr().err
