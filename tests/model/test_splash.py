"""The TPU kernel, interpreted on a CPU, against the reference; a TPU has never run it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import print_saved_residuals

from gptjax import mesh
from gptjax.model import gpt, splash
from tests.model.test_ring import inputs, value_and_gradients
from tests.tiny import mesh_of

INTERPRETED = "splash_interpreted"


@pytest.mark.parametrize(
    ("K", "packed", "sizes"), [(4, False, None), (2, True, None), (1, False, None), (2, True, (1, 2, 2, 1))]
)
def test_values_and_gradients_are_the_references(monkeypatch, K, packed, sizes):
    """Two blocks, the second padded; a segment that ends inside each of them."""
    monkeypatch.setattr(splash, "BLOCKS", (128,))
    T = 200
    segments_BT = jnp.array([[0] * 50 + [1] * 100 + [2] * 50, [3] * T]) if packed else None
    arrays = inputs(T, 4, K, "float32")
    on = None if sizes is None else mesh_of(*sizes)
    found = value_and_gradients(INTERPRETED, arrays, segments_BT, on)
    for ours, wanted in zip(found, value_and_gradients("reference", arrays, segments_BT), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("remat", "n_kept"), [("dots", 2), ("full", 0)])
def test_the_backward_pass_finds_what_the_kernel_returned(capsys, remat, n_kept):
    """The mixed heads and the logarithms of the sums, so that XLA drops the second run of the forward kernel."""
    q, k, v, _ = inputs(16, 2, 2, "float32")
    attend = lambda q, k, v: jnp.sum(splash.causal_attention(q, k, v, None, interpret=True))
    print_saved_residuals(
        jax.checkpoint(attend, policy=jax.checkpoint_policies.save_only_these_names(*gpt.KEPT[remat])), q, k, v
    )
    assert capsys.readouterr().out.count("'_splash_attention'") == n_kept


def test_positions_that_a_mesh_divides_are_refused():
    arrays = inputs(16, 2, 2, "float32")
    with pytest.raises(gpt.BadInput, match="try model.attention='ring'"):
        jax.eval_shape(mesh.within(mesh_of(1, 1, 1, 2), lambda: value_and_gradients(INTERPRETED, arrays, None)))
