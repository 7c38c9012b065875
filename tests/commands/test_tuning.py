"""Whole runs that train a part, stop early, or learn from pairs, and what opens them."""

import functools
import json
import pathlib

import jax
import numpy as np
import pytest

from gptjax import cli, tree
from gptjax.commands import train
from gptjax.model import adapters
from gptjax.training import source
from tests.commands.test_train import lines, on_one_device
from tests.interop.folders import logits

LORA = {"lora__rank": 2, "lora__matrices": "blocks/(attn/w_[qv]|mlp/.*)", "optim__peak_lr": 1e-2, "n_steps": 8}
FLAT = {"optim__schedule": "constant", "optim__weight_decay": 0}


def equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.fixture(scope="module")
def adapted(tmp_path_factory, command, finished):
    """A run of adapters beside the weights of another."""
    workdir = tmp_path_factory.mktemp("runs") / "adapted"
    assert on_one_device(command(workdir, init_from=finished, **LORA, **FLAT)) == 0
    return workdir


def test_adapters_learn_beside_weights_that_keep_their_bits(adapted, finished):
    base, run = source.open_run(str(finished)), source.open_adapters(str(adapted))
    leaves = tree.named(run.params)
    equal(base.params, tree.nested({name: x for name, x in leaves.items() if not adapters.is_adapter(name)}))
    assert len(leaves) - len(tree.named(base.params)) == 8
    assert lines(adapted, "eval/nll")[8] < lines(finished, "eval/nll")[12] - 0.005
    opened = source.open_run(str(adapted))
    assert tree.named(opened.params).keys() == tree.named(base.params).keys()
    moved = {
        name for name, x in tree.named(opened.params).items() if not np.array_equal(x, tree.named(base.params)[name])
    }
    assert moved == {"blocks/attn/w_q", "blocks/attn/w_v", "blocks/mlp/w_in", "blocks/mlp/w_out"}


def test_a_run_of_adapters_says_what_it_trains_and_goes_on_bit_for_bit(adapted, command, finished, tmp_path, capsys):
    n = 2 * 2 * (2 * (32 + 32) + 2 * (32 + 64))
    for n_steps in (3, 8):
        keys = LORA | FLAT | {"n_steps": n_steps}
        assert on_one_device(command(tmp_path / "run", init_from=finished, **keys)) == 0
        assert f"parameters, {n:,} (" in capsys.readouterr().out.splitlines()[0]
    assert lines(tmp_path / "run") == lines(adapted)
    equal(source.open_adapters(str(tmp_path / "run")).params, source.open_adapters(str(adapted)).params)


def test_what_opens_a_run_opens_one_of_adapters(adapted, command, tmp_path, capsys):
    assert cli.main(["generate", f"--from={adapted}", "--prompt=the", "--max_tokens=4", "--temperature=0"]) == 0
    assert cli.main(["export-hf", f"--from={adapted}", f"--to={tmp_path}/hf"]) == 0
    mine, theirs = (source.open_run(str(path)) for path in (adapted, tmp_path / "hf"))
    tokens_BT = np.arange(24).reshape(2, 12)
    one, other = (logits(x.params, tokens_BT, np.ones_like(tokens_BT), x.cfg.model) for x in (mine, theirs))
    np.testing.assert_array_equal(one, other)
    assert on_one_device(command(tmp_path / "on", init_from=adapted, n_steps=1, optim__warmup_steps=0)) == 0
    assert lines(tmp_path / "on")[0] == pytest.approx(lines(adapted)[7], abs=0.3)
    assert cli.main(["export-hf", f"--from={adapted}", f"--to={tmp_path}/peft", "--adapter"]) == 0
    assert sorted(p.name for p in (tmp_path / "peft").iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    capsys.readouterr()
    assert cli.main(["export-hf", f"--from={tmp_path}/hf", f"--to={tmp_path}/none", "--adapter"]) == 2
    assert "hf: has no adapters" in capsys.readouterr().err


def test_averages_of_adapters_are_merged_too(command, finished, tmp_path):
    keys = LORA | {"n_steps": 4, "optim__ema_decay": 0.5, "eval_every": 0}
    assert on_one_device(command(tmp_path / "run", init_from=finished, **keys)) == 0
    given, base = source.open_adapters(str(tmp_path / "run")), source.open_run(str(finished))
    np.testing.assert_array_equal(given.params["w_tok"], base.params["w_tok"])
    assert np.abs(given.params["blocks"]["mlp"]["w_in_lora_b"]).max() > 0


STOPPING = {
    "n_steps": 60,
    "eval_every": 2,
    "save_every": 0,
    "stop_patience": 2,
    "optim__peak_lr": 0.3,
    "eval_tokens": 256,
}
STOPPING |= {"optim__schedule": "constant", "optim__warmup_steps": 0, "sample_tokens": 1, "keep_last": 1}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, command):
    workdir = tmp_path_factory.mktemp("runs") / "stopped"
    assert on_one_device(command(workdir, **STOPPING)) == 0
    return workdir


def test_a_run_that_gets_no_better_ends_and_its_best_is_opened(stopped, command, capsys):
    scores = lines(stopped, "eval/nll")
    *_, last = scores
    best = min(scores, key=lambda step: scores[step])
    assert last == best + 4 < 60 and list(scores) == list(range(2, last + 2, 2))
    assert sorted(int(p.name) for p in (stopped / "checkpoints").iterdir() if p.is_dir()) == [best, last]
    assert source.open_run(str(stopped)).step == best
    assert source.open_run(f"{stopped}/checkpoints/{last}").step == last
    before = (stopped / "metrics.jsonl").read_bytes()
    assert on_one_device(command(stopped, **STOPPING)) == 0
    assert f"{stopped} is done, stopped early: eval/nll has not been better than" in capsys.readouterr().out
    assert (stopped / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize("cut", [*(pytest.param(at, marks=pytest.mark.prove) for at in (3, 4)), 6])
def test_a_run_that_was_interrupted_ends_at_the_same_step(cut, stopped, command, tmp_path, monkeypatch):
    calls = iter(range(1, 100))
    with monkeypatch.context() as patch:
        patch.setattr(train.rounds, "together", lambda stop: lambda: next(calls) > cut)
        assert on_one_device(command(tmp_path / "run", **STOPPING)) == 75
    assert list(lines(tmp_path / "run")) == list(range(cut))
    assert on_one_device(command(tmp_path / "run", **STOPPING)) == 0
    assert lines(tmp_path / "run") == lines(stopped)
    assert lines(tmp_path / "run", "eval/nll") == lines(stopped, "eval/nll")
    assert source.open_run(str(tmp_path / "run")).step == source.open_run(str(stopped)).step


def test_more_patience_goes_on(stopped, command, tmp_path):
    import shutil

    shutil.copytree(stopped, tmp_path / "run")
    last = max(lines(stopped, "eval/nll"))
    assert on_one_device(command(tmp_path / "run", **STOPPING | {"stop_patience": 3, "n_steps": last + 2})) == 0
    assert max(lines(tmp_path / "run", "eval/nll")) == last + 2


@pytest.fixture(scope="module")
def preferred(tmp_path_factory, finished):
    """60 pairs: of two answers to the same prompt the one of vowels is chosen."""
    rng, file = np.random.default_rng(0), tmp_path_factory.mktemp("pairs") / "a.jsonl"
    word = lambda letters: "".join(rng.choice(list(letters), 6))
    rows = [{"prompt": word("xyz"), "chosen": word("aeiou"), "rejected": word("bcdfg")} for _ in range(60)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    keys = {"eval_every": 0, "batch_tokens": 256, "n_steps": 12, "optim__peak_lr": 1e-2, "dpo__beta": 0.5}
    return FLAT | keys | {"data__corpora": f"preferences:{file}", "init_from": finished}


WAYS = {"all": {}, "adapters": {"lora__rank": 2}}


@pytest.fixture(scope="module")
def learned(tmp_path_factory, command, preferred):
    """The run of the pairs that trains all weights, or adapters."""

    @functools.cache
    def run(ways: str) -> pathlib.Path:
        workdir = tmp_path_factory.mktemp("runs") / ways
        assert on_one_device(command(workdir, **preferred | WAYS[ways])) == 0
        return workdir

    return run


@pytest.mark.parametrize("ways", WAYS)
def test_preferences_are_learned_and_carry_over_to_pairs_held_out(ways, learned, finished):
    run = learned(ways)
    loss, margin = (lines(run, f"train/dpo_{name}") for name in ("loss", "margin"))
    assert loss[0] == pytest.approx(np.log(2), abs=1e-4) and margin[0] == pytest.approx(0, abs=1e-3)
    assert loss[11] < 0.55 and margin[11] > 0.3
    assert lines(run, "eval/dpo_accuracy")[12] == 1 > lines(run, "eval/dpo_loss")[12]
    opened = source.open_run(str(run))
    assert tree.named(opened.params).keys() == tree.named(source.open_run(str(finished)).params).keys()


def test_a_run_of_pairs_goes_on_bit_for_bit(preferred, learned, command, tmp_path, capsys):
    for n_steps in (5, 12):
        assert on_one_device(command(tmp_path / "parts", **preferred | {"n_steps": n_steps})) == 0
        assert "54 pairs" in capsys.readouterr().out
    for key in ("train/nll", "train/dpo_loss", "data/batch_crc"):
        assert lines(learned("all"), key) == lines(tmp_path / "parts", key)
    kept = tmp_path / "parts/checkpoints"
    assert {p.name for p in kept.iterdir() if p.is_dir()} >= {"12"}
