"""What only a GPU can show. On a machine with one: `python -m pytest -m prove tests/test_gpu.py`."""

import json
import os
import shutil
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.prove,
    pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="needs an NVIDIA GPU"),
]
EXACT = "--xla_gpu_deterministic_ops=true"
KERNEL = """
import jax, jax.numpy as jnp, numpy as np
from gptjax.model.attention import Slots, attention

rng = np.random.default_rng(0)
B, T, N, K, H = 2, 514, 4, {n_kv_heads}, 64
q, d = (jnp.asarray(rng.normal(size=(B, T, N, H)), jnp.bfloat16) for _ in range(2))
k, v = (jnp.asarray(rng.normal(size=(B, T, K, H)), jnp.bfloat16) for _ in range(2))
segments_BT = jnp.asarray(np.cumsum(rng.random((B, T)) < 0.01, axis=1)) if {documents} else None

def found(kernel, *inputs):
    attend = lambda q, k, v: attention(q, k, v, Slots(None, segments_BT, segments_BT), kernel)
    mixed, pull = jax.vjp(attend, *inputs[:3])
    return [np.asarray(x, np.float32) for x in (mixed, *pull(inputs[3]))]

jax.config.update("jax_default_matmul_precision", "highest")
expected = found("reference", *(x.astype(jnp.float32) for x in (q, k, v, d)))
for ours, true in zip(found("cudnn", q, k, v, d), expected, strict=True):
    print(np.linalg.norm(ours - true) / np.linalg.norm(true))
"""


def on_gpu(*words, xla_flags=""):
    env = {**os.environ, "JAX_PLATFORMS": "cuda", "XLA_FLAGS": xla_flags, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    done = subprocess.run([sys.executable, *words], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("documents", [False, True])
@pytest.mark.parametrize("n_kv_heads", [4, 2])
def test_cudnn_mixes_as_the_definition_does(documents, n_kv_heads):
    told = on_gpu("-c", KERNEL.format(documents=documents, n_kv_heads=n_kv_heads))
    errors = [float(line) for line in told.splitlines()]
    assert len(errors) == 4 and max(errors) < 5e-3  # of bfloat16, whose numbers are 2^-8 apart


def test_a_run_goes_on_bit_for_bit(tmp_path):
    def train(name, n_steps):
        flags = {
            "n_steps": n_steps,
            "log_every": 1,
            "sample_tokens": 0,
            "data.corpora": "synthetic",
            "data.cache": tmp_path / "cache",
            "model.dtype": "bfloat16",
            "optim.schedule": "constant",
            "optim.warmup_steps": 2,
        }
        keys = [f"--config.{key}={value}" for key, value in flags.items()]
        run = ["train", "--config=configs/base.py", f"--workdir={tmp_path / name}", *keys]
        on_gpu("-c", "from gptjax.cli import main; main()", *run, xla_flags=EXACT)
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        return {line["step"]: (line["train/nll"], line["grad/norm"]) for line in lines if "train/nll" in line}

    whole = train("whole", 20)
    train("halves", 10)
    assert train("halves", 20) == whole and len(whole) == 20
