"""Attention kernels against their definition, and the rule by which one is chosen."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.model import attention, gpt
from gptjax.model.attention import ATTENTION, Slots
from tests.model.small import CLOSE, CONFIGS, forward, noisy, tokens_BT

B, T, N, H = 2, 10, 4, 8
q_BTNH, k_BSNH, v_BSNH = jax.random.normal(jax.random.key(0), (3, B, T, N, H))
segments_BT = jnp.array([[0] * 4 + [1] * 6, [2] * 10])


def by_hand(q, k, v, segments_BT, first=0):
    """The definition, one query at a time, in float64."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    mixed = np.zeros_like(q)
    for b, t, n in np.ndindex(*q.shape[:3]):
        slots = [s for s in range(first + t + 1) if segments_BT[b, s] == segments_BT[b, first + t]]
        kv = n * k.shape[2] // q.shape[2]
        weights = np.exp(k[b, slots, kv] @ q[b, t, n] / np.sqrt(q.shape[-1]))
        mixed[b, t, n] = weights @ v[b, slots, kv] / weights.sum()
    return mixed


@pytest.mark.parametrize("kernel", [name for name in ATTENTION if name not in ("cudnn", "splash")])  # these need theirs
@pytest.mark.parametrize("K", [1, 2, 4])
def test_kernels_are_the_definition(kernel, K):
    """Whole, packed, and with the queries at the end of a cache that has room left."""
    attend = jax.jit(attention.attention, static_argnames="kernel")
    k_BSKH, v_BSKH = k_BSNH[:, :, :K], v_BSNH[:, :, :K]
    whole = attend(q_BTNH, k_BSKH, v_BSKH, Slots(None, None, None), kernel=kernel)
    np.testing.assert_allclose(whole, by_hand(q_BTNH, k_BSKH, v_BSKH, np.zeros((B, T))), **CLOSE)
    packed = attend(q_BTNH, k_BSKH, v_BSKH, Slots(None, segments_BT, segments_BT), kernel=kernel)
    np.testing.assert_allclose(packed, by_hand(q_BTNH, k_BSKH, v_BSKH, segments_BT), **CLOSE)
    cached = Slots(jnp.int32(5), segments_BT[:, 5:7], segments_BT)
    last = attend(q_BTNH[:, 5:7], k_BSKH, v_BSKH, cached, kernel=kernel)
    np.testing.assert_allclose(last, by_hand(q_BTNH[:, 5:7], k_BSKH, v_BSKH, segments_BT, first=5), **CLOSE)


def test_grouped_queries_are_heads_with_repeated_keys():
    grouped = dataclasses.replace(CONFIGS["modern"], n_kv_heads=2)
    params = noisy(grouped)
    attn = params["blocks"]["attn"]
    repeated = {name: jnp.repeat(attn[name], 2, axis=2) for name in ("w_k", "w_v")}
    wide = params | {"blocks": params["blocks"] | {"attn": attn | repeated}}
    a = forward(params, tokens_BT, grouped).logits_BTV
    b = forward(wide, tokens_BT, dataclasses.replace(grouped, n_kv_heads=4)).logits_BTV
    np.testing.assert_allclose(a, b, **CLOSE)


@pytest.mark.parametrize("segments_BT", [None, segments_BT])
def test_dividing_the_softmax_by_its_sum_changes_nothing(segments_BT):
    """[softmax(q k^T / sqrt(H)) / Z] v with Z the sum of the softmax over the slots seen: Z is 1."""
    slots = Slots(None, segments_BT, segments_BT)
    Z = []

    def divided(probs_BNTS):
        Z.append(probs_BNTS.sum(-1, keepdims=True))
        return probs_BNTS / Z[0]

    with jax.enable_x64(True):  # in float64, where rounding cannot hide a difference
        q, k, v = (jnp.asarray(np.asarray(x), jnp.float64) for x in (q_BTNH, k_BSNH, v_BSNH))
        with_Z = attention.attention(q, k, v, slots, "reference", divided)
        without = attention.attention(q, k, v, slots, "reference")
    np.testing.assert_allclose(Z[0], 1, rtol=1e-14)
    np.testing.assert_allclose(with_Z, without, rtol=1e-12)


def test_who_asks_for_the_weights_gets_the_reference_kernel(monkeypatch):
    """The configured kernel runs, but for a capture or an edit of the weights and for dropout on them."""

    def zeros(q_BTNH, k_BSKH, v_BSKH, slots):
        return jnp.zeros_like(q_BTNH)

    monkeypatch.setitem(ATTENTION, "zeros", zeros)
    cfg = dataclasses.replace(CONFIGS["gpt2"], attention="zeros", dropout=0.1)
    params = noisy(CONFIGS["gpt2"])

    def is_reference(**asked):
        capture = ("mixed_heads", *asked.pop("capture", ()))
        out = jax.jit(lambda: gpt.forward(params, tokens_BT, cfg, capture=capture, **asked).activations)()
        return bool(np.any(out["mixed_heads"]))

    assert not is_reference()
    assert not is_reference(edits={"mlp_out": lambda x, layer: x})
    assert is_reference(capture=("attn_probs",))
    assert is_reference(edits={"attn_probs": lambda x, layer: x})
    assert is_reference(key=jax.random.key(0))
