"""The same numbers however the model is compiled and wherever it lies: written out, under remat, on a mesh; near in
bfloat16."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from gptjax import mesh
from gptjax.insight import ablation, attribution, heads, lens, patching, paths, residual, tuned
from gptjax.training import sharding
from tests.insight.asked import CONFIGS, base_BT, question, source_BT
from tests.model import small
from tests.tiny import mesh_of

LENSES: dict[str, Callable[..., Any]] = {  # of params, base, source and cfg
    "norms": lambda params, base, source, cfg: residual.norms(params, base, cfg),
    "lens": lambda params, base, source, cfg: lens.predictions(params, base, cfg)[2:],
    "lens logits": lambda params, base, source, cfg: lens.logits(params, base, cfg)[..., : cfg.vocab_size],
    "tuned lens": lambda params, base, source, cfg: tuned.train(params, [base, source], cfg)[0],
    "scores": lambda params, base, source, cfg: heads.scores(params, base, cfg),
    "direct": lambda params, base, source, cfg: attribution.direct(params, base, source, base, cfg),
    "gradient": lambda params, base, source, cfg: attribution.gradient_x_input(params, base, question, cfg),
    "ablation": lambda params, base, source, cfg: ablation.nats(params, base, ablation.singly(cfg), cfg),
    "means": lambda params, base, source, cfg: ablation.means(params, base, cfg),
    "positions": lambda params, base, source, cfg: patching.positions(params, base, source, question, cfg),
    "heads": lambda params, base, source, cfg: patching.heads(params, base, source, question, cfg),
    "to a head": lambda params, base, source, cfg: paths.to_head(params, base, source, question, 2, 1, cfg),
    "to an MLP": lambda params, base, source, cfg: paths.to_mlp(params, base, source, question, 1, cfg),
    "to the logits": lambda params, base, source, cfg: paths.to_logits(params, base, source, question, cfg),
}
VARIANTS = dict(scan=False), dict(scan=False, remat="full"), dict(remat="dots", attention="blockwise")
MESHES = (1, 8, 1, 1), (2, 2, 2, 1), (1, 2, 2, 2)  # of replica, data, tensor, sequence


@functools.cache
def config(name: str) -> Any:
    """Eight heads, so that a mesh can divide them."""
    return dataclasses.replace(CONFIGS[name], d_model=32, n_heads=8, n_kv_heads=8 if name == "gpt2" else 4)


@functools.cache
def plain(name: str, what: str) -> Any:
    cfg = config(name)
    return jax.device_get(LENSES[what](small.noisy(cfg), base_BT, source_BT, cfg))


def assert_same(found, expected, atol=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=atol), jax.device_get(found), expected)


def check_variant(name, what, variant):
    cfg = dataclasses.replace(config(name), **variant)
    assert_same(LENSES[what](small.noisy(cfg), base_BT, source_BT, cfg), plain(name, what))


def check_mesh(name, what, sizes):
    """With the parameters where training has them, rows and positions divided, in and out of the mesh's context."""
    cfg, on = config(name), mesh_of(*sizes)
    params = jax.device_put(small.noisy(cfg), sharding.of_params(small.noisy(cfg), on))
    rows = "data" if len(base_BT) % mesh.size(on, "data") == 0 else None
    where = sharding.place(jax.sharding.PartitionSpec(rows, "sequence"), on)
    tokens = jax.device_put((base_BT, source_BT), where)
    assert_same(mesh.within(on, LENSES[what])(params, *tokens, cfg), plain(name, what))


def test_a_mesh_sees_the_same():
    check_mesh("modern", "to the logits", (1, 2, 2, 2))


def test_written_out_under_remat_is_the_same():
    check_variant("modern", "scores", dict(scan=False, remat="full"))


@pytest.mark.prove
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("what", LENSES)
@pytest.mark.parametrize("name", CONFIGS)
def test_every_variant_is_the_same(name, what, variant):
    check_variant(name, what, variant)


@pytest.mark.prove
@pytest.mark.parametrize("sizes", MESHES)
@pytest.mark.parametrize("what", LENSES)
@pytest.mark.parametrize("name", CONFIGS)
def test_every_mesh_sees_the_same(name, what, sizes):
    check_mesh(name, what, sizes)


@pytest.mark.prove
@pytest.mark.parametrize("what", [name for name in LENSES if name != "tuned lens"])
@pytest.mark.parametrize("name", CONFIGS)
def test_everything_is_near_in_bfloat16(name, what):
    check_bfloat16(name, what)


def check_bfloat16(name, what):
    """Within some hundredths of what is found in float32, relative to its size; a gradient x input, which is rounded on
    the way back too and adds up what cancels, within twice as many (0.06 where measured)."""
    most = 0.1 if what == "gradient" else 0.05
    cfg = dataclasses.replace(config(name), dtype="bfloat16")
    found = LENSES[what](small.noisy(cfg), base_BT, source_BT, cfg)
    for a, b in zip(jax.tree.leaves(jax.device_get(found)), jax.tree.leaves(plain(name, what)), strict=True):
        assert np.linalg.norm(a.astype(np.float32) - b) <= most * np.linalg.norm(b) + 1e-6
