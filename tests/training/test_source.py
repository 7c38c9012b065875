import uuid

import pytest

from gptjax.config import BadInput, TokenizerConfig
from gptjax.data import tokenizers
from gptjax.training import source


@pytest.mark.parametrize("where", ["local", "memory://"])
def test_a_tokenizer_comes_back_from_beside_the_run(where, tmp_path):
    run = str(tmp_path / "run") if where == "local" else f"memory://{uuid.uuid4()}"
    cfg = TokenizerConfig("characters", "")
    with pytest.raises(BadInput, match="set model.vocab_size=20"):
        tokenizers.make(cfg, 9, lambda: ["abc"])
    made = tokenizers.make(cfg, 20, lambda: ["abc"])
    source.write_tokenizer(made, run)
    assert source.read_tokenizer(run).fingerprint == made.fingerprint


def test_a_run_without_a_tokenizer_is_named(tmp_path):
    with pytest.raises(BadInput, match=f"{tmp_path}/tokenizer: "):
        source.read_tokenizer(str(tmp_path))


@pytest.mark.parametrize(("path", "expected"), [("r/checkpoints/30", ("r", 30)), ("r/checkpoints/30/", ("r", 30))])
def test_a_checkpoint_is_a_run_and_a_step(path, expected):
    assert source.locate(path) == expected


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(BadInput, match="not a run directory"):
        source.locate(str(tmp_path))
