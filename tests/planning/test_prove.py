"""The formula of memory against XLA's own count, compiled ahead of time for chips that are not there: minutes, so only
`make prove` runs it. Nothing is run on a chip."""

import importlib.util
import os
import subprocess
import sys

import pytest

from gptjax import config
from gptjax.commands import plan
from gptjax.planning import memory, topology

MODERN = ["model.n_kv_heads=4", "model.mlp=swiglu", "model.norm=rms", "model.position=rope", "model.tied=False"]
LONG = ["model.context=2048"]
WHOLE = ["accumulate=1", "batch_tokens=16384"]
FOUR = ["accumulate=1", "batch_tokens=65536"]
CASES = [  # config, topology, changes
    ("configs/gpt2_124m.py", "v5e:1x1", [*WHOLE, "model.remat=full"]),
    ("configs/gpt2_124m.py", "v5e:1x1", [*WHOLE, "model.remat=dots"]),
    ("configs/gpt2_124m.py", "v5e:1x1", [*WHOLE, "model.remat=none"]),
    ("configs/gpt2_124m.py", "v5e:1x1", [*WHOLE, "model.remat=full", "loss.n_chunks=1", "batch_tokens=8192"]),
    ("configs/gpt2_124m.py", "v5e:1x1", [*WHOLE, *MODERN, *LONG, "model.remat=full"]),
    ("configs/gpt2_124m.py", "v5e:1x1", [*WHOLE, *MODERN, *LONG, "model.remat=dots", "optim.name=lion"]),
    ("configs/gpt2_124m.py", "v5e:1x1", ["accumulate=4", "batch_tokens=65536", "model.remat=full"]),
    ("configs/gpt2_124m.py", "v5e:2x2", [*FOUR, "model.remat=full"]),
    ("configs/gpt2_124m.py", "v5e:2x2", [*FOUR, "model.remat=dots"]),
    ("configs/gpt2_124m.py", "v5e:2x2", [*FOUR, *MODERN, *LONG, "model.remat=full"]),
    ("configs/gpt2_124m.py", "v5e:4x4", ["model.remat=full"]),
    ("configs/smoke_gpu.py", "v5e:1x1", []),
]


@pytest.mark.prove
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs the [plan] extra")
@pytest.mark.parametrize(("file", "on", "changes"), CASES, ids=str)
def test_memory_is_within_a_tenth_of_xlas(file, on, changes):
    cfg, asked = config.load(file, changes), topology.parse(on)
    said = plan.in_child(cfg, on)
    assert "temp_bytes" in said, said
    found = memory.estimate(cfg, plan.resolve(cfg, asked.n_devices, asked.n_slices), asked.family.kind)
    assert found.total == pytest.approx(said["argument_bytes"] + said["temp_bytes"], rel=0.1)


@pytest.mark.prove
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs the [plan] extra")
def test_the_compiler_knows_every_tpu_by_the_name_of_the_table():
    names = ["v4:4x4x4", "v5e:1x1", "v5p:2x2x2", "v6e:4x4", "7x:4x4x4", "2*v5p:4x4x4"]
    program = (
        "import sys; from gptjax.planning import topology\n"
        "for text in sys.argv[1:]:\n"
        "    on = topology.parse(text); found = topology.devices(on)\n"
        "    assert len(found) == on.n_devices and found[0].device_kind == on.family.kind, text\n"
        "    assert len({getattr(one, 'slice_index', 0) for one in found}) == on.n_slices, text\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *names], env=os.environ | plan.NO_DEVICE, capture_output=True)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]


SHIPPED = [  # config, topology and changes of its docstring
    ("configs/gpt2_1b5.py", "v5e:16x16", []),
    ("configs/gpt3_6b7.py", "v5e:16x16", []),
    ("configs/gpt3_175b.py", "v5p:8x8x8", []),
    ("configs/llama_8b.py", "v5e:16x16", []),
]


@pytest.mark.prove
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs the [plan] extra")
@pytest.mark.parametrize(("file", "on", "changes"), SHIPPED)
def test_a_shipped_config_fits_where_it_says(file, on, changes):
    said = plan.in_child(config.load(file, changes), on)
    assert "temp_bytes" in said, said
    sums = said["collectives"]
    assert sums["reduce-scatter"]["ici_bytes"] > 10 * sums["all-reduce"]["ici_bytes"]  # gradients are scattered
    chip = topology.parse(on).chip
    assert chip is not None
    assert said["argument_bytes"] + said["temp_bytes"] <= chip.hbm_bytes
