"""The article's example, as a reader types it: load a folder of GPT-2, encode, generate, decode."""

import subprocess
import sys

import numpy as np
import pytest

import gptjax
from gptjax import cli
from gptjax.config import BadInput
from tests.interop.folders import GOLDEN
from tests.tiny import mesh_of

FOLDER = str(GOLDEN / "gpt2")


def test_the_articles_example_in_python_and_as_a_command(capsys):
    model = gptjax.load(FOLDER)
    ids = model.tokenizer.encode("Hello, my name is ")
    text = model.generate(ids, max_tokens=12)
    assert model.generate("Hello, my name is ", max_tokens=12) == text
    assert text.startswith("Hello, my name is ") and len(text) > len("Hello, my name is ")
    words = [f"--from={FOLDER}", "--prompt=Hello, my name is ", "--max_tokens=12", "--temperature=0"]
    assert cli.main(["generate", *words]) == 0
    assert capsys.readouterr().out == text + "\n"


def test_it_generates_what_transformers_does():
    golden = np.load(GOLDEN / "gpt2/golden.npz")
    model = gptjax.load(FOLDER)
    expected = model.tokenizer.decode(golden["prompt_T"].tolist() + golden["greedy_T"].tolist())
    assert model.generate(golden["prompt_T"], max_tokens=16) == expected


def test_logits_are_those_of_transformers():
    golden = np.load(GOLDEN / "gpt2/golden.npz")
    ours_TV = gptjax.load(FOLDER).logits(golden["tokens_BT"][1])
    np.testing.assert_allclose(ours_TV, golden["logits_BTV"][1], rtol=0, atol=1e-4)


def test_a_mesh_gives_the_text_of_one_device():
    from gptjax import loaded

    one, many = gptjax.load(FOLDER), loaded.load(FOLDER, mesh_of(1, 2, 2, 1))
    assert many.generate("the cat", max_tokens=6) == one.generate("the cat", max_tokens=6)
    assert len(many.params["w_tok"].sharding.device_set) == 4


@pytest.mark.parametrize("prompt", ["", [], [261], [-1]])
def test_a_prompt_without_tokens_or_with_unknown_ones_is_refused(prompt):
    with pytest.raises(BadInput, match="prompt: needs at least one token, each from 0 to 260"):
        gptjax.load(FOLDER).generate(prompt)


def test_a_path_that_is_nothing_is_named():
    with pytest.raises(BadInput, match="no/such/run: not a run directory"):
        gptjax.load("no/such/run")


def test_importing_gptjax_loads_next_to_nothing():
    program = "import sys, gptjax; print(sorted({'jax', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
