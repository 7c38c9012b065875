"""Every mesh shape of 8 devices trains, scores and writes as one device does.

Here a few shapes for a few steps; `make prove` takes all of them for 20 steps.
"""

import functools

import jax
import numpy as np
import pytest

from gptjax import tree
from gptjax.evaluation import likelihood
from gptjax.generation import decode
from gptjax.model import gpt
from gptjax.training import sharding, step
from tests.tiny import make_batch, make_config, make_pairs, mesh_of

ONE = (1, 1, 1, 1)
FEW = [(1, 8, 1, 1), (2, 2, 2, 1), (1, 2, 2, 2)]  # of replica, data, tensor, sequence
ALL = [
    *FEW, (8, 1, 1, 1), (1, 1, 8, 1), (1, 1, 1, 8), (2, 4, 1, 1), (4, 1, 2, 1), (2, 1, 2, 2),
    (2, 2, 1, 2), (1, 4, 1, 2), (1, 1, 4, 2),
]  # fmt: skip
# A learning rate is float32 also here, and two programs may round its cosine to neighbours: 1e-9 of a parameter. The
# gradient of a key's bias is rounding alone, of which adamw makes whole steps: 1e-4 of it in float32 at a rate of 1e-2.
GPT2 = ("model.n_heads=8", "model.n_kv_heads=8", "optim.schedule=constant", "optim.peak_lr=1e-3")
MODERN = (*GPT2, "model.position=rope", "model.norm=rms", "model.mlp=swiglu", "model.qk_norm=true", "model.tied=false")
DROPPED = (*GPT2, "model.dropout=0.1", "optim.name=sgd", "optim.peak_lr=0.1")
TOLERANCES = {"float64": (1e-9, 1e-9), "float32": (1e-5, 1e-4)}  # of losses, of parameters


@functools.cache
def trained(overrides, dtype, sizes, n_steps):
    """Losses, and parameters before and after some updates on a mesh, as NumPy."""
    cfg, mesh = make_config("n_steps=20", *overrides), mesh_of(*sizes)
    with jax.enable_x64(dtype == "float64"):
        fresh = jax.device_get(jax.jit(gpt.init, static_argnames="cfg")(jax.random.key(cfg.seed), cfg.model))
        state = step.state_from(jax.tree.map(lambda leaf: leaf.astype(dtype), fresh), cfg, mesh)
        update, losses = step.make_update(cfg, mesh), []
        for number in range(n_steps):
            make = make_pairs if cfg.data.preferences else make_batch
            state, metrics = update(state, sharding.put(make(cfg, number, "uneven"), mesh))
            losses.append(float(metrics["train/nll"]))
        assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {np.dtype(dtype)}
        return losses, fresh, jax.device_get(state.params)


def assert_as_one(overrides, dtype, sizes, n_steps):
    losses, _, params = trained(overrides, dtype, sizes, n_steps)
    losses_alone, fresh, params_alone = trained(overrides, dtype, ONE, n_steps)
    of_losses, of_params = TOLERANCES[dtype]
    np.testing.assert_allclose(losses, losses_alone, rtol=0, atol=of_losses)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=of_params), params, params_alone)
    began = tree.named(fresh)
    moved = [np.abs(leaf - began[name] if name in began else leaf).max() for name, leaf in tree.named(params).items()]
    assert max(moved) > 1e-3, "steps of nothing show nothing"


@pytest.mark.parametrize("sizes", FEW)
def test_a_mesh_trains_as_one_device(sizes):
    assert_as_one(GPT2, "float64", sizes, 3)


ADAPTED = (*GPT2, "init_from=x", "lora.rank=2", "lora.matrices=.*", "tune.patterns=blocks/0/.*", "tune.rates=0.5")
FROZEN = (*GPT2, "tune.patterns=blocks/0/.*,w_tok", "tune.rates=0,0")
PAIRS = (*GPT2, "init_from=x", "data.corpora=preferences:x")
OF_PART = [(FEW[1], ADAPTED), (FEW[2], FROZEN), (FEW[0], PAIRS)]


@pytest.mark.parametrize(("sizes", "overrides"), OF_PART, ids=["adapters", "frozen", "pairs"])
def test_a_mesh_trains_a_part_as_one_device(sizes, overrides):
    assert_as_one(overrides, "float64", sizes, 3)


@pytest.mark.prove
@pytest.mark.parametrize(
    ("sizes", "overrides"), [(sizes, keys) for sizes in ALL for _, keys in OF_PART if (sizes, keys) not in OF_PART]
)
def test_every_mesh_trains_a_part_as_one_device(sizes, overrides):
    assert_as_one(overrides, "float64", sizes, 3)


@pytest.mark.prove
@pytest.mark.parametrize(
    ("overrides", "dtype"), [*((GPT2, dtype) for dtype in TOLERANCES), (MODERN, "float64"), (DROPPED, "float64")]
)
@pytest.mark.parametrize("sizes", ALL)
def test_every_mesh_trains_as_one_device_for_20_steps(sizes, overrides, dtype):
    assert_as_one(overrides, dtype, sizes, 20)


@pytest.mark.prove
@pytest.mark.parametrize("sizes", ALL)
def test_every_mesh_starts_from_the_same_bits(sizes):
    cfg = make_config(*MODERN)
    alone, spread = (jax.device_get(step.init_state(cfg, mesh_of(*shape)).params) for shape in (ONE, sizes))
    jax.tree.map(np.testing.assert_array_equal, alone, spread)


def judged(sizes):
    """Scores, and the tokens that three prompts' continuations choose, of sharp weights that lie on a mesh."""
    cfg, mesh = make_config(*GPT2), mesh_of(*sizes)
    places = jax.tree.map(lambda leaf: leaf.sharding, step.abstract_state(cfg, mesh).params)
    noise = lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(leaf.size), leaf.shape)
    params = jax.device_put(jax.device_get(jax.tree.map(noise, step.init_state(cfg, mesh_of(*ONE)).params)), places)
    windows = {"text": [make_batch(cfg, number, "uneven") for number in range(2)]}
    scores = likelihood.make_evaluate(windows, np.ones(64, np.float32), cfg.model, cfg.loss, mesh)(params)
    made = [
        decode.generate(params, np.arange(3), cfg.model, n_tokens=20, n_samples=3, seed=5, temperature=temperature)
        for temperature in (0.0, 1.0)
    ]
    return scores, made


alone = functools.cache(lambda: judged(ONE))


@pytest.mark.parametrize("sizes", [*FEW, *(pytest.param(sizes, marks=pytest.mark.prove) for sizes in ALL[len(FEW) :])])
def test_a_mesh_scores_and_writes_as_one_device(sizes):
    (scores, texts), (scores_alone, texts_alone) = judged(sizes), alone()
    assert scores == pytest.approx(scores_alone, abs=1e-5)
    np.testing.assert_array_equal(texts, texts_alone)
    assert len(np.unique(texts)) > 10
