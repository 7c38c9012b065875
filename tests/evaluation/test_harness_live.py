"""lm-evaluation-harness over our model and over its export with the harness's own `hf` backend, side by side."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.data import subwords
from gptjax.evaluation.harness import HarnessModel
from gptjax.interop import export, weights
from gptjax.training import source
from tests.data.test_tokenizers import folder_of
from tests.evaluation.harness.make_golden import GOLDEN, MODEL, NAMES, answers, hf, run
from tests.evaluation.test_harness import offline
from tests.interop.test_live import libraries
from tests.tiny import make_config

__all__ = ["libraries", "offline"]  # fixtures
pytestmark = [pytest.mark.prove, pytest.mark.filterwarnings("default")]
TEMPLATE = (
    "{% for message in messages %}<|endoftext|>{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|endoftext|>assistant:{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of random weights with GPT-2's own words and a chat template, exported."""
    cfg = dataclasses.replace(make_config().model, vocab_size=50_257, pad_vocab_to=128, context=64)
    rng = np.random.default_rng(5)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape, np.float32) * 0.2), weights.shapes_of(cfg)
    )
    to = tmp_path_factory.mktemp("exported") / "model"
    export.write_model(to, params, cfg, subwords.read_gpt2(str(folder_of("gpt2-bpe"))), {}, {"chat_template": TEMPLATE})
    return to


def check(folder: pathlib.Path, chat: bool) -> None:
    ours, theirs = (answers(run(model, chat)) for model in (HarnessModel(source.open_run(str(folder))), hf(folder)))
    for name in NAMES:
        mine, others = ours[name]["answers"], theirs[name]["answers"]
        if name == "python_line":
            assert mine == others and len(set(mine)) > 5
            continue
        pairs = zip(mine, others, strict=True) if name != "python_prose" else ()
        for one, other in pairs:
            assert abs(one[0] - other[0]) < 1e-4 and one[1] == other[1]
        if name == "python_prose":
            np.testing.assert_allclose(mine, others, rtol=0, atol=1e-4)
    for name in NAMES:
        for metric, value in theirs[name]["scores"].items():
            assert ours[name]["scores"][metric] == pytest.approx(value, rel=0 if "acc" in metric else 1e-5)


@pytest.mark.parametrize("chat", [False, True])
def test_gpt2s_words_in_and_out_of_a_chat(folder, chat):
    check(folder, chat)


def test_the_trained_model_exported_again(tmp_path):
    """The golden model, opened and written by what `gptjax export-hf` writes with."""
    given = source.open_run(str(MODEL))
    export.write_model(tmp_path / "again", given.params, given.cfg.model, given.tokenizer, {}, {})
    check(tmp_path / "again", chat=False)
    assert GOLDEN.is_file()


def test_a_chat_left_open_is_as_transformers_leaves_it(folder):
    history = [{"role": "user", "content": "Hi "}, {"role": "assistant", "content": " Well, "}]
    model, theirs = HarnessModel(source.open_run(str(folder))), hf(folder)
    for asks in (True, False):
        text = model.apply_chat_template(history[: 1 if asks else 2], asks)
        assert text == theirs.apply_chat_template(history[: 1 if asks else 2], asks)
        assert model.tok_encode(text) == theirs.tok_encode(text)
