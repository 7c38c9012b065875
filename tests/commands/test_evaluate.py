"""`gptjax evaluate`: a run's scores on tasks, with intervals, baselines, another run and every answer."""

import json

import numpy as np
import pytest

from gptjax import cli
from gptjax.commands import evaluate
from gptjax.data import corpora
from tests.commands.test_train import lines, on_one_device

MINE = """
from gptjax.evaluation.task import Question, Task
asked = [Question(f"{n} and ", (f"{n}", "no", "perhaps"), n % 3) for n in range(6)]
said = [Question(f"say {n}: ", (f"word {n}",)) for n in range(3)]
shown = [Question(f"shown {n} ", ("x", "y"), 1) for n in range(4)]
TASKS = (
    Task("picked", "choice", lambda: asked, lambda: shown, baselines={"first": lambda qs: [q.answers[0] for q in qs]}),
    Task("said", "generate", lambda: said, metrics=("edit_similarity",), max_tokens=8),
    Task("talked", "generate", lambda: said, metrics=("exact_match",), max_tokens=8, chat=True),
)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, finished):
    """A run of twelve steps, and a file of tasks."""
    folder = tmp_path_factory.mktemp("evaluated")
    (folder / "run").symlink_to(finished)
    (folder / "mine.py").write_text(MINE)
    return folder


def evaluated(folder, *flags):
    assert on_one_device(["evaluate", f"--from={folder}/run", f"--json={folder}/found.json", *flags]) == 0
    return json.loads((folder / "found.json").read_text())


def test_every_score_has_n_an_interval_and_its_command(folder, capsys):
    found = evaluated(folder, f"--tasks={folder}/mine.py,zen,heldout", "--limit=3")
    assert list(found["tasks"]) == ["heldout", "picked", "said", "talked", "zen"]
    for task in found["tasks"].values():
        low, high = task["interval"]
        assert low <= task["score"] <= high and task["n"] == 3
        assert task["score"] == task["metrics"][task["metric"]]["score"]
        assert all(of["command"] == found["command"] and of["signature"] for of in task["metrics"].values())
    assert found["command"] == f"gptjax evaluate --from={folder}/run --tasks={folder}/mine.py,zen,heldout --limit=3"
    table = capsys.readouterr().out
    assert "bits_per_byte, less is better" in table and "  first " in table and found["command"] in table


@pytest.fixture(scope="module")
def compared(folder):
    """Scores of the run beside those of an earlier step of it; the answers of both are in a file."""
    against = f"--against={folder}/run/checkpoints/8"
    return evaluated(folder, f"--tasks={folder}/mine.py,heldout", f"--samples={folder}/answers.jsonl", against)["tasks"]


def test_the_held_out_text_costs_what_the_run_said(folder, compared):
    found = compared["heldout"]
    nll, bits = (lines(folder / "run", key)[12] for key in ("eval/nll", "eval/bits_per_byte"))
    assert found["metrics"]["loss"]["score"] == pytest.approx(nll, rel=1e-5)
    assert found["metrics"]["bits_per_byte"]["score"] == pytest.approx(bits, rel=1e-5)
    assert found["metrics"]["perplexity"]["score"] == pytest.approx(np.exp(nll), rel=1e-4)


def test_another_model_is_compared_question_by_question(folder, compared):
    same = evaluated(folder, f"--tasks={folder}/mine.py,heldout", f"--against={folder}/run")["tasks"]
    for task in same.values():
        for metric, other in task["against"].items():
            assert other["score"] == task["metrics"][metric]["score"]
            assert other["difference"]["interval"] == [0, 0]
    other = compared["heldout"]
    difference = other["against"]["loss"]["difference"]
    assert difference["score"] == pytest.approx(other["score"] - other["against"]["loss"]["score"], abs=1e-6)
    low, high = difference["interval"]
    assert low <= difference["score"] <= high < 0  # it has learnt something since


def test_every_answer_is_written_with_what_was_asked(folder, compared):
    rows = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["task"] != "heldout"]
    assert len(rows) == 2 * (6 + 3 + 3)
    for row in rows:
        assert row["prompt"] and row["answers"] and row["run"].startswith(str(folder))
        if row["task"] == "picked":
            assert row["chosen"] == int(np.argmax(row["nats"])) and row["right"] == row["number"] % 3
        else:
            assert isinstance(row["text"], str)


def test_on_several_devices_the_scores_are_the_same(folder):
    flags = "--tasks=arithmetic,heldout", "--limit=20"
    assert cli.main(["evaluate", f"--from={folder}/run", f"--json={folder}/many.json", *flags]) == 0
    alone = evaluated(folder, *flags)
    assert json.loads((folder / "many.json").read_text())["tasks"] == alone["tasks"]


def test_a_question_of_the_training_text_is_told_and_left_out_of_the_clean_score(folder, capsys):
    read = [piece.text for piece in corpora.open_corpus("synthetic").documents("train")][0].split()
    asked = [
        " ".join(read[:20]),
        " ".join(read[40:60]),
        "a question that no sentence of the corpus has ever asked of us",
    ]
    (folder / "read.py").write_text(
        "from gptjax.evaluation.task import Question, Task\n"
        f"TASK = Task('read', 'choice', lambda: [Question(text, (' a', ' b')) for text in {asked!r}])\n"
    )
    found = evaluated(folder, f"--tasks={folder}/read.py,heldout", "--limit=3")
    read = found["tasks"]["read"]["contaminated"]
    assert (read["contaminated"], read["questions"], read["clean"]["n"], read["whole"]) == (2, 3, 1, True)
    assert found["tasks"]["heldout"]["contaminated"]["questions"] == 3
    assert found["from"]["contamination_unknown"] is None
    assert "read: 66.7% of 3 questions in the training text, n=1" in capsys.readouterr().out


def test_the_command_is_what_was_asked():
    asked = evaluate.Asked("a b", "zen", None, None, False, None, 2, 0, "x.json", None)
    assert asked.command == "gptjax evaluate '--from=a b' --tasks=zen --shots=2"
    asked = evaluate.Asked("a", None, "x,y", "tasks", True, "b", None, 9, None, "s.jsonl")
    flags = "--harness=x,y --harness_tasks=tasks --against=b --apply_chat_template --limit=9"
    assert asked.command == f"gptjax evaluate --from=a {flags}"
