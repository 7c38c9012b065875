"""Which kernel is chosen where, and what is refused."""

import pytest

from gptjax.config import BadInput
from gptjax.keys import CHOICES
from gptjax.model import choice, cudnn
from gptjax.model.attention import ATTENTION
from tests.tiny import make_config, mesh_of

BF16 = "model.dtype=bfloat16"
ODD = ["model.context=15", "batch_tokens=60"]


def chosen(platform, *overrides, n_sequence=1, segmented=False, fused=True):
    return choice.choose(make_config(*overrides).model, platform, n_sequence, segmented, fused)


def test_every_kernel_is_a_choice():
    assert set(ATTENTION) == {*CHOICES["model.attention"], "splash_interpreted"}


@pytest.mark.parametrize(
    ("expected", "platform", "overrides", "more"),
    [
        ("blockwise", "cpu", [], {}),
        ("blockwise", "cpu", [BF16], {}),
        ("splash", "tpu", [], {"segmented": True}),
        ("cudnn", "gpu", [BF16], {}),
        ("cudnn", "gpu", [BF16], {"segmented": True}),
        ("blockwise", "gpu", [BF16, *ODD], {"segmented": True}),
        ("blockwise", "gpu", [], {}),
        ("blockwise", "gpu", [BF16], {"fused": False}),
        ("blockwise", "gpu", [BF16, "model.d_model=48"], {}),  # head width 12
        ("ring", "cpu", [], {"n_sequence": 2}),
        ("ring", "tpu", [], {"n_sequence": 2, "segmented": True}),
        ("reference", "tpu", ["model.dropout=0.1"], {}),
        ("reference", "cpu", ["model.dropout=0.1"], {"n_sequence": 2}),
        ("splash_interpreted", "cpu", ["model.attention=splash"], {}),
        ("splash", "tpu", ["model.attention=splash"], {}),
        ("cudnn", "gpu", ["model.attention=cudnn", BF16], {}),
        ("blockwise", "tpu", ["model.attention=blockwise"], {"n_sequence": 2}),
        ("reference", "gpu", ["model.attention=reference"], {}),
    ],
)
def test_the_kernel_of_a_platform(expected, platform, overrides, more):
    assert chosen(platform, *overrides, **more) == expected


@pytest.mark.parametrize(
    ("says", "platform", "overrides", "more"),
    [
        ("is for TPUs, and this is a GPU; try 'auto'", "gpu", ["model.attention=splash"], {}),
        ("is for GPUs, and this is a CPU; try 'auto'", "cpu", ["model.attention=cudnn", BF16], {}),
        ("model.dtype='float32'; try model.dtype='bfloat16'", "gpu", ["model.attention=cudnn"], {}),
        ("compute capability 8.0 or newer, and with privacy", "gpu", ["model.attention=cudnn", BF16], {"fused": False}),
        ("head widths of 8, 16", "gpu", ["model.attention=cudnn", BF16, "model.d_model=48"], {}),
        ("even contexts .* try 16", "gpu", ["model.attention=cudnn", BF16, *ODD], {"segmented": True}),
        ("mesh.sequence=2 divides it; try 'ring'", "tpu", ["model.attention=splash"], {"n_sequence": 2}),
        ("mesh.sequence=2 divides it; try 'ring'", "gpu", ["model.attention=cudnn", BF16], {"n_sequence": 2}),
        ("model.dropout=0.1 acts on; try 'reference'", "cpu", ["model.attention=ring", "model.dropout=0.1"], {}),
        ("mesh.sequence=3 does not divide model.context=16; try 2", "cpu", [], {"n_sequence": 3}),
    ],
)
def test_what_cannot_be_is_refused(says, platform, overrides, more):
    with pytest.raises(BadInput, match=says):
        chosen(platform, *overrides, **more)


def test_the_mesh_decides_and_deciding_twice_changes_nothing():
    for overrides, sizes, expected in [
        ([], (1, 1, 1, 2), "ring"),
        ([], (1, 2, 1, 1), "blockwise"),
        (["model.attention=splash"], (1, 2, 1, 1), "splash_interpreted"),
    ]:
        once = choice.resolved(make_config(*overrides), mesh_of(*sizes))
        assert once.model.attention == expected
        assert choice.resolved(once, mesh_of(*sizes)) == once


@pytest.mark.parametrize(
    ("capability", "expected"), [("7.5", False), ("8.0", True), ("9.0", True), ("10.0", True), ("gfx942", False)]
)
def test_cudnn_attends_on_nvidias_gpus_from_ampere_on(capability, expected):
    assert cudnn.runs_on(capability) == expected
