"""Embeddings whose rows lie on several devices, looked up in each device's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from gptjax import mesh
from gptjax.model import local
from gptjax.training import sharding
from tests.tiny import mesh_of

D, B, T = 8, 8, 16


@pytest.mark.parametrize("V", [24, 240], ids=["short", "long"])
@pytest.mark.parametrize("over_rows", [False, True], ids=["alone", "in a map over rows"])
@pytest.mark.parametrize("sizes", [(1, 2, 2, 2), (1, 2, 3, 1), (2, 2, 1, 2)])
def test_rows_and_their_gradients_are_those_of_one_device(sizes, over_rows, V):
    """In a map, newer compilers end the process over a gather here (jaxlib 0.12.0.1)."""
    rng, on = np.random.default_rng(0), mesh_of(*sizes)
    w_VD, tokens_BT = rng.normal(size=(V, D)).astype(np.float32), rng.integers(0, V, (B, T))
    factor_BTD = rng.normal(size=(B, T, D)).astype(np.float32)
    looked_up = mesh.within(on, local.looked_up)
    if over_rows:
        rows = P(mesh.ROWS)
        looked_up = jax.shard_map(
            local.looked_up, mesh=on, in_specs=(P(), rows), out_specs=rows, axis_names={*mesh.ROWS}, check_vma=False
        )

    def found(looked_up, w_VD, tokens_BT):
        weighed = lambda w_VD: jnp.sum(looked_up(w_VD, tokens_BT) * factor_BTD)
        return looked_up(w_VD, tokens_BT), jax.grad(weighed)(w_VD)

    at = lambda x, spec: jax.device_put(x, sharding.place(spec, on))
    rows, grad = jax.jit(found, static_argnums=0)(looked_up, at(w_VD, P("tensor")), at(tokens_BT, sharding.BATCH))
    rows_alone, grad_alone = found(lambda w_VD, tokens_BT: w_VD[tokens_BT], w_VD, tokens_BT)
    np.testing.assert_array_equal(rows, rows_alone)
    np.testing.assert_allclose(grad, grad_alone, rtol=0, atol=1e-5)
