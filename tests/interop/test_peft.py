"""Adapters in PEFT's layout: by its formula from the files alone, by what it computed, and live."""

import importlib
import json
import math
import warnings

import numpy as np
import pytest
import safetensors.numpy

from gptjax import tree
from gptjax.config import BadInput
from gptjax.data.alphabets import Bytes
from gptjax.interop import peft
from gptjax.model import lora
from tests.interop import folders, make_golden, make_peft
from tests.interop.folders import GOLDEN


def merged_logits(name):
    params, run = make_peft.adapted(name)
    golden = np.load(GOLDEN / make_peft.MATRICES[name][0] / "golden.npz")
    merged = lora.merged(params, run.lora)
    found_BTV = folders.logits(merged, golden["tokens_BT"], golden["mask_BT"], run.model)
    return found_BTV, golden["logits_BTV"], golden["mask_BT"] == 1


@pytest.mark.parametrize("name", make_peft.MATRICES)
def test_merged_logits_are_those_that_peft_computed(name):
    ours_BTV, base_BTV, text_BT = merged_logits(name)
    theirs_BTV = np.load(make_peft.FOLDER / f"{name}.npz")["logits_BTV"]
    assert np.abs(theirs_BTV[text_BT] - base_BTV[text_BT]).max() > 0.1
    np.testing.assert_allclose(ours_BTV[text_BT], theirs_BTV[text_BT], rtol=0, atol=1e-4)


@pytest.fixture
def written(tmp_path):
    """The settings and the tensors of an exported folder."""

    def write(name):
        params, run = make_peft.adapted(name)
        peft.write_adapters(tmp_path / name, params, run)
        settings = json.loads((tmp_path / name / "adapter_config.json").read_text())
        return settings, safetensors.numpy.load_file(tmp_path / name / "adapter_model.safetensors")

    return write


def test_the_adapters_of_q_and_v_are_blocks_of_one_of_c_attn(written):
    settings, tensors = written("gpt2")
    assert settings["target_modules"] == ["attn.c_attn"] and settings["fan_in_fan_out"] is True
    assert settings["rank_pattern"] == {"attn.c_attn": 6} and settings["alpha_pattern"] == {"attn.c_attn": 9.0}
    params, run = make_peft.adapted("gpt2")
    leaves, D = tree.named(params), run.model.d_model
    assert len(tensors) == 2 * run.model.n_layers
    a, b = (tensors[f"base_model.model.transformer.h.1.attn.c_attn.lora_{x}.weight"] for x in "AB")
    assert a.shape == (6, D) and b.shape == (3 * D, 6)
    delta = 9.0 / 6 * b @ a  # (outputs, inputs), q, k and v below each other
    for number, part in enumerate("qkv"):
        expected = np.zeros((D, D))
        if part != "k":
            of = [np.asarray(leaves[f"blocks/attn/w_{part}_lora_{x}"][1], np.float64) for x in "ab"]
            expected = 4.5 / 3 * of[0] @ of[1].reshape(3, D)
        np.testing.assert_allclose(delta[number * D : (number + 1) * D].T, expected, atol=1e-5)


def test_every_module_of_llama_has_a_pair_of_its_own(written):
    settings, tensors = written("llama_all")
    at = [f"self_attn.{name}_proj" for name in "qkvo"] + [f"mlp.{name}_proj" for name in ("gate", "up", "down")]
    assert set(settings["target_modules"]) == {*at, "embed_tokens", "lm_head"} and settings["rank_pattern"] == {}
    names = {f"base_model.model.model.layers.{layer}.{one}" for layer in range(2) for one in at}
    assert {name.rsplit(".lora_", 1)[0] for name in tensors} == {
        *names, "base_model.model.model.embed_tokens", "base_model.model.lm_head"
    }  # fmt: skip
    assert {math.prod(x.shape) for x in tensors.values()} and all(3 in x.shape for x in tensors.values())
    assert tensors["base_model.model.model.embed_tokens.lora_embedding_A"].shape == (3, 71)


def test_a_tied_embedding_is_refused(tmp_path):
    params, run = make_peft.adapted("gpt2")
    leaves = tree.named(params) | {"w_tok_lora_a": np.zeros((261, 3)), "w_tok_lora_b": np.zeros((3, 24))}
    with pytest.raises(BadInput, match="w_tok is the head too"):
        peft.write_adapters(tmp_path / "out", tree.nested(leaves), run)
    assert not (tmp_path / "out").exists()


@pytest.mark.prove
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", make_peft.MATRICES)
def test_peft_loads_the_adapters_on_the_exported_base(name, tmp_path):
    try:
        for library in ("torch", "transformers", "peft"):
            importlib.import_module(library)
    except ImportError as error:
        pytest.fail(f"{error}: pip install 'gptjax[torch]' (make prove does)")
    params, run = make_peft.adapted(name)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        theirs = make_peft.loaded(params, run, Bytes({}), tmp_path)
    assert not [one for one in told if "missing" in str(one.message).lower()]
    golden = np.load(GOLDEN / make_peft.MATRICES[name][0] / "golden.npz")
    ours_BTV, _, text_BT = merged_logits(name)
    theirs_BTV = make_golden.logits(theirs, golden["tokens_BT"], golden["mask_BT"])
    np.testing.assert_allclose(ours_BTV[text_BT], theirs_BTV[text_BT], rtol=0, atol=1e-4)
