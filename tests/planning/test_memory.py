"""The formula of memory against the arrays themselves: shapes and places by JAX, what is saved by its derivatives."""

import dataclasses
import functools
import json
import math

import jax
import numpy as np
import pytest

from gptjax import config, tree
from gptjax.config import Config
from gptjax.data.batches import Batch
from gptjax.model import gpt, lora, table
from gptjax.planning import memory
from gptjax.planning.memory import Ways
from gptjax.training import loss, optim, sharding
from tests.planning.golden import programs
from tests.tiny import mesh_of

BASE = config.load(
    "configs/base.py", ["model.d_model=256", "model.context=24", "batch_tokens=1536", "model.dtype=bfloat16"]
)
MODERN = dict(position="rope", norm="rms", mlp="swiglu", bias=False, qk_norm=True, tied=False, n_kv_heads=2)
VARIANTS = [{}, MODERN, dict(parallel=True), dict(mlp="swiglu"), dict(n_kv_heads=1), dict(pad_vocab_to=100)]
ALONE = Ways(1, 1, 1, 1)


def variant(changes: dict, **others) -> Config:
    return dataclasses.replace(BASE, model=dataclasses.replace(BASE.model, **changes), **others)


def shapes(cfg: Config) -> dict:
    return jax.eval_shape(functools.partial(gpt.init, cfg=cfg.model), jax.random.key(0))


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_the_table_has_the_parameters_that_the_model_declares(changes):
    cfg = variant(changes)
    real = tree.named(shapes(cfg))
    assert table.shapes(cfg.model) == {name: leaf.shape for name, leaf in real.items()}


LORA = dict(rank=2, alpha=4.0, matrices=".*")


@pytest.mark.parametrize("changes", [{}, MODERN], ids=str)
@pytest.mark.parametrize(("data", "tensor"), [(2, 1), (1, 2), (2, 2), (8, 1)])
def test_a_device_holds_what_the_formula_says(changes, data, tensor):
    """Divided as the state of a run is; along `data` in other parts, where those are whole tiles, but as many."""
    cfg = variant(changes, lora=dataclasses.replace(BASE.lora, **LORA))
    made = jax.eval_shape(lambda params: lora.with_adapters(jax.random.key(0), params, cfg.lora), shapes(cfg))
    places = tree.named(sharding.of_params(made, mesh_of(1, data, tensor, 1)))
    for name, one in memory.with_adapters(cfg).items():
        expected = math.prod(places[name].shard_shape(one.shape))
        assert one.size(Ways(1, data, tensor, 1)) == expected, name


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_the_optimizer_holds_what_the_formula_says(name, ema_decay):
    cfg = variant({}, optim=dataclasses.replace(BASE.optim, name=name, ema_decay=ema_decay))
    params = shapes(cfg)
    state = jax.eval_shape(optim.make(cfg.optim, cfg.n_steps).init, params)
    held = tree.count(state) + (tree.count(params) if ema_decay else 0)
    expected = memory.optimizer_size(cfg.optim, memory.parameters(cfg.model), ALONE)
    assert 0 <= held - expected < 200  # counters, and placeholders of one number


SAVED = [  # (model, remat)
    *((changes, remat) for changes in ({}, MODERN) for remat in ("none", "dots", "full")),
    (dict(parallel=True), "dots"),
    (dict(attention="reference"), "none"),
]


@pytest.mark.parametrize(("changes", "remat"), SAVED, ids=str)
def test_what_a_layer_saves_is_what_its_derivative_holds(changes, remat):
    cfg = variant(changes | dict(remat=remat, n_layers=3))
    B, T = 5, 24  # sizes that no weight has
    shape = lambda dtype: jax.ShapeDtypeStruct((B, T), dtype)
    batch = Batch(shape(np.int32), shape(np.int32), shape(np.float32), None, None)
    backward = lambda params, batch: jax.vjp(lambda p: loss.summed(p, batch, cfg.model, cfg.loss)[0], params)[1]
    held = jax.tree.leaves(jax.eval_shape(backward, shapes(cfg), batch))
    # Arrays of all layers that are not weights: their sizes count tokens.
    of_layers = [x for x in held if x.shape[:1] == (3,) and B in x.shape and T in x.shape]
    found = sum(math.prod(x.shape) * x.dtype.itemsize for x in of_layers)
    expected = 3 * B * T * memory.saved_a_token(cfg.model, remat, ALONE)
    assert found == pytest.approx(expected, rel=0.04)


def test_devices_along_data_divide_parameters_and_rows():
    alone, eight = (memory.estimate(variant({}), Ways(1, data, 1, 1)) for data in (1, 8))
    divided = sum(one.size() for one in memory.parameters(BASE.model).values() if "data" in one.axes)
    assert alone.parameters - eight.parameters == 4 * divided * 7 / 8
    assert eight.batch == alone.batch / 8
    assert alone.gathered == alone.narrow == 0 < eight.gathered


def test_a_tpu_holds_the_weights_narrow_too():
    tiles = variant(dict(remat="full", attention="blockwise"))
    gpu, tpu = (memory.estimate(tiles, ALONE, kind) for kind in ("NVIDIA H200", "TPU v4"))
    assert (gpu.narrow, tpu.narrow) == (0, tpu.parameters / 2)
    assert memory.estimate(variant(dict(remat="full", dtype="float32")), ALONE, "TPU v4").narrow == 0


def test_a_tpu_holds_a_part_in_whole_tiles_and_wastes_the_least():
    part = memory.Parameter((48, 1600, 25, 64), (None, "data", "tensor", None))  # w_q of GPT-2 1.5B
    assert part.tiled(ALONE) == pytest.approx(48 * 25 * 64 * 1664)  # along 1,600, in 13 rows of 128
    assert part.tiled(Ways(4, 64, 1, 1)) == pytest.approx(48 * 25 * 32 * 128)  # 25 by 64
    assert memory.Parameter((1600,), ()).tiled(ALONE) == 1600


def test_a_head_that_is_not_cut_in_whole_tiles_is_there_in_two_layouts():
    four = Ways(1, 4, 1, 1)
    cut, uneven = (variant(dict(pad_vocab_to=rows), batch_tokens=1536 * 4) for rows in (64, 100))
    assert uneven.model.padded_vocab % 64 and not cut.model.padded_vocab % 64
    at_once = dataclasses.replace(uneven, loss=dataclasses.replace(uneven.loss, n_chunks=1))
    assert memory.estimate(uneven, four, "TPU v4").relaid == 2 * memory.estimate(at_once, four, "TPU v4").head
    assert memory.estimate(cut, four, "TPU v4").relaid == memory.estimate(uneven, four, "NVIDIA H200").relaid == 0


def test_a_chunks_gradient_of_the_head_is_there_beside_the_sum():
    one, two = (dataclasses.replace(BASE, loss=dataclasses.replace(BASE.loss, n_chunks=n)) for n in (1, 2))
    more = memory.estimate(two, ALONE).head - memory.estimate(one, ALONE).head
    assert more == 4 * BASE.model.padded_vocab * BASE.model.d_model


def test_splash_wants_heads_in_whole_lanes():
    splash, tiles = (variant(dict(remat="dots", attention=name)) for name in ("splash", "blockwise"))
    assert BASE.model.d_head == 64
    kept, narrow = (memory.saved_a_token(splash.model, "dots", ALONE, splash=lanes) for lanes in (True, False))
    assert kept - narrow == 2 * 4 * 256 + 2 * 256 + 4 * 4  # q, k, v and the mix twice as wide, and a logarithm a head
    assert memory.estimate(splash, ALONE, "TPU v4").total != memory.estimate(tiles, ALONE, "TPU v4").total


def test_a_narrow_momentum_and_kept_points_are_counted():
    plain = memory.estimate(variant(dict(remat="full")), ALONE)
    narrow = variant(dict(remat="full"), optim=dataclasses.replace(BASE.optim, momentum_dtype="bfloat16"))
    assert plain.optimizer - memory.estimate(narrow, ALONE).optimizer == plain.parameters / 2
    saved = memory.estimate(variant(dict(remat="full", saved=("mlp_hidden",))), ALONE)
    tokens, layers = BASE.batch_tokens, BASE.model.n_layers
    assert saved.activations - plain.activations == 2 * BASE.model.d_hidden * tokens * layers
    away = memory.estimate(variant(dict(remat="full", offloaded=("residual_in",))), ALONE)
    assert plain.activations - away.activations == 2 * BASE.model.d_model * tokens * layers


def test_more_parts_of_a_batch_hold_less_at_a_time():
    one, four = (memory.estimate(dataclasses.replace(BASE, accumulate=n), ALONE) for n in (1, 4))
    assert four.logits == one.logits / 4 and four.batch == one.batch
    assert one.summed == four.gradients == 0 and four.summed == one.gradients


@pytest.mark.parametrize("one", programs.TWELVE + programs.SHIPPED, ids=str)
def test_the_formula_is_near_what_xla_gave_the_program(one):
    held = json.loads(programs.HELD.read_text())
    assert programs.estimated(*one) == pytest.approx(held[programs.name(*one)], rel=0.1)


def test_a_gpu_holds_cudnns_mask_where_documents_are_apart():
    """T numbers of bfloat16 for each token; a TPU's kernel needs none, and a private step takes the tiles."""
    h100, T = "NVIDIA H100 80GB HBM3", BASE.model.context
    whole = dataclasses.replace(BASE, data=dataclasses.replace(BASE.data, mask_documents=False))
    assert BASE.data.mask_documents
    layer = lambda cfg, kind: memory.estimate(cfg, ALONE, kind).layer
    assert layer(BASE, h100) - layer(whole, h100) == 2 * T * BASE.batch_tokens
    assert layer(BASE, "TPU v5 lite") == layer(whole, "TPU v5 lite")
    private = dataclasses.replace(BASE, privacy=dataclasses.replace(BASE.privacy, clip_norm=1.0))
    assert memory.fused(BASE, h100) and not memory.fused(private, h100)
