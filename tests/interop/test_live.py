"""Held against transformers and torch themselves (the [torch] extra), both ways, on random models."""

import dataclasses
import importlib
import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.config import ModelConfig
from gptjax.data import subwords, tokenizers
from gptjax.data.alphabets import Bytes
from gptjax.generation import decode
from gptjax.interop import export, weights
from tests.data.test_tokenizers import TORTURE, TRAINING_TEXT, folder_of
from tests.interop import folders, make_golden
from tests.tiny import make_config

pytestmark = [pytest.mark.prove, pytest.mark.filterwarnings("default")]
N_GREEDY = 200
GPT2S = {  # widths, depths, odd vocabularies, every option
    "one layer": dict(vocab_size=2, n_embd=8, n_layer=1, n_head=1),
    "odd": dict(vocab_size=131, n_embd=33, n_layer=3, n_head=3, n_inner=17),
    "deep": dict(vocab_size=257, n_embd=64, n_layer=8, n_head=4),
    "wide": dict(vocab_size=1009, n_embd=256, n_layer=2, n_head=8, activation_function="gelu"),
    "relu": dict(vocab_size=77, n_embd=48, n_layer=2, n_head=2, activation_function="relu", layer_norm_epsilon=1e-2),
    "scaled": dict(vocab_size=99, n_embd=40, n_layer=4, n_head=5, scale_attn_by_inverse_layer_idx=True),
    "unscaled": dict(vocab_size=99, n_embd=40, n_layer=2, n_head=5, scale_attn_weights=False),
    "untied": dict(vocab_size=99, n_embd=40, n_layer=2, n_head=4, tie_word_embeddings=False),
}
MODERN: dict[str, Any] = dict(position="rope", norm="rms", mlp="swiglu", bias=False)
OURS: dict[str, dict[str, Any]] = {
    "gpt2": dict(),
    "gpt2 without biases, few keys": dict(bias=False, n_kv_heads=1, tied=False),
    "gpt2 relu2": dict(mlp="relu2"),
    "llama": MODERN | dict(n_kv_heads=4, tied=False),
    "llama grouped, tied": MODERN | dict(n_kv_heads=2, rope_base=500.0),
}


@pytest.fixture(scope="module", autouse=True)
def libraries():
    """torch and transformers; without them these tests fail, since nothing else holds what they hold."""
    for name in ("torch", "transformers"):
        try:
            importlib.import_module(name)
        except ImportError:
            pytest.fail(f"{name} is missing: pip install 'gptjax[torch]' (make prove does)")


def check_logits(theirs: Any, params: dict, cfg: ModelConfig, lengths: tuple[int, ...]) -> None:
    for length in lengths:
        tokens_BT, mask_BT = make_golden.padded(cfg.vocab_size, length, seed=length)
        text_BT = mask_BT == 1
        expected_BTV = make_golden.logits(theirs, tokens_BT, mask_BT)
        ours_BTV = folders.logits(params, tokens_BT, mask_BT, cfg)
        np.testing.assert_allclose(ours_BTV[text_BT], expected_BTV[text_BT], rtol=0, atol=1e-4)


def check_greedy(theirs: Any, params: dict, cfg: ModelConfig) -> None:
    prompt_T = np.random.default_rng(3).integers(1, cfg.vocab_size, 7)
    found_BT = decode.generate(params, prompt_T, cfg, n_tokens=N_GREEDY, temperature=0.0)
    assert found_BT[0].tolist() == make_golden.greedy(theirs, prompt_T, N_GREEDY).tolist()
    assert len(set(found_BT[0].tolist())) > 5 or cfg.vocab_size < 5


@pytest.mark.parametrize("name", GPT2S)
def test_a_gpt2_of_transformers_is_the_same_here(name, tmp_path):
    options = make_golden.SMALL | dict(n_positions=256) | GPT2S[name]
    theirs = make_golden.make_model("GPT2", options, seed=1)
    theirs.save_pretrained(tmp_path)
    params, cfg = folders.read(tmp_path)
    check_logits(theirs, params, cfg, (1, 9, 256))
    check_greedy(theirs, params, cfg)


@pytest.mark.parametrize("name", OURS)
def test_a_model_of_ours_is_the_same_there_and_loads_in_silence(name, tmp_path, caplog):
    transformers = make_golden.library("transformers")
    transformers.logging.enable_propagation()
    cfg = dataclasses.replace(make_config().model, vocab_size=256, pad_vocab_to=128, context=256, **OURS[name])
    rng = np.random.default_rng(4)
    draw = lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape, np.float32) * 0.3)
    params = jax.tree.map(draw, weights.shapes_of(cfg))
    tokenizer = Bytes({})
    export.write_model(tmp_path / "out", params, cfg, tokenizer, {}, {})
    caplog.clear()
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    check_logits(theirs, params, cfg, (1, 9, 256))
    check_greedy(theirs, params, cfg)
    assert [record.message for record in caplog.records] == []
    check_ids(their_tokenizer, tokenizer)


def check_ids(theirs: Any, ours: tokenizers.Tokenizer) -> None:
    """Of text that spells no special token: theirs reads those in text, ours does not."""
    for text in [*TORTURE, *TRAINING_TEXT[:6], pathlib.Path(__file__).read_text(encoding="utf-8")]:
        text = text.replace("<|endoftext|>", "<endoftext>").replace("\0", "")
        ids = theirs(text)["input_ids"]
        assert ids == ours.encode(text).tolist(), text
        assert theirs.decode(ids) == text == ours.decode(ids)
    assert theirs.eos_token_id == theirs.bos_token_id == ours.end_of_text


def test_gpt2s_words_are_those_of_transformers(tmp_path):
    """Its own tokenizer, from the files that it is published as; and ours, exported."""
    transformers = make_golden.library("transformers")
    data, published = folder_of("gpt2-bpe"), tmp_path / "published"
    published.mkdir()
    for name, to in (("encoder.json", "vocab.json"), ("vocab.bpe", "merges.txt")):
        (published / to).write_bytes((data / name).read_bytes())
    (published / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    ours = subwords.read_gpt2(str(published))
    check_ids(transformers.AutoTokenizer.from_pretrained(published), ours)
    cfg = dataclasses.replace(make_config().model, vocab_size=50257, pad_vocab_to=128, d_model=4)
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), weights.shapes_of(cfg))
    export.write_model(tmp_path / "out", params, cfg, ours, {}, {})
    check_ids(transformers.AutoTokenizer.from_pretrained(tmp_path / "out"), ours)
