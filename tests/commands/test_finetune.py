"""Fine-tuning on dialogs by config alone: nothing bleeds, resume is bit for bit, and chat gets the run's template."""

import functools
import json

import jax
import numpy as np
import pytest

from gptjax import cli
from gptjax.data.templates import Form, Message
from gptjax.model import gpt
from gptjax.training import loss, source
from tests.commands.test_train import lines, on_one_device
from tests.data.test_packing import FILLS, make, store
from tests.tiny import make_config

__all__ = ["store"]  # a fixture
TEMPLATE = "{% for message in messages %}{{ message.role[0] }}: {{ message.content }}\n{% endfor %}"


@pytest.fixture
def told(tmp_path):
    """A file of 60 dialogs and a template."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdef"), rng.integers(2, 9))) for _ in range(60)]
    rows = [json.dumps({"prompt": f"say {word}", "answer": word}) for word in words]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    (tmp_path / "chat.jinja").write_text(TEMPLATE + "{% if add_generation_prompt %}a:{% endif %}")
    return {"data__corpora": f"dialogs:{tmp_path}/a.jsonl", "data__chat_template": str(tmp_path / "chat.jinja")}


def test_an_example_costs_the_same_alone_and_among_others(store):
    """The summed loss and its gradient over an epoch, however its rows are filled; one a row, an example is alone."""
    cfg = make_config("model.vocab_size=256", "model.context=64", "model.position=rope", "model.attention=blockwise")
    params = gpt.init(jax.random.key(0), cfg.model)

    @jax.jit
    def of_batch(params, batch):
        total = lambda params: loss.summed(params, batch, cfg.model, cfg.loss)[0]
        return jax.value_and_grad(total)(params)

    sums = {}
    for fill in FILLS:
        batches = make(store, fill, batch_size=2)
        (packed,) = batches.packed
        n_places = packed.n_groups * packed.rows.group
        assert n_places % 2 == 0
        found = [of_batch(params, batches(step)) for step in range(n_places // 2)]
        sums[fill] = functools.reduce(lambda one, other: jax.tree.map(np.add, one, other), found)
    for fill in ("budget", "buckets"):
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-4), sums[fill], sums["fixed"])


def test_a_run_that_is_stopped_goes_on_bit_for_bit(told, command, tmp_path):
    keys = told | {"eval_every": 0, "eval_tokens": 40, "optim__schedule": "constant", "data__fill": "buckets"}
    assert on_one_device(command(tmp_path / "whole", **keys, n_steps=8)) == 0
    for n_steps in (3, 8):
        assert on_one_device(command(tmp_path / "parts", **keys, n_steps=n_steps)) == 0
    for key, steps in (("train/nll", range(8)), ("data/batch_crc", range(8)), ("eval/nll", [8])):
        whole, parts = (lines(tmp_path / run, key) for run in ("whole", "parts"))
        assert list(whole) == list(steps) and whole == {step: parts[step] for step in steps}
    assert len(set(lines(tmp_path / "whole", "data/batch_crc").values())) == 4  # batches of an epoch
    assert lines(tmp_path / "whole")[7] < lines(tmp_path / "whole")[0] - 0.3


def test_a_run_says_what_it_used_and_keeps_its_template(told, command, tmp_path, capsys):
    words = command(tmp_path / "run", **told, n_steps=3, optim__warmup_steps=1, model__context=32, batch_tokens=64)
    assert on_one_device(words) == 0
    printed = capsys.readouterr().out
    record = json.loads((tmp_path / "run/run.json").read_text())
    found, held_out = record["dialogs"].values()
    assert (
        held_out == {"dialogs": 6, "left_out": 0, "cut": 0}
        and found["dialogs"] == 54
        and found["left_out"] == 0 < found["filled"] < 1
    )
    assert f"54 dialogs in {found['rows']} rows" in printed and "0 left out, 0 cut (data.too_long=drop)" in printed
    given = source.open_run(str(tmp_path / "run"))
    assert bytes(Form(given.tokenizer, given.chat).prompt([Message("user", "hi")])).decode() == "u: hi\na:"
    assert cli.main(["export-hf", f"--from={tmp_path}/run", f"--to={tmp_path}/hf"]) == 0
    assert source.open_run(str(tmp_path / "hf")).chat["chat_template"] == given.chat["chat_template"]


def test_another_template_is_not_a_resume(told, command, tmp_path, capsys):
    keys = told | {"n_steps": 2, "optim__warmup_steps": 1}
    assert on_one_device(command(tmp_path / "run", **keys)) == 0
    (tmp_path / "chat.jinja").write_text(TEMPLATE + "{% if add_generation_prompt %}a: {% endif %}")
    assert on_one_device(command(tmp_path / "run", **keys | {"n_steps": 4})) == 2
    assert "the data has changed since it was saved" in capsys.readouterr().err
