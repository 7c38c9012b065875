"""A head taken out is a head that writes something else."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gptjax.config import BadInput
from gptjax.insight import ablation, patching
from tests.insight.asked import CLOSE, base_BT, question, source_BT
from tests.model.small import forward


def nats_of(params, cfg):
    logits_BTV = forward(params, base_BT, cfg).logits_BTV
    return optax.softmax_cross_entropy_with_integer_labels(logits_BTV[:, :-1], base_BT[:, 1:])


def with_w_out(params, change):
    attn = params["blocks"]["attn"]
    return params | {"blocks": params["blocks"] | {"attn": attn | {"w_out": change(attn["w_out"])}}}


def test_zero_is_a_head_without_output_weights(cfg, params):
    found_MBt = ablation.nats(params, base_BT, ablation.singly(cfg), cfg)
    assert found_MBt.shape == (12, 4, 9)
    for layer, head in ((0, 1), (2, 3)):
        without = with_w_out(params, lambda w, at=(layer, head): w.at[at].set(0))
        np.testing.assert_allclose(found_MBt[layer * 4 + head], nats_of(without, cfg), **CLOSE)
    # and what writes nothing may go
    mute = with_w_out(params, lambda w: w.at[1, 2].set(0))
    np.testing.assert_allclose(ablation.nats(mute, base_BT, ablation.singly(cfg), cfg)[6], nats_of(mute, cfg), **CLOSE)


def test_the_mean_of_a_head_that_always_writes_the_same_changes_nothing(cfg, params):
    """Without values of their own (w_v is 0, a bias stays) all positions write alike, and so does their mean."""
    attn = params["blocks"]["attn"]
    params = params | {"blocks": params["blocks"] | {"attn": attn | {"w_v": attn["w_v"] * 0}}}
    means = ablation.means(params, base_BT, cfg)
    assert means.shape == (3, 1, 1, 4, 4)
    all_1LN = jnp.ones((1, 3, 4), bool)
    np.testing.assert_allclose(ablation.nats(params, base_BT, all_1LN, cfg, means)[0], nats_of(params, cfg), **CLOSE)


def test_the_mean_by_position_of_rows_alike_is_what_they_write(cfg, params):
    rows_BT = jnp.tile(base_BT[:1], (4, 1))
    means = ablation.means(params, rows_BT, cfg, by_position=True)
    assert means.shape == (3, 1, 10, 4, 4)
    masks_MLN = jnp.zeros((2, 3, 4), bool).at[0].set(True).at[1, 1].set(True)
    found_MBt = ablation.nats(params, rows_BT, masks_MLN, cfg, means)
    np.testing.assert_allclose(found_MBt[:, 0], jnp.tile(nats_of(params, cfg)[:1], (2, 1)), **CLOSE)


def test_heads_that_write_what_another_run_wrote_are_patched(cfg, params):
    written = forward(params, source_BT, cfg, capture=("mixed_heads",)).activations["mixed_heads"]
    found_MB = ablation.contrasts(params, base_BT, question, ablation.singly(cfg), cfg, written)
    patched = patching.heads(params, base_BT, source_BT, question, cfg)
    np.testing.assert_allclose(found_MB.reshape(3, 4, 4), patched.values, **CLOSE)


def test_sets_of_other_heads_are_refused(cfg, params):
    with pytest.raises(BadInput, match="a set of heads is 3 layers x 4 heads"):
        ablation.check(jnp.ones((1, 3, 5), bool), cfg)
