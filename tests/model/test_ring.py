"""Ring attention over virtual devices against the reference on one, what it skips and what it holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from gptjax import mesh
from gptjax.model import attention, blockwise, gpt, local, ring
from gptjax.model.attention import Slots
from tests.tiny import mesh_of

H = 8


def inputs(T, N, K, dtype):
    rng = np.random.default_rng(T)
    return [jnp.asarray(rng.normal(size=(2, T, n, H)), dtype) for n in (N, K, K, N)]


def value_and_gradients(kernel, arrays, segments_BT, on=None):
    def found(q, k, v, d, segments_BT):
        slots = Slots(None, segments_BT, segments_BT)
        mixed, pull = jax.vjp(lambda q, k, v: attention.attention(q, k, v, slots, kernel), q, k, v)
        return mixed, *pull(d)

    return jax.jit(found if on is None else mesh.within(on, found))(*placed(arrays, on), *placed([segments_BT], on))


def placed(arrays, on):
    if on is None:
        return arrays
    specs = (mesh.physical(local.HEADS if x is not None and x.ndim == 4 else local.SEGMENTS, on) for x in arrays)
    return [
        None if x is None else jax.device_put(x, jax.NamedSharding(on, spec))
        for x, spec in zip(arrays, specs, strict=True)
    ]


@pytest.mark.parametrize(
    ("sizes", "T", "N", "K", "packed", "tile"),
    [
        ((1, 1, 1, 4), 24, 4, 2, True, 0),
        ((1, 1, 1, 8), 24, 2, 2, False, 0),
        ((1, 1, 1, 2), 42, 4, 1, False, 8),  # 21 positions a device, padded to three tiles
        ((1, 2, 2, 2), 32, 4, 2, True, 8),
    ],
)
def test_values_and_gradients_are_the_references(monkeypatch, sizes, T, N, K, packed, tile):
    """Segments that end inside a device's positions and at their edge; tiles written out and in a loop."""
    monkeypatch.setattr(blockwise, "BLOCK", 8)
    if tile:
        monkeypatch.setattr(blockwise, "TILE", tile)
        monkeypatch.setattr(blockwise, "WRITTEN_OUT", 0)
    with jax.enable_x64(True):
        segments_BT = jnp.array([[0] * 5 + [1] * 7 + [2] * 30, [3] * 42])[:, :T] if packed else None
        arrays = inputs(T, N, K, "float64")
        found = value_and_gradients("ring", arrays, segments_BT, mesh_of(*sizes))
        for ours, wanted in zip(found, value_and_gradients("reference", arrays, segments_BT), strict=True):
            np.testing.assert_allclose(ours, wanted, rtol=1e-10, atol=1e-12)


def test_float32_is_close_and_axes_may_be_manual_already():
    """Inside a map over rows, as FSDP has one, only heads and positions are mapped over."""
    arrays, on = inputs(16, 4, 2, "float32"), mesh_of(1, 2, 2, 2)
    rows, whole = P("data"), P()

    def of_rows(*arrays):
        return value_and_gradients("ring", arrays, None)

    mapped = jax.shard_map(
        of_rows, mesh=on, in_specs=rows, out_specs=rows, axis_names={"data", "replica"}, check_vma=False
    )
    found = jax.jit(mapped)(*(jax.device_put(x, jax.NamedSharding(on, whole)) for x in arrays))
    for ours, wanted in zip(found, value_and_gradients("reference", arrays, None), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-5)


def test_blocks_in_the_future_are_not_read():
    """Their values are no numbers, which even a weight of zero would pass on."""
    q, k, v, _ = inputs(16, 2, 2, "float32")
    poisoned, on = v.at[:, 8:].set(jnp.nan), mesh_of(1, 1, 1, 4)
    attend = lambda q, k, v: attention.attention(q, k, v, Slots(None, None, None), "ring")
    ring_of_4 = jax.jit(mesh.within(on, attend))
    mixed = ring_of_4(*placed([q, k, poisoned], on))
    np.testing.assert_allclose(mixed[:, :8], attend(q, k, v)[:, :8], rtol=1e-5, atol=1e-5)
    assert np.isnan(mixed[:, 8:]).all()
    assert "stablehlo.case" in ring_of_4.lower(*placed([q, k, v], on)).as_text()  # a branch: neither are they computed


def test_memory_grows_as_the_positions_of_a_device():
    """Four times the positions, at most four and a half times the temporary memory; and nothing of T x T."""
    on = mesh_of(1, 1, 1, 2)

    def held(T):
        at = jax.NamedSharding(on, mesh.physical(local.HEADS, on))
        x = jax.ShapeDtypeStruct((1, T, 1, 64), jnp.float32, sharding=at)
        loss = lambda q, k, v: jnp.sum(attention.attention(q, k, v, Slots(None, None, None), "ring") ** 2)
        compiled = jax.jit(mesh.within(on, jax.grad(loss, argnums=(0, 1, 2)))).lower(x, x, x).compile()
        analysis = compiled.memory_analysis()
        assert analysis is not None
        return analysis.temp_size_in_bytes

    assert held(16_384) < 4.5 * held(4096)
    assert held(16_384) < 8192 * 8192 * 4 / 2


def test_what_a_product_keeps_the_ring_keeps():
    """Under the policy of remat="dots" the backward pass does not go round for the forward's results again."""
    on = jax.make_mesh((2,), ("sequence",))
    q, k, v, _ = inputs(8, 2, 2, "float32")

    def rounds(policy):
        attend = lambda q, k, v: jnp.sum(ring.causal_attention(q, k, v, None, n_devices=2))
        grad = jax.grad(jax.checkpoint(attend, policy=jax.checkpoint_policies.save_only_these_names(*gpt.KEPT[policy])))
        mapped = jax.shard_map(grad, mesh=on, in_specs=P(), out_specs=P(), check_vma=False)
        return str(jax.make_jaxpr(mapped)(q, k, v)).count("scan[")

    assert (rounds("dots"), rounds("full")) == (2, 3)
