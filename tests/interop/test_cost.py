"""What an import takes, beyond what importing next to nothing takes. Timings belong to the machine that is measured."""

import dataclasses
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from gptjax import tree
from gptjax.interop import export, options, weights
from tests.interop import folders

PROGRAM = """
import resource, sys
from gptjax import cli
assert cli.main(["import-hf", "--hf=" + sys.argv[1], "--to=" + sys.argv[2]]) == 0
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


def peak_of(folder: pathlib.Path, to: pathlib.Path) -> int:
    """Bytes that a process held at most while it imported."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, folder, to], capture_output=True, text=True, check=True)
    return int(done.stdout.rsplit("peak ", 1)[1])


@pytest.mark.prove
def test_an_import_holds_less_than_1_3_times_the_weights(tmp_path):
    """Of 12 layers, 113 million parameters in all, half of them in the largest arrays."""
    small = folders.copy("gpt2", tmp_path)
    cfg = folders.read(small)[1]
    cfg = dataclasses.replace(cfg, n_layers=12, d_model=768, n_heads=12, n_kv_heads=12, d_hidden=3072, context=1024)
    cfg = dataclasses.replace(cfg, vocab_size=36_000)
    shapes = weights.shapes_of(cfg)
    large = folders.copy("gpt2", tmp_path / "large")
    (large / "model.safetensors").unlink()
    (large / "config.json").write_text(json.dumps(options.to_json(cfg, 0)))
    zeros = tree.map_named(lambda name, leaf: np.broadcast_to(np.float32(0), leaf.shape), shapes)
    export.write_weights(large, zeros, cfg, cfg)
    n_bytes = 4 * tree.count(shapes)
    assert n_bytes > 440e6 and (large / "model.safetensors").stat().st_size > 440e6
    taken = peak_of(large, tmp_path / "large_run") - peak_of(small, tmp_path / "small_run")
    stacked = 4 * tree.count(shapes["blocks"])  # always copied; an embedding may be used where it lies in the file
    assert 0.9 * stacked < taken < 1.3 * n_bytes
