"""`gptjax inspect` on a run: what it prints is what the model does."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax import cli
from gptjax.model import gpt
from gptjax.training import source

PROMPT, CORRUPTED = "the cat and the cat", "the dog and the cat"


@pytest.fixture(scope="module")
def looked(finished, tmp_path_factory):
    """The text and the page of a prompt with a corrupted one."""
    import contextlib
    import io

    page, said = tmp_path_factory.mktemp("inspect") / "look.html", io.StringIO()
    with contextlib.redirect_stdout(said):
        words = ["inspect", f"--from={finished}", f"--prompt={PROMPT}", f"--corrupted={CORRUPTED}", f"--html={page}"]
        assert cli.main(words) == 0
    text = page.read_text()
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return said.getvalue(), json.loads(data)


@pytest.fixture(scope="module")
def given(finished):
    return source.open_run(str(finished))


def test_surprise_and_what_is_likeliest_are_the_models(looked, given):
    said, data = looked
    tokens = given.tokenizer.encode(PROMPT)
    assert data["tokens"] == tokens.tolist()
    logits_TV = gpt.forward(given.params, jnp.asarray(tokens)[None], given.cfg.model).logits_BTV[0]
    nats_TV = np.log(np.exp(np.asarray(logits_TV, np.float64)).sum(-1, keepdims=True)) - logits_TV
    expected = nats_TV[np.arange(len(tokens) - 1), tokens[1:]]
    np.testing.assert_allclose(data["next"][-1], expected, rtol=1e-3)
    assert f"{len(tokens)} tokens, {expected.mean():.4f} nats a token" in said
    printed = [float(number) for number in re.findall(r"^ *\d+  '.*?' +(\d+\.\d{3})  ", said, re.MULTILINE)]
    np.testing.assert_allclose(printed, expected, atol=6e-4)
    assert [likely[0] for likely in data["likely"][-1]] == nats_TV.argmin(-1).tolist()


def test_what_is_written_for_the_answer_adds_up(looked, given):
    data = looked[1]
    direct = {name: np.array(values) for name, values in data["direct"].items()}
    total = direct["embedding"] + direct["heads"].sum((0, 2)) + direct["norm_bias"]
    total += direct["attn_bias"].sum(0) + direct["mlp"].sum(0)
    np.testing.assert_allclose(total, direct["total"], atol=5e-3)
    logits_TV = gpt.forward(given.params, jnp.asarray(data["tokens"])[None], given.cfg.model).logits_BTV[0]
    right = [*data["tokens"][1:], data["answer"]]
    np.testing.assert_allclose(
        direct["total"], np.asarray(logits_TV)[np.arange(len(right)), right], rtol=1e-3, atol=1e-3
    )


def test_patching_before_the_first_layer_is_another_token(looked, given):
    """The stream there is the embedding: to put it in is to read this text's token in the corrupted text."""
    data = looked[1]
    patches, tokens = data["patches"], np.array(data["tokens"])
    corrupted = np.array(patches["tokens"])

    def asked(tokens: np.ndarray) -> float:
        logits_V = gpt.forward(given.params, jnp.asarray(tokens)[None], given.cfg.model).logits_BTV[0, -1]
        right = float(logits_V[data["answer"]])
        others = jax.nn.logsumexp(logits_V) if data["instead"] is None else logits_V[data["instead"]]
        return right - float(others)

    base, whole = asked(corrupted), asked(tokens)
    np.testing.assert_allclose([patches["base"], patches["source"]], [base, whole], rtol=1e-3, atol=1e-4)
    differ = np.flatnonzero(tokens != corrupted)
    assert len(differ) == 3
    for at, moved in enumerate(patches["positions"][0]):
        changed = np.where(np.arange(len(tokens)) == at, tokens, corrupted)
        expected = (asked(changed) - base) / (whole - base)
        np.testing.assert_allclose(moved, expected, rtol=0.02, atol=1e-3)
        assert at in differ or moved == 0


BAD = [
    (["--prompt="], "--prompt: is empty"),
    (["--prompt=a"], "the prompt has 1 token"),
    (["--prompt=" + "a" * 3000], "the model reads at most model.context="),
    (["--prompt=the cat", "--corrupted=the ca"], "the corrupted prompt has 6 tokens and the prompt 7"),
    (["--prompt=the cat", "--answer=dog"], "--answer='dog': is 3 tokens"),
    (["--prompt=the cat", "--html=/nowhere/look.html"], "--html=/nowhere/look.html: there is no folder"),
    (["--prompt=the cat", "--html=/dev/full"], "--html=/dev/full: No space left on device"),
]


@pytest.mark.parametrize(("flags", "says"), BAD)
def test_what_cannot_be_looked_at_is_refused(finished, flags, says, capsys):
    assert cli.main(["inspect", f"--from={finished}", *flags]) == 2
    assert says in capsys.readouterr().err
