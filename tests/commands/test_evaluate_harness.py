"""`gptjax evaluate --harness`: scores of lm-evaluation-harness's tasks in our table, our JSON and our samples."""

import json
import sys

import pytest

from gptjax import cli, evaluation
from tests.commands.test_train import on_one_device
from tests.evaluation.harness.make_golden import GOLDEN, HERE, MODEL
from tests.evaluation.test_harness import offline

__all__ = ["offline"]  # a fixture
pytestmark = pytest.mark.filterwarnings("default")


def test_the_contract_holds_for_tasks_of_the_harness(tmp_path, capsys):
    flags = [f"--from={MODEL}", f"--against={MODEL}", "--harness=python_word,python_prose", f"--harness_tasks={HERE}"]
    files = [f"--json={tmp_path}/found.json", f"--samples={tmp_path}/answers.jsonl"]
    assert on_one_device(["evaluate", *flags, *files, "--limit=20"]) == 0
    found, golden = json.loads((tmp_path / "found.json").read_text()), json.loads(GOLDEN.read_text())["tasks"]
    assert list(found["tasks"]) == ["python_word", "python_prose"]
    for name, task in found["tasks"].items():
        low, high = task["interval"]
        assert low < task["score"] < high and task["n"] == 20
        assert task["score"] == task["metrics"][task["metric"]]["score"]
        assert task["against"][task["metric"]]["difference"]["interval"] == [0, 0]
        for metric, score in task["metrics"].items():
            assert score["score"] == pytest.approx(found["harness"][0]["results"][name][f"{metric},none"], rel=1e-12)
            assert (
                score["signature"]
                == f"lm_eval:{name}|version:1|shots:0|lm_eval:{found['harness'][0]['lm_eval_version']}"
            )
    assert found["from"]["contamination_unknown"].endswith("does not say what it was trained on")
    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * 2 * 20
    first = [row["resps"] for row in rows if row["task"] == "python_word"][0]
    assert first[0][0][0] == pytest.approx(golden["python_word"]["answers"][0][0], abs=1e-4)
    printed = capsys.readouterr().out
    assert "bits_per_byte, less is better" in printed and found["command"] in printed
    assert f"contamination of {MODEL}: not known" in printed


def test_without_the_harness_its_extra_is_named(monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith(("lm_eval", "gptjax.evaluation.harness"))]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("harness", "harness_tasks"):
        monkeypatch.delattr(evaluation, name, raising=False)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    assert cli.main(["evaluate", f"--from={MODEL}", "--harness=hellaswag"]) == cli.BAD_INPUT
    assert "--harness=hellaswag: needs lm-eval" in (said := capsys.readouterr().err) and "gptjax[harness]" in said
