"""lm-evaluation-harness over our model: what its own `hf` backend answered (harness/make_golden.py), answered here."""

import json
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.tasks import TaskManager

from gptjax.config import BadInput
from gptjax.data.templates import Message
from gptjax.evaluation import harness_tasks, scores
from gptjax.evaluation.harness import HarnessModel, options
from gptjax.generation.sampling import Sampling
from gptjax.training import source
from tests.evaluation.harness.make_golden import GOLDEN, HERE, MODEL, NAMES, answers, run

pytestmark = pytest.mark.filterwarnings("default")  # of the harness and the libraries that it reads data with


@pytest.fixture(scope="module", autouse=True)
def offline(tmp_path_factory):
    """What reads the tasks' files keeps its copies here and asks nobody."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.chdir(HERE.parents[2])
        yield


@pytest.fixture(scope="module")
def model():
    return HarnessModel(source.open_run(str(MODEL)))


@pytest.fixture(scope="module")
def outcomes(model):
    return run(model)


@pytest.fixture(scope="module")
def ours(outcomes):
    return answers(outcomes)


def requests(method: Any, *arguments: tuple) -> list[Instance]:
    return [Instance(method, {}, one, number, ("task", number, 1)) for number, one in enumerate(arguments)]


@pytest.mark.parametrize("name", NAMES)
def test_every_answer_is_that_of_the_hf_backend(name, ours):
    theirs = json.loads(GOLDEN.read_text())["tasks"][name]["answers"]
    same = {
        "python_line": lambda one, other: one == other,
        "python_prose": lambda one, other: abs(one - other) < 1e-4,
    }
    for one, other in zip(ours[name]["answers"], theirs, strict=True):
        if name in same:
            assert same[name](one, other), (one, other)
        else:
            assert abs(one[0] - other[0]) < 1e-4 and one[1] == other[1]


@pytest.mark.parametrize("name", NAMES)
def test_every_score_is_that_of_the_hf_backend(name, ours):
    theirs = json.loads(GOLDEN.read_text())["tasks"][name]["scores"]
    assert ours[name]["scores"] == pytest.approx(theirs, rel=1e-5)
    shares = [metric for metric in theirs if metric in ("acc", "acc_norm", "exact_match")]
    for metric in shares:
        assert ours[name]["scores"][metric] == theirs[metric]
        assert 0 < theirs[metric] < 1  # or it would hold nothing


def test_a_score_measured_here_is_the_harnesses_with_an_interval_around_it(outcomes):
    for outcome in outcomes:
        assert len(outcome.questions) == 40
        for metric in outcome.metrics:
            assert metric.measure is not None
            found = scores.score(metric.measure, "command")
            assert found.value == pytest.approx(metric.value, rel=1e-12) and found.n == 40
            assert found.low < found.value < found.high


def test_a_question_is_told_with_its_right_answer(outcomes):
    module, word, prose, line = (outcome.questions[0] for outcome in outcomes)
    rows = [json.loads((HERE / f"{name}.jsonl").read_text().splitlines()[0]) for name in NAMES]
    assert module == f"{rows[0]['summary']}\nimport {rows[0]['choices'][rows[0]['right']]}"
    assert word == f"{rows[1]['context']} {rows[1]['word']}"
    assert prose == f" {rows[2]['text']}"
    assert line == f"{rows[3]['context']} {rows[3]['rest']}"


def test_a_text_longer_than_the_context_is_scored_window_by_window(model):
    """Each token once, as late in a window as can be: against windows written out."""
    text = "import os\n" * 40
    tokens = model.tok_encode(text)
    L, nats = model.max_length, 0.0
    assert len(tokens) > 2 * L
    whole = [model.eot_token_id, *tokens]
    for first in range(0, len(tokens), L):
        last = min(first + L, len(tokens))
        context, following = whole[max(0, last - L) : first + 1], whole[first + 1 : last + 1]
        nats += model._loglikelihood_tokens([(None, context, following)])[0][0]
    (found,) = model.loglikelihood_rolling(requests("loglikelihood_rolling", (text,)))
    assert found == pytest.approx(nats, abs=1e-9)


def test_a_special_token_is_read_where_it_is_spelled(model):
    assert model.tok_encode("a<|endoftext|>b") == [
        *model.tok_encode("a"), model.eot_token_id, *model.tok_encode("b")
    ]  # fmt: skip


def test_samples_of_one_prompt_differ_and_come_again(model):
    asked = {"until": ["\n\n"], "max_gen_toks": 12, "do_sample": True, "temperature": 1.0}
    drawn = lambda: model.generate_until(requests("generate_until", *[("import ", asked)] * 4))
    texts = drawn()
    assert texts == drawn() and len(set(texts)) > 1
    greedy = model.generate_until(requests("generate_until", ("import ", {"until": [], "max_gen_toks": 12})))
    assert greedy[0] not in texts


def test_a_text_ends_where_a_task_says(model):
    def text(**asked):
        return model.generate_until(requests("generate_until", ("def main(", {"max_gen_toks": 30, **asked})))[0]

    whole = text(until=[])
    stop = whole[7:9]
    assert text(until=[stop, "never there"]) == whole[: whole.index(stop)]
    assert text(until=stop) == whole[: whole.index(stop)]
    assert whole.startswith(text(until=[], max_gen_toks=5))


def test_generation_kwargs_become_options_or_are_refused():
    drawn = {"do_sample": True, "temperature": 0.5, "top_k": 7, "top_p": 0.9, "until": [], "max_gen_toks": 3}
    assert options(drawn) == Sampling(temperature=0.5, top_k=7, top_p=0.9)
    assert options(drawn | {"do_sample": False, "num_beams": 1}) == Sampling(temperature=0.0)
    with pytest.raises(BadInput, match="no num_beams=4 here"):
        options(drawn | {"num_beams": 4})


def test_a_dialogue_is_written_as_chat_writes_it(model):
    history = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    asked = model.apply_chat_template(history)
    assert model.tok_encode(asked) == model.form.prompt([Message(**message) for message in history])
    assert model.stops(asked, ["x"])[-1] == "\nAssistant:" and model.stops("Hi", ["x"]) == ["x", "<|endoftext|>"]
    opened = model.apply_chat_template([*history, {"role": "assistant", "content": "The answer is"}], False)
    assert opened == asked + " The answer is"


def test_the_harness_knows_the_model_by_name():
    made = get_model("gptjax").create_from_arg_string(f"from={MODEL}", {"batch_size": 8, "device": "cpu"})
    assert isinstance(made, HarnessModel) and made.max_length == 64
    with pytest.raises(BadInput, match="is from=DIR"):
        get_model("gptjax").create_from_arg_string(f"pretrained={MODEL}")


def test_a_task_that_is_not_there_is_refused_by_name(monkeypatch, tmp_path):
    """Without the harness's own thousands of tasks, which take seconds to read."""
    few = lambda include_path, **_: TaskManager(include_path=include_path, include_defaults=False)
    monkeypatch.setattr(harness_tasks, "TaskManager", few)
    with pytest.raises(BadInput, match="no such task; did you mean python_word"):
        harness_tasks.opened(["python_wrd"], str(HERE))
    with pytest.raises(BadInput, match="--harness=nowhere.yaml: cannot be opened"):
        harness_tasks.opened(["nowhere.yaml"], "")
    file = tmp_path / "a.yaml"
    file.write_text("task: a\ndataset_path: json\ndataset_kwargs: {data_files: /nowhere/x.jsonl}\n")
    with pytest.raises(BadInput, match=r"a.yaml: cannot be opened \(.*/nowhere/x.jsonl"):
        harness_tasks.opened([str(file)], "")
