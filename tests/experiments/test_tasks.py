"""The tasks of the experiments: questions that are held out by text and by runs of words, and baselines that answer."""

import functools
import os
import subprocess

import pytest

from experiments import functions, leaks
from experiments.stories import text as shakespeare_text
from gptjax.data import dialogs
from gptjax.evaluation import task

TASKS = {"summaries": 100, "code": 100, "dialogue": 60, "stories": 100}  # and the fewest questions of each


@functools.cache
def load(name: str) -> list[task.Task]:
    if name == "stories" and "TFDS_DATA_DIR" not in os.environ:
        pytest.skip("needs tiny_shakespeare: set GPTJAX_TEST_DATA")
    return task.load([f"experiments/{name}/task.py"])


@pytest.fixture(autouse=True, scope="module")
def shakespeare():
    with pytest.MonkeyPatch.context() as patch:
        if "GPTJAX_TEST_DATA" in os.environ:
            patch.setenv("TFDS_DATA_DIR", f"{os.environ['GPTJAX_TEST_DATA']}/tfds")
        yield


def examples(name: str, split: str) -> list[list[str]]:
    corpus = dialogs.open_dialogs(f"dialogs:experiments/{name}/examples.py:examples", None)
    return [[message.content for message in example.messages] for example in corpus.examples(split)]


@pytest.mark.parametrize("name", TASKS)
def test_questions_are_there_and_always_the_same(name):
    for found in load(name):
        questions = task.opened(found)
        assert len(questions) >= TASKS[name] and questions == task.opened(found)
        assert len({question.prompt for question in questions}) == len(questions)


@pytest.mark.parametrize("name", [name for name in TASKS if name != "stories"])
def test_questions_are_held_out(name):
    (found,) = load(name)
    questions, train = found.questions(), examples(name, "train")
    assert len(train) > 4 * len(questions)
    assert not {functions.words(question.prompt) for question in questions} & {
        functions.words(said[0]) for said in train
    }
    texts = [f"{question.prompt}\n{question.answers[0]}" for question in questions]
    assert leaks.unseen(questions, texts, map("\n".join, train)) == questions


@pytest.mark.parametrize("name", ["summaries", "code"])
def test_the_base_model_has_not_read_the_functions_asked_for(name):
    (found,) = load(name)
    asked = {question.prompt for question in found.questions()}
    assert asked <= {said[0] for said in examples(name, "valid")}
    held_out = functions.held_out()
    texts = [f"{function.documented}\n{function.body}" for function in held_out]
    assert leaks.unseen(held_out, texts, functions.sources("train")) == held_out
    assert len(held_out) < len(functions.of_split("valid"))  # some were alike


def test_shakespeare_is_held_out_by_place():
    stories, choices = load("stories")
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
