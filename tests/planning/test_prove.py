"""The formula of memory against XLA's own count, compiled ahead of time for chips that are not there: minutes, so only
`make prove` runs it. Nothing is run on a chip."""

import importlib.util
import os
import subprocess
import sys

import pytest

from gptjax.commands import plan
from gptjax.planning import topology
from tests.planning.golden import programs
from tests.planning.golden.programs import SHIPPED, TWELVE

ON_H100 = [  # the variants that the docstrings of the configs name
    ("configs/gpt2_1b5.py", "h100:1x8", ["mesh.replica=1", "accumulate=16"]),
    ("configs/llama_8b.py", "h100:1x8", ["accumulate=64"]),
]
SCATTERED = {  # times the bytes that are summed whole: XLA scatters no part of 25 rows, as 64 ways make of D = 1,600
    "configs/gpt2_1b5.py": 1,
    "configs/gpt3_6b7.py": 50,
    "configs/gpt3_175b.py": 50,
    "configs/llama_8b.py": 5,
}
NEEDS_CUDA = pytest.mark.skipif(
    importlib.util.find_spec("jax_cuda12_plugin") is None, reason="needs the [cuda12] extra"
)
NEEDS_LIBTPU = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs the [plan] extra")


@pytest.mark.prove
@NEEDS_LIBTPU
@pytest.mark.parametrize(("file", "on", "changes"), TWELVE, ids=str)
def test_memory_is_within_a_tenth_of_xlas(file, on, changes):
    said = programs.compiled(file, on, changes)
    assert "temp_bytes" in said, said
    total = said["argument_bytes"] + said["temp_bytes"]
    assert programs.estimated(file, on, changes) == pytest.approx(total, rel=0.1)


@pytest.mark.prove
@NEEDS_LIBTPU
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


@pytest.mark.prove
@NEEDS_LIBTPU
@pytest.mark.parametrize(("file", "on", "changes"), SHIPPED)
def test_a_shipped_config_fits_where_it_says(file, on, changes):
    said = programs.compiled(file, on, changes)
    assert "temp_bytes" in said, said
    sums = said["collectives"]
    assert sums["reduce-scatter"]["ici_bytes"] > SCATTERED[file] * sums["all-reduce"]["ici_bytes"]
    chip = topology.parse(on).chip
    assert chip is not None
    assert said["argument_bytes"] + said["temp_bytes"] <= chip.hbm_bytes


@pytest.mark.prove
@NEEDS_CUDA
@pytest.mark.parametrize(("file", "on", "changes"), ON_H100)
def test_a_variant_for_gpus_fits_where_it_says(file, on, changes):
    said = programs.compiled(file, on, changes)
    assert "temp_bytes" in said, said
    total, chip = said["argument_bytes"] + said["temp_bytes"], topology.parse(on).chip
    assert chip is not None and total <= chip.hbm_bytes
    assert programs.estimated(file, on, changes) == pytest.approx(total, rel=0.1)
    sums = said["collectives"]
    assert sums["reduce-scatter"]["ici_bytes"] > 1000 * sums["all-reduce"]["ici_bytes"]
