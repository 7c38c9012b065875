"""`gptjax import-hf`, and what opens a model folder or the run that it became."""

import json
import sys
import types

import jax
import numpy as np
import pytest

from gptjax import cli, mesh
from gptjax.config import BadInput
from gptjax.interop import hub
from gptjax.training import sharding, source
from tests.interop import folders
from tests.interop.folders import GOLDEN
from tests.tiny import mesh_of

GPT2 = str(GOLDEN / "gpt2")


def equal(one: dict, other: dict) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "gpt2"
    assert cli.main(["import-hf", f"--hf={GPT2}", f"--to={run}"]) == 0
    return run


def test_a_run_holds_what_the_folder_holds(imported):
    folder, run = source.open_run(GPT2), source.open_run(str(imported))
    equal(folder.params, run.params)
    assert folder.tokenizer.fingerprint == run.tokenizer.fingerprint
    assert folder.cfg == run.cfg and run.step == 0
    assert run.generation == folder.generation and run.generation["eos_token_id"] == 0
    header = json.loads((imported / "run.json").read_text())
    assert header["init_from"]["hugging_face"] == GPT2 and header["init_from"]["files"]["model.safetensors"] > 80_000
    assert header["config"]["model"]["n_layers"] == 3


@pytest.mark.parametrize("origin", ["folder", "run", "checkpoint"])
def test_generate_takes_it(origin, imported, capsys):
    path = {"folder": GPT2, "run": imported, "checkpoint": imported / "checkpoints/0"}[origin]
    flags = ["--max_tokens=8", "--temperature=0"]
    assert cli.main(["generate", f"--from={path}", "--prompt=the cat", *flags]) == 0
    found = capsys.readouterr().out
    assert found.startswith("the cat") and len(found) > len("the cat\n")
    assert cli.main(["generate", f"--from={GPT2}", "--prompt=the cat", *flags]) == 0
    assert capsys.readouterr().out == found


def test_training_starts_from_it(tmp_path, monkeypatch):
    monkeypatch.setattr(mesh, "make", lambda cfg: mesh_of(1, 1, 1, 1))  # where a step compiles fastest
    m = source.open_run(GPT2).cfg.model
    sizes = [f"model.{key}={getattr(m, key)}" for key in ("vocab_size", "context", "n_layers", "d_model", "n_heads")]
    sizes += [f"model.n_kv_heads={m.n_kv_heads}", f"model.d_hidden={m.d_hidden}"]
    more = ["tokenizer.name=gpt2", f"tokenizer.path={GPT2}", "data.corpora=synthetic", f"data.cache={tmp_path}/cache"]
    more += ["n_steps=1", "optim.warmup_steps=0", "optim.peak_lr=0", "batch_tokens=256", "eval_tokens=256"]
    flags = [f"--config.{key}" for key in [*sizes, *more, "sample_tokens=1", f"init_from={GPT2}"]]
    assert cli.main(["train", "--config=configs/base.py", f"--workdir={tmp_path}/run", *flags]) == 0
    equal(source.open_run(f"{tmp_path}/run").params, source.open_run(GPT2).params)
    assert json.loads((tmp_path / "run/run.json").read_text())["init_from"] == {"run": GPT2, "step": 0}


@pytest.mark.parametrize("origin", ["folder", "run"])
def test_weights_go_straight_to_their_places_on_a_mesh(origin, imported):
    on = mesh_of(1, 4, 2, 1)
    found = source.open_run(GPT2 if origin == "folder" else str(imported), on).params
    equal(found, source.open_run(GPT2).params)
    places = sharding.of_params(found, on)
    assert jax.tree.all(jax.tree.map(lambda leaf, at: leaf.sharding == at, found, places))
    w_in = found["blocks"]["mlp"]["w_in"]
    assert w_in.addressable_shards[0].data.size * 8 == w_in.size


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--hf={tmp}", "--to={tmp}/r"], "it has no config.json"),
        (["--hf={imported}", "--to={tmp}/r"], "it is a run: --from takes it as it is"),
        (["--hf={gpt2}", "--to={imported}"], "is a run already"),
        (["--hf={gpt2}", "--to={tmp}/file"], "is a file; name a directory"),
        (["--hf={gpt2}", "--to=s3://bucket/r"], "cannot write to s3"),
        (["--hf=no/such/folder/here", "--to={tmp}/r"], "neither a folder here nor the name of a model"),
    ],
)
def test_bad_input_is_told_in_one_line(flags, words, imported, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    names = {"tmp": tmp_path, "imported": imported, "gpt2": GPT2}
    assert cli.main(["import-hf", *(flag.format(**names) for flag in flags)]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_a_name_goes_through_the_hub(tmp_path, monkeypatch):
    asked = []

    def snapshot_download(name, allow_patterns):
        asked.append((name, allow_patterns))
        return GPT2

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=snapshot_download))
    assert cli.main(["import-hf", "--hf=openai-community/gpt2", f"--to={tmp_path}/r"]) == 0
    assert asked == [("openai-community/gpt2", ["*.json", "*.txt", "*.safetensors"])]


def test_offline_the_hub_is_named(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BadInput, match="nobody/nothing: no such folder, and the hub did not give it"):
        hub.folder_of("nobody/nothing")


def test_without_the_hub_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(BadInput, match=r"pip install 'gptjax\[hub\]'"):
        hub.folder_of("nobody/nothing")


def test_a_vocabulary_larger_than_the_tokenizer_is_kept_whole(tmp_path):
    folder = folders.copy("gpt2", tmp_path)
    (folder / "merges.txt").write_text("#version: 0.2\n")
    whole = json.loads((folder / "vocab.json").read_text())
    (folder / "vocab.json").write_text(json.dumps({token: i for token, i in whole.items() if i < 257}))
    found = source.open_run(str(folder))
    assert (found.tokenizer.vocab_size, found.cfg.model.vocab_size) == (257, 261)
    assert found.tokenizer.decode([5, 258, 260, 6]) == found.tokenizer.decode([5, 6])


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path):
    folder = folders.copy("gpt2_scaled", tmp_path)
    for name in ("vocab.json", "merges.txt"):
        (folder / name).write_bytes((GOLDEN / "gpt2" / name).read_bytes())
    with pytest.raises(BadInput, match="tokenizer has 261 entries, but vocab_size=67"):
        source.open_run(str(folder))


def test_another_end_of_text_than_the_tokenizers_is_refused(tmp_path):
    folder = folders.copy("gpt2", tmp_path)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": 5}))
    with pytest.raises(BadInput, match="eos_token_id=5, but the tokenizer's eos_token is 0"):
        source.open_run(str(folder))


def test_a_folder_without_a_tokenizer_is_named():
    with pytest.raises(BadInput, match="llama: tokenizer.path=.*no GPT-2 tokenizer there"):
        source.open_run(str(GOLDEN / "llama"))
