"""The training text of a run, and of the run it began with, looked through for questions."""

import random

import pytest

from gptjax.evaluation import contamination, trained_on
from gptjax.training import source
from tests.commands.conftest import command
from tests.commands.test_train import on_one_device
from tests.evaluation.harness.make_golden import MODEL

__all__ = ["command"]  # a fixture


def sentences(seed: int, n: int = 80) -> list[str]:
    """Of fifteen words each."""
    draw = random.Random(seed)
    return [" ".join("".join(draw.choices("abcdefgh", k=5)) for _ in range(15)) for _ in range(n)]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    for number, name in enumerate(("base", "tuned")):
        (folder / f"{name}.txt").write_text("\n".join(sentences(number)))
    return folder


@pytest.fixture(scope="module")
def runs(texts, command, tmp_path_factory):
    """A run on one text, and one on another that began with its weights."""
    folder = tmp_path_factory.mktemp("runs")
    keys = {"n_steps": 3, "optim__warmup_steps": 1, "data__cache": str(texts / "cache")}
    assert on_one_device(command(folder / "base", data__corpora=f"text:{texts}/base.txt", **keys)) == 0
    origin = {"init_from": str(folder / "base"), "data__corpora": f"text:{texts}/tuned.txt"}
    assert on_one_device(command(folder / "tuned", **origin, **keys)) == 0
    return folder


QUESTIONS = {  # by the text they are of; the last words of a file are held out
    "base": [sentences(0)[3], "Before. " + sentences(0)[60].upper() + "!"],
    "tuned": [sentences(1)[5]],
    "neither": [sentences(2)[0], sentences(0)[79], "too short to tell"],
}


def test_the_text_of_a_run_and_of_its_base_are_looked_through(runs):
    asked = {"all": [question for those in QUESTIONS.values() for question in those], "none": QUESTIONS["neither"]}
    of_base, of_tuned = (trained_on.overlaps(source.open_run(str(runs / name)), asked) for name in ("base", "tuned"))
    assert of_base.unknown == of_tuned.unknown == ""
    assert of_base.overlaps["all"].dirty_N.tolist() == [True, True, False, False, False, False]
    assert of_tuned.overlaps["all"].dirty_N.tolist() == [True, True, True, False, False, False]
    none = of_tuned.overlaps["none"]
    assert (none.share, none.n_short, none.whole, none.n) == (0, 1, True, 8)
    assert str(of_tuned.overlaps["all"]).startswith("50.0% of 6 questions in the training text, n=8")


def test_what_was_found_is_remembered_and_a_new_task_looked_for(runs, monkeypatch):
    given = source.open_run(str(runs / "base"))
    first = trained_on.overlaps(given, {"base": QUESTIONS["base"]})
    passes = []
    found_in = contamination.found_in
    monkeypatch.setattr(
        contamination, "found_in", lambda texts, tasks: passes.append([*tasks]) or found_in(texts, tasks)
    )
    again = trained_on.overlaps(given, {"base": QUESTIONS["base"]})
    assert again.overlaps["base"].to_json() == first.overlaps["base"].to_json() and passes == []
    trained_on.overlaps(given, {"base": QUESTIONS["base"], "another": QUESTIONS["tuned"]})
    assert passes == [["another"]]


def test_a_text_too_large_to_look_through_is_told(runs, monkeypatch):
    monkeypatch.setattr(trained_on, "MOST_BYTES", 1)
    monkeypatch.setattr(trained_on.dialogs, "texts", lambda corpus: iter(sentences(0)))
    found = trained_on.overlaps(source.open_run(str(runs / "base")), {"task": [*sentences(0)[:1], *sentences(1)[:1]]})
    overlap = found.overlaps["task"]
    assert (overlap.whole, overlap.seen_bytes, overlap.dirty_N.tolist()) == (False, len(sentences(0)[0]), [True, False])
    assert " at least (of the first 0.0 GB)" in str(overlap)


@pytest.mark.parametrize("what", ["other text", "no text", "a model folder"])
def test_a_text_that_is_not_that_of_then_is_unknown(runs, texts, what, command, tmp_path):
    if what == "a model folder":
        found = trained_on.overlaps(source.open_run(str(MODEL)), QUESTIONS)
        assert (found.overlaps, found.unknown) == (
            {},
            f"{MODEL} is a model folder, which does not say what it was trained on",
        )
        return
    given, file = source.open_run(str(runs / "base")), texts / "base.txt"
    text = file.read_text()
    try:
        file.unlink() if what == "no text" else file.write_text(text.replace("a", "b"))
        found = trained_on.overlaps(given, QUESTIONS)
    finally:
        file.write_text(text)
    assert found.overlaps == {}
    assert ("no file" if what == "no text" else "holds other text than") in found.unknown, found.unknown
