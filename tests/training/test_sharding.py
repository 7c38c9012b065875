import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from gptjax import mesh, tree
from gptjax.config import BadInput, MeshConfig
from gptjax.training import optim, sharding, step
from tests.tiny import make_batch, make_config, mesh_of

MODERN = ("model.position=rope", "model.norm=rms", "model.mlp=swiglu", "model.qk_norm=true", "model.tied=false")


@pytest.mark.parametrize("overrides", [(), MODERN])
@pytest.mark.parametrize("optimizer", optim.OPTIMIZERS)
def test_optimizer_state_lies_with_its_parameter(overrides, optimizer):
    cfg = make_config(*overrides, f"optim.name={optimizer}")
    state = step.abstract_state(cfg, mesh_of(2, 2, 2, 1))
    places = {name: leaf.sharding.spec for name, leaf in tree.named(state).items()}
    w_q = [
        name for name, leaf in tree.named(state).items() if name.endswith("attn/w_q") and leaf.shape == (2, 32, 4, 8)
    ]
    assert len(w_q) >= 2, "no optimizer state of w_q was found"
    assert {places[name] for name in w_q} == {P(None, "data", "tensor", None)}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("w_tok", P("tensor", "data")),
        ("blocks/mlp/w_in", P(None, None, "data", "tensor")),
        ("blocks/attn/b_k", P(None, "tensor", None)),
        ("blocks/norm_mlp/bias", P()),
        ("blocks/attn/w_out_lora_a", P(None, "tensor", None, None)),
        ("blocks/attn/w_q_lora_a", P(None, None, None)),
        ("blocks/attn/w_k_lora_b", P(None, None, "tensor", None)),
        ("blocks/mlp/w_out_lora_a", P(None, "tensor", None)),
        ("blocks/mlp/w_in_lora_b", P(None, None, None, "tensor")),
        ("w_tok_lora_a", P("tensor", None)),
        ("w_pos_lora_b", P(None, None)),
        ("reference/w_head_lora_b", P(None, "tensor")),
    ],
)
def test_where_parameters_and_their_adapters_lie(name, expected):
    assert sharding.spec(name, (32,) * len(expected), mesh_of(2, 2, 2, 1)) == expected


def test_a_parameter_that_no_row_names_is_refused():
    with pytest.raises(KeyError, match=r"no row of TABLE in model/table.py names parameter 'blocks/attn/w_extra'"):
        sharding.of_params({"blocks": {"attn": {"w_extra": jnp.zeros((2, 3))}}}, mesh_of(1, 1, 1, 1))


@pytest.mark.parametrize(
    ("sizes", "expected"), [((1, -1, 1, 1), (1, 8, 1, 1)), ((2, -1, 2, 1), (2, 2, 2, 1)), ((1, 2, -1, 2), (1, 2, 2, 2))]
)
def test_one_size_is_inferred(sizes, expected):
    assert tuple(mesh.make(MeshConfig(*sizes)).shape.values()) == expected


@pytest.mark.parametrize("sizes", [(1, 3, 1, 1), (3, -1, 1, 1), (4, 4, 1, 1)])
def test_an_impossible_mesh_is_refused(sizes):
    with pytest.raises(BadInput, match="does not fit 8 devices; try"):
        mesh.make(MeshConfig(*sizes))


def test_a_mesh_that_does_not_divide_the_model_is_refused():
    cfg = make_config("model.n_heads=2", "model.n_kv_heads=2")
    with pytest.raises(BadInput, match=r"mesh.tensor=4 does not divide 2, a side of blocks/attn/b_k"):
        step.abstract_state(cfg, mesh_of(1, 1, 4, 1))


def test_rows_that_cannot_be_dealt_are_refused():
    assert sharding.rows(16, mesh_of(2, 4, 1, 1)) == list(range(16))
    with pytest.raises(BadInput, match="12 sequences cannot be dealt to replica x data = 8 devices; try 16"):
        sharding.rows(12, mesh_of(2, 4, 1, 1))
    with pytest.raises(BadInput, match="16 sequences in accumulate=4 parts .* 8 devices; try 32"):
        sharding.check_rows(16, 4, mesh_of(2, 4, 1, 1))


def test_a_batch_is_cut_along_rows_and_positions():
    on = mesh_of(2, 2, 1, 2)
    batch = make_batch(make_config())
    placed = sharding.put(batch, on)
    np.testing.assert_array_equal(placed.inputs_BT, batch.inputs_BT)
    assert {shard.data.shape for shard in placed.inputs_BT.addressable_shards} == {(2, 8)}


def test_every_leaf_of_the_state_has_a_place_and_fsdp_cuts_it():
    cfg = make_config(*MODERN)
    state = step.abstract_state(cfg, mesh_of(1, 8, 1, 1))
    for name, leaf in tree.named(state.params).items():
        parts = 8 if name.rsplit("/")[-1].startswith("w_") else 1
        assert np.prod(leaf.sharding.shard_shape(leaf.shape)) * parts == np.prod(leaf.shape), name


def test_a_process_fills_the_shares_it_has_wherever_they_stand(monkeypatch):
    """On a torus the rows of a process need not be neighbours; here all four shares are its own, read out of order."""
    batch, shares = make_batch(make_config()), [2, 0, 3, 1]
    monkeypatch.setattr(sharding, "rows", lambda size, on: shares)
    read = np.concatenate([np.arange(2) + 2 * share for share in shares])
    placed = sharding.put(jax.tree.map(lambda x_BT: x_BT[read], batch), mesh_of(2, 2, 1, 2))
    np.testing.assert_array_equal(placed.inputs_BT, batch.inputs_BT)
