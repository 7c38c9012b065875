"""Presets have the published numbers of parameters, load as configs and need no jax."""

import subprocess
import sys

import jax
import pytest

from configs import base
from gptjax import config, tree
from gptjax.config import BadInput
from gptjax.model import gpt, presets


def n_params(preset):
    """Of the model without rows that pad its vocabulary, and of a config that passes validation."""
    fields = base.get_config().to_dict()
    fields["model"] |= preset | {"pad_vocab_to": 1}
    fields["batch_tokens"] = preset["context"]
    cfg = config.from_dict(fields).model
    return tree.count(jax.eval_shape(lambda: gpt.init(jax.random.key(0), cfg)))


@pytest.mark.parametrize(
    "preset,published",
    [
        (presets.gpt2("124M"), 124_439_808),
        (presets.gpt2("355M"), 354_823_168),
        (presets.gpt2("774M"), 774_030_080),
        (presets.gpt2("1.5B"), 1_557_611_200),
        (presets.llama("8B"), 8_030_261_248),
        (presets.llama("1B"), 1_235_814_400),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
def test_counts_are_the_published_ones(preset, published):
    assert n_params(preset) == published


@pytest.mark.parametrize("size", presets.GPT3)
def test_gpt3_has_the_size_of_its_name(size):
    name = float(size[:-1]) * {"M": 1e6, "B": 1e9}[size[-1]]
    assert abs(n_params(presets.gpt3(size)) / name - 1) < 0.02


def test_heads_have_the_published_widths():
    """The column d_head of GPT-3's table; 64 in all of GPT-2."""

    def widths(preset, sizes):
        return [preset(size)["d_model"] / preset(size)["n_heads"] for size in sizes]

    assert widths(presets.gpt3, presets.GPT3) == [64, 64, 96, 128, 80, 128, 128, 128]
    assert widths(presets.gpt2, presets.GPT2) == [64] * 4
    assert widths(presets.llama, presets.LLAMA) == [64, 128]


def test_an_unknown_size_names_the_nearest():
    with pytest.raises(BadInput, match="gpt2.'125M'.*did you mean '124M'"):
        presets.gpt2("125M")


def test_presets_import_no_jax():
    code = "import sys; from gptjax.model import presets; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
