"""Which keys may change within a run: the rules stand in config.py, here is what they do."""

import json

import pytest

from gptjax import config
from gptjax.config import BadInput
from gptjax.training.resume import check_fingerprints, check_resume


def resume(changes: dict, change_optimizer: bool = False) -> dict:
    """Resumes the base run, its config read back from JSON, with the keys of `changes` changed."""
    now = config.to_dict(config.load("configs/base.py"))
    saved = json.loads(json.dumps(now))
    for key, value in changes.items():
        *sections, last = key.split(".")
        section = now
        for name in sections:
            section = section[name]
        section[last] = value
    return check_resume(saved, now, run="runs/a", change_optimizer=change_optimizer)


def test_the_same_config_changes_nothing_though_json_has_no_tuples():
    assert resume({}) == {}


@pytest.mark.parametrize(
    "key, old, new",
    [
        ("n_steps", 1000, 99),
        ("save_every", 500, 7),
        ("mesh.tensor", 1, 2),
        ("model.remat", "none", "full"),
        ("tags", [], ["a", "b"]),
        ("log.tensorboard", False, True),
    ],
)
def test_free_keys_change_and_are_told(key, old, new):
    assert resume({key: new}) == {key: [old, new]}


@pytest.mark.parametrize("key, new", [("optim.peak_lr", 0.5), ("optim.name", "lion"), ("loss.z_weight", 1e-4)])
def test_the_optimizer_changes_only_with_its_flag(key, new):
    with pytest.raises(BadInput, match=f"resume of runs/a: {key} was .*, is now {new}; .*--change_optimizer$"):
        resume({key: new})
    assert list(resume({key: new}, change_optimizer=True)) == [key]


@pytest.mark.parametrize(
    "key, new",
    [
        ("model.n_layers", 6),
        ("tokenizer.name", "characters"),
        ("data.corpora", ("tfds:lm1b",)),
        ("seed", 1),
        ("batch_tokens", 8192),
        ("init_from", "runs/b"),
    ],
)
def test_what_makes_the_run_never_changes(key, new):
    with pytest.raises(BadInput, match=f"{key} was .*--config.init_from=runs/a --workdir=NEW$"):
        resume({key: new}, change_optimizer=True)


def test_every_forbidden_key_is_named_and_no_permitted_one():
    with pytest.raises(BadInput) as caught:
        resume({"seed": 1, "model.n_layers": 6, "optim.b1": 0.5, "n_steps": 99})
    message = str(caught.value)
    assert "model.n_layers was 4, is now 6" in message and "seed was 0, is now 1" in message
    assert "optim.b1 was" in message and "n_steps" not in message and "\n" not in message


def test_a_key_that_only_one_side_knows_is_a_difference():
    with pytest.raises(BadInput, match="model.new was absent, is now 1"):
        resume({"model.new": 1})


SAVED = {"tokenizer": "t", "data": {"a/train": ["11" * 32, "22" * 32], "a/valid": ["33" * 32]}}


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"a/train": ["11" * 32, "44" * 32]}, "tokens-00001.bin of a/train was 222222222222, is now 444444444444"),
        ({"a/train": ["11" * 32]}, "tokens-00001.bin of a/train was 222222222222, is now absent"),
        ({"a/valid": ["33" * 32, "55" * 32]}, "tokens-00001.bin of a/valid was absent, is now 555555555555"),
        ({"b/train": ["66" * 32]}, "tokens-00000.bin of b/train was absent, is now 666666666666"),
    ],
)
def test_changed_data_names_the_first_shard_that_differs(changes, words):
    check_fingerprints(SAVED, SAVED, run="runs/a")
    with pytest.raises(BadInput, match=f"resume of runs/a: the data has changed since it was saved, .*: {words}"):
        check_fingerprints(SAVED, SAVED | {"data": SAVED["data"] | changes}, run="runs/a")


def test_a_changed_tokenizer_is_named_and_no_shard():
    changed = {"tokenizer": "u", "data": {"a/train": ["77" * 32]}}
    with pytest.raises(BadInput, match="the tokenizer has changed since it was saved, its ids .* text; start"):
        check_fingerprints(SAVED, changed, run="runs/a")
