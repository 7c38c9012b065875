"""Every shipped config: traced whole, with nothing computed and no data."""

import ast
import functools
import pathlib

import jax
import numpy as np
import pytest

from gptjax import config
from gptjax.data.batches import Batch
from gptjax.training import step
from tests.tiny import mesh_of

FILES = sorted([*pathlib.Path("configs").glob("[!_]*.py"), *pathlib.Path("experiments").glob("*/config.py")])


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_config_makes_a_step(file):
    cfg = config.load(file)
    shape = cfg.batch_size, cfg.model.context
    kinds = Batch(np.int32, np.int32, np.float32, np.int32, np.int32)
    batch = Batch(*(jax.ShapeDtypeStruct(shape, kind) for kind in kinds))
    on = mesh_of(1, 1, 1, 1)
    before = step.abstract_state(cfg, on)
    key = [jax.ShapeDtypeStruct((2,), np.uint32)] if cfg.privacy.on else []
    after, metrics = jax.eval_shape(functools.partial(step.train_step, cfg=cfg, on=on), before, batch, *key)
    assert {"train/nll", "grad/norm", "update/norm", "optim/lr"} <= set(metrics)
    jax.tree.map(
        lambda old, new: np.testing.assert_equal((old.shape, old.dtype), (new.shape, new.dtype)), before, after
    )
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(after.params))


@pytest.mark.parametrize("file", [file for file in FILES if file.stem != "base"], ids=str)
def test_a_config_says_what_it_costs(file):
    said = ast.get_docstring(ast.parse(file.read_text())) or ""
    assert f"gptjax train --config={file} --workdir=" in said
    assert "Hardware:" in said and "Wall time" in said and "inal loss" in said
