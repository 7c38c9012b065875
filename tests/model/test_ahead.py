"""Kernels of TPU and GPU, compiled ahead of time in a whole train step; nothing is run.

    python -m pytest -m prove tests/model/test_ahead.py

The TPU's part needs the [plan] extra, the GPU's [cuda12].
"""

import importlib.util
import os
import re

import jax
import pytest
from jax.experimental import topologies

from gptjax import mesh
from gptjax.commands.train import trace_update
from gptjax.model import choice
from gptjax.planning import topology
from tests.tiny import make_config

pytestmark = [pytest.mark.prove, pytest.mark.filterwarnings("default")]
SIZES = ["model.context=256", "model.d_model=256", "model.d_hidden=512", "batch_tokens=2048", "model.dtype=bfloat16"]


def chosen_and_compiled(devices, *overrides):
    cfg = make_config(*SIZES, *overrides)
    on = mesh.make(cfg.mesh, devices)
    cfg = choice.resolved(cfg, on)
    return cfg.model.attention, trace_update(cfg, on).compile().as_text() or ""


@pytest.fixture(scope="module")
def tpus():
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("needs the [plan] extra")
    # No TPU machine is asked for its name, and others may compile meanwhile: no chip is held.
    os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
    return topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2").devices


@pytest.fixture(scope="module")
def gpus():
    if importlib.util.find_spec("jax_cuda12_plugin") is None:
        pytest.skip("needs the [cuda12] extra")
    return topology.devices(topology.parse("h100:1x4"))


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["mesh.tensor=2", "model.n_kv_heads=2", "model.remat=dots"],
        ["model.remat=full", "model.context=200", "batch_tokens=1600", "data.mask_documents=false"],
        ["model.dtype=float32", "model.d_model=320"],  # head width 80
    ],
)
def test_a_tpu_step_holds_the_splash_kernel(tpus, overrides):
    kernel, hlo = chosen_and_compiled(tpus, *overrides)
    assert kernel == "splash"
    assert "tpu_custom_call" in hlo and "splash_mha_dkv" in hlo
    n_forward = 2 if "model.remat=full" in overrides else 1  # one layer in a loop, and its backward pass
    assert len(re.findall(r"^ *%?splash_mha_fwd\S* = ", hlo, re.MULTILINE)) == n_forward


def test_a_tpu_step_passes_keys_round_the_ring(tpus):
    kernel, hlo = chosen_and_compiled(tpus, "mesh.sequence=2")
    assert kernel == "ring"
    assert "collective-permute" in hlo


@pytest.mark.parametrize("documents", [False, True])
@pytest.mark.parametrize("overrides", [[], ["mesh.tensor=2", "model.n_kv_heads=2"], ["model.remat=dots"]])
def test_a_gpu_step_holds_cudnns_kernel(gpus, overrides, documents):
    kernel, hlo = chosen_and_compiled(gpus, f"data.mask_documents={documents}", *overrides)
    assert kernel == "cudnn"
    called = re.findall(r'custom_call_target="__cudnn\$(fmha\w+)"', hlo)
    name = "fmhaScaleBiasSoftmax" if documents else "fmhaSoftmax"
    assert called.count(name) == 1 and name + "Backward" in called  # one layer in a loop, and none computed anew
    assert jax.default_backend() == "cpu"  # what is here has no say


@pytest.mark.parametrize("documents", [False, True])
def test_a_private_gpu_step_compiles(gpus, documents):
    private = ["privacy.clip_norm=1", "privacy.noise_multiplier=1", "privacy.max_batch=8"]
    kernel, _ = chosen_and_compiled(gpus, f"data.mask_documents={documents}", *private)
    assert kernel == ("blockwise" if documents else "cudnn")
