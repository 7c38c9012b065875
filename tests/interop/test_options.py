"""Each option of config.json that changes a number is honoured (test_golden) or refused by its name (here)."""

import contextlib
import json

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from gptjax.config import BadInput
from gptjax.interop import options
from tests.interop import folders
from tests.interop.folders import GOLDEN


def change(folder, **keys):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))
    return folder


REFUSED = [
    ("gpt2", dict(model_type="gpt_bigcode"), "model_type='gpt_bigcode': gptjax reads gpt2 and llama"),
    ("gpt2", dict(activation_function="quick_gelu"), "activation_function='quick_gelu'"),
    ("gpt2", dict(add_cross_attention=True), "add_cross_attention=True"),
    ("gpt2", dict(architectures=["GPT2ForSequenceClassification"]), "architectures='GPT2ForSequence"),
    ("gpt2", dict(auto_map={"AutoModel": "x.Y"}), "auto_map"),
    ("gpt2", dict(quantization_config={"bits": 4}), "quantization_config"),
    ("gpt2", dict(multi_query=True), "multi_query=True: gptjax does not know this option"),
    ("gpt2", dict(n_layer=True), "n_layer=True"),
    ("gpt2", dict(n_embd=-3), "n_embd=-3"),
    ("gpt2", dict(layer_norm_epsilon="1e-5"), "layer_norm_epsilon=1e-5"),
    ("gpt2", dict(scale_attn_weights=None), "scale_attn_weights=None"),
    ("gpt2", dict(n_layer=2), "transformer.h.2.* has no place"),
    ("gpt2", dict(n_layer=2_000_000_000), "lack transformer.h.3.ln_1.weight"),
    ("gpt2", dict(n_inner=None), r"shape \(24, 40\); by config.json it is \(24, 96\)"),
    ("gpt2", dict(vocab_size=300), r"wte.weight has shape \(261, 24\); by config.json it is \(300, 24\)"),
    ("gpt2", dict(tie_word_embeddings=False), "lack lm_head.weight"),
    ("gpt2_scaled", dict(tie_word_embeddings=True), "lm_head.weight is not the embedding"),
    ("llama", dict(attention_bias=True), "attention_bias=True"),
    ("llama", dict(mlp_bias=True), "mlp_bias=True"),
    ("llama", dict(hidden_act="gelu"), "hidden_act='gelu'"),
    ("llama", dict(head_dim=8), "head_dim=8: must be .* = 4"),
    ("llama", dict(rope_scaling={"type": "linear", "factor": 2.0}), "rope_scaling="),
    ("llama", dict(rope_parameters={"rope_theta": 1e4, "rope_type": "llama3"}), "rope_type='llama3'"),
    ("llama", dict(rope_parameters={"rope_theta": 1e4, "factor": 8.0}), "rope_parameters={'factor': 8.0}"),
    ("llama", dict(sliding_window=8), "sliding_window=8"),
]


@pytest.mark.parametrize(("name", "keys", "words"), REFUSED, ids=lambda value: str(value)[:40])
def test_an_option_that_cannot_be_honoured_is_refused_by_name(name, keys, words, tmp_path):
    folder = change(folders.copy(name, tmp_path), **keys)
    with pytest.raises(BadInput, match=words) as caught:
        folders.read(folder)
    assert str(folder) in str(caught.value) or "weights lack" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_config_that_is_no_json_object_is_refused(content, tmp_path):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(BadInput, match="config.json: is not"):
        options.read(tmp_path)


def test_missing_options_are_those_of_gpt2(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    cfg = options.read(tmp_path).model
    assert (cfg.vocab_size, cfg.n_layers, cfg.d_hidden, cfg.padded_vocab) == (50257, 12, 3072, 50304)
    assert (cfg.mlp, cfg.norm_eps, cfg.tied, cfg.dropout) == ("gelu", 1e-5, True, 0.1)


def rewrite(folder, change):
    """The folder's one file with other arrays."""
    file = folder / "model.safetensors"
    safetensors.numpy.save_file(change(safetensors.numpy.load_file(file)), file)


def test_old_names_and_masks_are_read(tmp_path):
    """As the first GPT-2 files are: no prefix, and causal masks among the weights."""
    folder = folders.copy("gpt2", tmp_path)
    masks = {f"h.{layer}.attn.bias": np.ones((1, 1, 32, 32), np.float32) for layer in range(3)}
    rewrite(folder, lambda arrays: {name.removeprefix("transformer."): a for name, a in arrays.items()} | masks)
    jax.tree.map(np.testing.assert_array_equal, folders.read(folder)[0], folders.read(GOLDEN / "gpt2")[0])


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_short_floats_are_widened(dtype, tmp_path):
    folder = folders.copy("gpt2", tmp_path)
    rewrite(folder, lambda arrays: {name: array.astype(dtype) for name, array in arrays.items()})
    whole = folders.read(GOLDEN / "gpt2")[0]
    expected = jax.tree.map(lambda leaf: np.asarray(leaf).astype(dtype).astype(np.float32), whole)
    jax.tree.map(np.testing.assert_array_equal, folders.read(folder)[0], expected)


@pytest.mark.parametrize("is_same", [True, False])
def test_a_stored_head_that_is_tied_must_be_the_embedding(is_same, tmp_path):
    folder = folders.copy("gpt2", tmp_path)
    head = lambda arrays: arrays["transformer.wte.weight"] + (0 if is_same else np.eye(261, 24, -237, np.float32))
    rewrite(folder, lambda arrays: arrays | {"lm_head.weight": head(arrays)})
    with contextlib.nullcontext() if is_same else pytest.raises(BadInput, match="lm_head.weight is not the embedding"):
        folders.read(folder)


def test_integer_weights_are_refused(tmp_path):
    folder = folders.copy("gpt2", tmp_path)
    rewrite(folder, lambda arrays: {name: array.astype(np.int8) for name, array in arrays.items()})
    with pytest.raises(BadInput, match="is I8; gptjax reads F32, F16, BF16"):
        folders.read(folder)


def test_a_missing_file_of_an_index_is_named(tmp_path):
    folder = folders.copy("gpt2_scaled", tmp_path)
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(BadInput, match="model-00002-of-00003.safetensors: No such file"):
        folders.read(folder)
