"""The written-out FSDP: what it gathers and sums, on a mesh whose data axis has two sides as on a torus."""

import functools
import re

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh

from gptjax import mesh, tree
from gptjax.config import BadInput, MeshConfig
from gptjax.training import sharding, step
from tests.tiny import make_batch, make_config, mesh_of


def torus() -> Mesh:
    """2 replicas of a 2 x 2 torus."""
    grid = np.array(jax.devices()).reshape(2, 2, 2, 1, 1)
    return Mesh(grid, ("replica", "data_0", "data_1", "tensor", "sequence"), axis_types=(AxisType.Auto,) * 5)


@functools.cache
def compiled(cfg) -> str:
    on = torus()
    batch = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding.place(sharding.BATCH, on)), make_batch(cfg)
    )
    return step.make_update(cfg, on).lower(step.abstract_state(cfg, on), batch).as_text()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_torus_trains_as_one_device_does(accumulate):
    cfg, found = make_config(f"accumulate={accumulate}", "batch_tokens=256", "optim.schedule=constant"), []
    alone = mesh_of(1, 1, 1, 1)
    with jax.enable_x64(True):
        fresh = jax.tree.map(lambda leaf: np.float64(leaf), jax.device_get(step.init_state(cfg, alone).params))
        for on in (torus(), alone):
            state, update = step.state_from(fresh, cfg, on), step.make_update(cfg, on)
            for number in range(3):
                state, metrics = update(state, sharding.put(make_batch(cfg, number, "uneven"), on))
            found.append((jax.device_get(state.params), float(metrics["train/nll"])))
    (params, nll), (params_of_one, nll_of_one) = found
    assert nll == pytest.approx(nll_of_one, abs=1e-9)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-9), params, params_of_one)


def test_gradients_of_cut_weights_are_scattered_side_by_side_and_only_others_summed_whole():
    text = compiled(make_config())
    assert len(re.findall(r"stablehlo.reduce_scatter", text)) == 2 * 9, "w_tok twice, w_pos and six of a layer"


@pytest.mark.parametrize("accumulate", [1, 2])
def test_weights_are_gathered_in_the_compute_type(accumulate):
    text = compiled(make_config("model.dtype=bfloat16", f"accumulate={accumulate}", "batch_tokens=256"))
    kinds = set(re.findall(r"stablehlo.all_gather.*-> tensor<[\dx]+x(\w+)>", text))
    assert kinds == {"bf16"}


def test_the_cut_falls_where_parts_are_whole_tiles():
    on = mesh_of(1, 8, 1, 1)
    narrow = (2, 1, 96, 1024)
    assert sharding.spec("blocks/mlp/w_in", narrow, on) == sharding.P(None, None, None, "data")
    short = (2, 1, 128, 96)
    assert sharding.spec("blocks/mlp/w_in", short, on) == sharding.P(None, None, "data", "tensor")
    with_tensor = mesh_of(1, 4, 2, 1)
    assert sharding.spec("blocks/mlp/w_in", narrow, with_tensor) == sharding.P(None, None, "data", "tensor")


def test_sides_of_a_torus_are_found_from_coordinates():
    class Chip:
        platform, device_kind, slice_index = "tpu", "TPU v5p", 0

        def __init__(self, *coords):
            self.coords = coords

    chips = [Chip(x, y, z) for x in range(4) for y in range(4) for z in range(2)]
    assert mesh.torus(chips, 1) == (4, 4, 2)
    assert mesh.data_sides((4, 4, 2), (1, 1, 1), 32) == (4, 4, 2)
    assert mesh.data_sides((4, 4, 2), (1, 4, 1), 8) == (4, 2)
    assert mesh.data_sides((4, 4, 2), (1, 2, 1), 16) == (4, 4)
    assert mesh.data_sides((16, 16), (1, 8, 1), 32) == (2, 16)
    assert mesh.data_sides((), (1, 1, 1), 8) == (8,)


@pytest.mark.parametrize(
    ("sizes", "hint"),
    [
        ((1, 3, 1, 1), "mesh.replica=1 mesh.data=8 mesh.tensor=1 mesh.sequence=1"),
        ((3, -1, 1, 1), "mesh.replica=4 mesh.data=2 mesh.tensor=1 mesh.sequence=1"),
        ((1, 4, 4, 1), "mesh.replica=1 mesh.data=4 mesh.tensor=2 mesh.sequence=1"),
    ],
)
def test_an_impossible_mesh_is_refused_with_the_nearest(sizes, hint):
    with pytest.raises(BadInput, match=hint):
        mesh.make(MeshConfig(*sizes))


def test_slices_are_replicas():
    assert mesh.resolve(MeshConfig(2, -1, 1, 1), 16, n_slices=2) == (2, 8, 1, 1)
    with pytest.raises(BadInput, match="2 slices, .*; try mesh.replica=2 mesh.data=8 mesh.tensor=1 mesh.sequence=1"):
        mesh.resolve(MeshConfig(1, 16, 1, 1), 16, n_slices=2)


def test_names_become_axes_of_the_mesh():
    on = torus()
    assert mesh.physical(sharding.BATCH, on) == sharding.P(("replica", "data_0", "data_1"), "sequence")
    assert mesh.size(on, "data") == 4
    assert set(tree.named(sharding.of_params({"w_tok": np.zeros((8, 8))}, on)))
