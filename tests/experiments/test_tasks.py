"""The tasks of the experiments: questions that are held out by text and by runs of words, in two halves of which one is
never looked at before the end, and baselines that answer."""

import functools
import importlib.util
import os
import subprocess

import pytest

from experiments import functions, leaks
from experiments.code import examples as code
from experiments.stories import text as shakespeare_text
from experiments.summaries import examples as summaries
from gptjax.data import dialogs
from gptjax.evaluation import task

TASKS = {"summaries": 100, "code": 100, "dialogue": 60, "stories": 100}  # and the fewest questions of each half
HALVES = ["task", "development"]  # files


@functools.cache
def load(name: str, half: str = "task") -> list[task.Task]:
    if name == "stories" and "TFDS_DATA_DIR" not in os.environ:
        pytest.skip("needs tiny_shakespeare: set GPTJAX_TEST_DATA")
    if name == "code" and half == "task" and importlib.util.find_spec("pip") is None:
        pytest.skip("needs pip")
    return task.load([f"experiments/{name}/{half}.py"])


@pytest.fixture(autouse=True, scope="module")
def shakespeare():
    with pytest.MonkeyPatch.context() as patch:
        if "GPTJAX_TEST_DATA" in os.environ:
            patch.setenv("TFDS_DATA_DIR", f"{os.environ['GPTJAX_TEST_DATA']}/tfds")
        yield


def examples(name: str, split: str) -> list[list[str]]:
    """As a run reads them."""
    corpus = dialogs.open_dialogs(f"dialogs:experiments/{name}/examples.py:examples", None)
    return [[message.content for message in example.messages] for example in corpus.examples(split)]


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", TASKS)
def test_questions_are_there_and_always_the_same(name, half):
    for found in load(name, half):
        questions = task.opened(found)
        assert len(questions) >= TASKS[name] and questions == task.opened(found)
        assert len({question.prompt for question in questions}) == len(questions)


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", [name for name in TASKS if name != "stories"])
def test_questions_are_held_out(name, half):
    questions, train = load(name, half)[0].questions(), examples(name, "train")
    assert len(train) > 8 * len(questions)
    assert not {functions.words(question.prompt) for question in questions} & {
        functions.words(said[0]) for said in train
    }
    texts = [f"{question.prompt}\n{question.answers[0]}" for question in questions]
    assert leaks.unseen(questions, texts, map("\n".join, train)) == questions


@pytest.mark.parametrize("name", TASKS)
def test_what_is_judged_by_is_not_what_is_chosen_by(name):
    """Nor does a run, which is given "train" and "valid", evaluate on any of it."""
    for judged, chosen in zip(load(name), load(name, "development"), strict=True):
        assert chosen.name == f"{judged.name}_development"
        asked, seen = ([question.prompt for question in of.questions()] for of in (judged, chosen))
        assert not {functions.words(prompt) for prompt in asked} & {functions.words(prompt) for prompt in seen}
        assert 0.7 < len(asked) / len(seen) < 1.4 or name == "code"  # which is judged by another source
        if name != "stories":
            used = {said[0] for split in ("train", "valid") for said in examples(name, split)}
            assert set(seen) <= used and not set(asked) & used


def test_the_base_model_has_not_read_the_functions_asked_for():
    held_out = functions.held_out()
    assert {prompt for prompt, _ in code.examples("valid")} <= {function.documented for function in held_out}
    for split in ("valid", "test"):
        assert {prompt for prompt, _ in summaries.examples(split)} <= {summaries.prompt(one) for one in held_out}
    texts = [function.text for function in held_out]
    assert leaks.unseen(held_out, texts, functions.sources("train")) == held_out
    assert len(held_out) < len(functions.of_split("valid"))  # some were alike


@pytest.mark.parametrize("half", HALVES)
def test_shakespeare_is_held_out_by_place(half):
    stories, choices = load("stories", half)
    train = shakespeare_text.text("train")
    for question in stories.questions():
        assert question.prompt not in train and question.answers[0] not in train
    for question, choice in zip(stories.questions(), choices.questions(), strict=True):
        assert choice.answers[choice.right] == question.answers[0] and len(set(choice.answers)) == 4


@pytest.mark.parametrize("name", TASKS)
def test_baselines_answer_every_question(name):
    for found in load(name):
        questions = list(found.questions())[:20]
        for baseline in found.baselines.values():
            answers = list(baseline(questions))
            assert len(answers) == len(questions) and all(isinstance(answer, str | float) for answer in answers)
            assert any(answers) and answers == list(baseline(questions))


def test_make_base_runs_the_config_that_the_experiments_start_from():
    done = subprocess.run(["make", "-n", "base"], capture_output=True, text=True, check=True)
    assert "gptjax train --config=configs/small.py --workdir=runs/base" in done.stdout
