"""What is exported comes back bit for bit, and what no family can express is refused by name. (Live: test_live.)"""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest
import safetensors.numpy

from gptjax import cli
from gptjax.config import BadInput, ModelConfig
from gptjax.data import subwords
from gptjax.data.alphabets import Bytes, Characters, Tokenizer
from gptjax.interop import export, huggingface, weights
from tests.interop import folders
from tests.interop.folders import GOLDEN
from tests.tiny import make_config

MODERN = dict(position="rope", norm="rms", mlp="swiglu", bias=False, n_kv_heads=2)
BYTES = Bytes({})


def shape(**changes) -> ModelConfig:
    return dataclasses.replace(make_config().model, vocab_size=256, pad_vocab_to=128, **changes)


def model(**changes) -> tuple[dict, ModelConfig]:
    """A model whose every parameter is random."""
    cfg, rng = shape(**changes), np.random.default_rng(0)
    draw = lambda leaf: jax.numpy.asarray(0.2 * rng.standard_normal(leaf.shape, np.float32))
    return jax.tree.map(draw, weights.shapes_of(cfg)), cfg


def logits(params, cfg):
    tokens_BT = np.random.default_rng(0).integers(0, cfg.vocab_size, (2, 9))
    return folders.logits(params, tokens_BT, np.ones_like(tokens_BT), cfg)


def written(tmp_path: pathlib.Path, params: dict, cfg: ModelConfig, tokenizer: Tokenizer = BYTES) -> huggingface.Model:
    """Exported and opened again."""
    export.write_model(tmp_path / "out", params, cfg, tokenizer, {}, {})
    return huggingface.open_model(tmp_path / "out", folders.here)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tied": False, "mlp": "relu2"},
        {"mlp": "gelu_exact", "norm_eps": 1e-3},
        MODERN,
        MODERN | {"tied": False, "rope_base": 500.0},
    ],
    ids=str,
)
def test_a_round_trip_is_bit_exact(changes, tmp_path):
    params, cfg = model(**changes)
    back = written(tmp_path, params, cfg)
    jax.tree.map(np.testing.assert_array_equal, back.params, params)
    assert back.cfg.model == dataclasses.replace(cfg, dropout=back.cfg.model.dropout)
    assert back.tokenizer.fingerprint == BYTES.fingerprint


@pytest.mark.parametrize("changes", [{"bias": False}, {"n_kv_heads": 2}, {"n_kv_heads": 1, "bias": False}], ids=str)
def test_what_gpt2_says_otherwise_gives_the_same_numbers(changes, tmp_path):
    params, cfg = model(**changes)
    back = written(tmp_path, params, cfg)
    assert back.cfg.model.bias and back.cfg.model.n_kv_heads == cfg.n_heads
    np.testing.assert_allclose(logits(back.params, back.cfg.model), logits(params, cfg), rtol=0, atol=1e-5)
    assert len(export.expressed(cfg)[1]) == len(changes)


def test_the_rows_that_pad_the_vocabulary_stay_behind(tmp_path):
    params, cfg = model()
    cfg = dataclasses.replace(cfg, vocab_size=250)
    tokenizer = Characters({"characters.json": json.dumps([chr(97 + i) for i in range(250 - 17)]).encode()})
    back = written(tmp_path, params, cfg, tokenizer)
    found = safetensors.numpy.load_file(tmp_path / "out/model.safetensors")["transformer.wte.weight"]
    assert found.shape == (250, 32)
    np.testing.assert_array_equal(back.params["w_tok"][:250], params["w_tok"][:250])
    np.testing.assert_array_equal(back.params["w_tok"][250:], 0)
    np.testing.assert_array_equal(logits(back.params, back.cfg.model), logits(params, cfg))
    assert back.tokenizer.fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_folder_of_transformers_comes_out_as_it_went_in(name, tmp_path):
    params, cfg = folders.read(GOLDEN / name)
    export.write_weights(tmp_path, params, cfg, cfg)
    ours = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    theirs = safetensors.numpy.load_file(GOLDEN / name / "model.safetensors")
    assert ours.keys() == theirs.keys()
    for tensor, array in theirs.items():
        np.testing.assert_array_equal(ours[tensor], array)


def test_several_files_come_with_their_index(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "FILE_BYTES", 20_000)
    params, cfg = model()
    back = written(tmp_path, params, cfg)
    assert len(list((tmp_path / "out").glob("model-*-of-*.safetensors"))) > 3
    jax.tree.map(np.testing.assert_array_equal, back.params, params)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"qk_norm": True}, "model.qk_norm=True: cannot be expressed by GPT-2"),
        (MODERN | {"qk_norm": True}, "model.qk_norm=True: cannot be expressed by Llama"),
        ({"parallel": True}, "model.parallel=True"),
        ({"logit_softcap": 30.0}, "model.logit_softcap=30.0"),
        ({"norm": "rms"}, "model.norm='rms'"),
        ({"mlp": "swiglu"}, "model.mlp='swiglu'"),
        (MODERN | {"mlp": "gelu", "norm": "layer"}, "model.norm='layer', model.mlp='gelu'"),
        (MODERN | {"bias": True}, "model.bias=True"),
    ],
    ids=str,
)
def test_what_no_family_can_express_is_refused_by_name(changes, words, tmp_path):
    with pytest.raises(BadInput, match=words):
        export.write_model(tmp_path / "out", {}, shape(**changes), BYTES, {}, {})
    assert not list(tmp_path.iterdir())


def test_the_command_says_what_it_wrote(tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["export-hf", f"--from={GOLDEN / 'gpt2'}", f"--to={out}"]) == 0
    assert f"folder: {out}" in capsys.readouterr().out
    assert json.loads((out / "config.json").read_text())["n_layer"] == 3
    assert subwords.read_gpt2(str(out)).fingerprint == subwords.read_gpt2(str(GOLDEN / "gpt2")).fingerprint
    ours, theirs = (json.loads((path / "generation_config.json").read_text()) for path in (out, GOLDEN / "gpt2"))
    assert ours == theirs
    assert cli.main(["export-hf", f"--from={GOLDEN / 'gpt2'}", f"--to={out}"]) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_byte_tokenizer_of_the_library_has_the_ids_of_ours(tmp_path):
    import tokenizers

    params, cfg = model()
    export.write_model(tmp_path / "out", params, cfg, BYTES, {}, {})
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "out/tokenizer.json"))
    for text in ("it's  x\n\tĀ naïve 日本 👩‍👩\U0010ffff \x01\x7f", "".join(map(chr, range(1, 400)))):
        assert theirs.encode(text).ids == BYTES.encode(text).tolist()
        assert theirs.decode(theirs.encode(text).ids) == text
