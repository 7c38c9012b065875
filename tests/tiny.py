"""The smallest config that is a whole run, and batches for it; shared by the tests."""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from gptjax import config, mesh
from gptjax.data.batches import Batch

SIZES = [
    "model.vocab_size=64",
    "model.context=16",
    "model.n_layers=2",
    "model.d_model=32",
    "model.n_heads=4",
    "model.n_kv_heads=4",
    "model.d_hidden=64",
    "model.pad_vocab_to=64",
    "batch_tokens=128",
    "n_steps=12",
    "optim.warmup_steps=2",
    "optim.peak_lr=1e-2",
]


def make_config(*overrides: str) -> config.Config:
    return config.load("configs/base.py", [*SIZES, *overrides])


def make_batch(cfg: config.Config, step: int = 0, weights: str = "ones") -> Batch:
    """Random tokens; "uneven" weights leave out a different share of every row."""
    rng = np.random.default_rng([7, step])
    shape = cfg.batch_size, cfg.model.context
    tokens = rng.integers(0, cfg.model.vocab_size, (shape[0], shape[1] + 1)).astype(np.int32)
    kept = np.ones(shape) if weights == "ones" else rng.random(shape) < rng.random((shape[0], 1))
    positions = np.broadcast_to(np.arange(shape[1], dtype=np.int32), shape)
    documents = (np.zeros(shape, np.int32), positions) if cfg.data.mask_documents else (None, None)
    return Batch(tokens[:, :-1], tokens[:, 1:], kept.astype(np.float32), *documents)


def make_pairs(cfg: config.Config, step: int = 0, weights: str = "ones") -> Batch:
    """Random tokens in two pairs a row, each of two segments of a quarter; the last row has one pair."""
    batch, quarter = make_batch(cfg, step, weights), cfg.model.context // 4
    at_T = np.arange(cfg.model.context, dtype=np.int32)
    segments = np.tile(at_T // quarter + 1, (cfg.batch_size, 1))
    segments[-1, 2 * quarter :] = 0
    signs = np.where(segments == 0, 0, 1 - 2 * ((segments - 1) % 2))
    positions = np.tile(at_T % quarter, (cfg.batch_size, 1))
    return Batch(batch.inputs_BT, batch.targets_BT, (signs * batch.weights_BT).astype(np.float32), segments, positions)


def mesh_of(*sizes: int) -> Mesh:
    """A mesh over the first devices, in the house's order of axes."""
    devices = jax.devices()[: int(np.prod(sizes))]
    return jax.make_mesh(sizes, mesh.AXES, axis_types=(AxisType.Auto,) * len(sizes), devices=devices)
