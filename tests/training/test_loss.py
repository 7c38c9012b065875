import dataclasses
import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.config import LossConfig
from gptjax.model import gpt
from gptjax.training import loss
from tests.tiny import make_batch, make_config

CFG = make_config(
    "model.vocab_size=61", "model.n_layers=1", "model.tied=false", "model.bias=false"
)  # 3 rows of padding
Z = 1e-2
DROPPING, KEY = dataclasses.replace(CFG.model, dropout=0.1), jax.random.key(3)


@pytest.fixture(scope="module")
def params():
    return jax.jit(gpt.init, static_argnames="cfg")(jax.random.key(0), CFG.model)


@pytest.fixture(scope="module")
def batch():
    """Two documents a row, and a different share of targets with weight 0 in each row."""
    batch = make_batch(CFG, weights="uneven")
    at_T = np.arange(CFG.model.context, dtype=np.int32)
    segments_BT = np.broadcast_to((at_T >= 5).astype(np.int32), batch.inputs_BT.shape)
    positions_BT = np.broadcast_to(np.where(at_T >= 5, at_T - 5, at_T), batch.inputs_BT.shape)
    return batch._replace(segments_BT=segments_BT, positions_BT=positions_BT)


@functools.partial(jax.jit, static_argnames=("model_cfg", "loss_cfg"))
def value_and_grad(params, batch, model_cfg, loss_cfg):
    return jax.value_and_grad(loss.summed, has_aux=True)(params, batch, model_cfg, loss_cfg)


def doubled(tree):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


def log_sum_exp(logits_BTV):
    top_BT = logits_BTV.max(-1)
    return top_BT + np.log(np.exp(logits_BTV - top_BT[..., None]).sum(-1))


def assert_near(found, wanted, rtol):
    """Relative to the largest entry of each leaf."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=rtol * np.abs(b).max()), found, wanted)


def logits_and_targets():
    """Logits whose exponentials overflow float32, and two entries of padding."""
    rng = np.random.default_rng(0)
    logits_BTV = (100 + 10 * rng.normal(size=(2, 3, 8))).astype(np.float32)
    logits_BTV[..., 6:] = -np.inf
    return logits_BTV, rng.integers(0, 6, (2, 3)).astype(np.int32)


def test_token_nll_is_minus_the_log_of_the_softmax():
    logits_BTV, targets_BT = logits_and_targets()
    probs_BTV = np.exp(logits_BTV.astype(np.float64))
    probs_BTV /= probs_BTV.sum(-1, keepdims=True)
    wanted_BT = -np.log(np.take_along_axis(probs_BTV, targets_BT[..., None], -1)[..., 0])
    token_nll = jax.jit(loss.token_nll)
    nll_BT = token_nll(jnp.asarray(logits_BTV), jnp.asarray(targets_BT))
    np.testing.assert_allclose(nll_BT, wanted_BT, rtol=0, atol=2e-5)
    assert nll_BT.dtype == jnp.float32
    assert token_nll(jnp.asarray(logits_BTV, jnp.bfloat16), jnp.asarray(targets_BT)).dtype == jnp.float32
    with jax.enable_x64(True):
        nll_BT = token_nll(jnp.asarray(logits_BTV, jnp.float64), jnp.asarray(targets_BT))
        np.testing.assert_allclose(nll_BT, wanted_BT, rtol=1e-12)


def test_the_gradient_of_token_nll_is_probability_less_one_hot_and_0_in_the_padding():
    logits_BTV, targets_BT = logits_and_targets()
    total = lambda x: loss.token_nll(x, jnp.asarray(targets_BT)).sum()
    grad_BTV = jax.jit(jax.grad(total))(jnp.asarray(logits_BTV))
    probs_BTV = np.exp(logits_BTV - log_sum_exp(logits_BTV)[..., None])
    np.testing.assert_allclose(grad_BTV, probs_BTV - np.eye(8)[targets_BT], rtol=0, atol=1e-5)
    assert not np.any(grad_BTV[..., 6:])


@pytest.fixture(scope="module")
def nll_and_log_z(params, batch):
    """By the book from the logits, with dropout."""
    forward = jax.jit(gpt.forward, static_argnames="cfg")
    places = dict(segments_BT=batch.segments_BT, positions_BT=batch.positions_BT)
    logits_BTV = doubled(forward(params, batch.inputs_BT, DROPPING, key=KEY, **places).logits_BTV)
    log_z_BT = log_sum_exp(logits_BTV)
    return log_z_BT - np.take_along_axis(logits_BTV, batch.targets_BT[..., None], -1)[..., 0], log_z_BT


@pytest.mark.parametrize(("dtype", "error"), [("float32", 1e-6), ("bfloat16", 4e-3)])
def test_the_derivative_of_log_z_is_the_softmax(dtype, error):
    """Also where a column is padding, in a map over rows, and computed anew."""
    logits_BTV = jax.random.normal(jax.random.key(0), (2, 3, 7)).astype(dtype).at[:, :, -2:].set(-jnp.inf)
    d_BT = jax.random.normal(jax.random.key(1), (2, 3))
    expected_BTV = d_BT[:, :, None] * jax.nn.softmax(logits_BTV.astype("float32"), axis=-1)
    rows = lambda logits_BTV: jax.vmap(lambda row_TV: loss.log_z(row_TV[None])[0])(logits_BTV)
    for of in (loss.log_z, rows, jax.checkpoint(loss.log_z)):
        (found_BTV,) = jax.vjp(of, logits_BTV)[1](d_BT)
        assert found_BTV.dtype == logits_BTV.dtype and not found_BTV[:, :, -2:].any()
        np.testing.assert_allclose(found_BTV.astype("float32"), expected_BTV, atol=error)


@pytest.mark.parametrize("n_chunks", [1, 4])
def test_the_loss_is_the_weighted_sum_of_nll_and_squared_log_z(params, batch, nll_and_log_z, n_chunks):
    """And dropout's key, the documents and `unpack` reach the model and its head."""
    halves, twice = jax.tree.map(lambda x: x / 2, params), lambda name, x: 2 * x
    summed = functools.partial(loss.summed, model_cfg=DROPPING, loss_cfg=LossConfig(Z, n_chunks), unpack=twice)
    total, found = jax.jit(summed)(halves, batch, key=KEY)
    nll_BT, log_z_BT = nll_and_log_z
    assert total == pytest.approx(np.sum(batch.weights_BT * (nll_BT + Z * log_z_BT**2)), rel=1e-6)
    assert found["nll"] == pytest.approx(np.sum(batch.weights_BT * nll_BT), rel=1e-6)
    assert found["n_tokens"] == batch.weights_BT.sum()


@pytest.mark.parametrize("n_chunks", [1, 4])
def test_a_target_of_weight_0_leaves_no_trace(params, batch, n_chunks):
    weights_BT = batch.weights_BT.copy()
    weights_BT[:, 12:] = 0
    batch = batch._replace(weights_BT=weights_BT)
    others_BT = np.where(weights_BT == 0, (batch.targets_BT + 1) % CFG.model.vocab_size, batch.targets_BT)
    cfg = LossConfig(Z, n_chunks)
    one = value_and_grad(params, batch, CFG.model, cfg)
    jax.tree.map(
        np.testing.assert_array_equal,
        one,
        value_and_grad(params, batch._replace(targets_BT=others_BT.astype(np.int32)), CFG.model, cfg),
    )
    grad_of_positions_TD = one[1]["w_pos"]  # restarted at 5, so the last weighted target is of position 6
    assert np.all(np.any(grad_of_positions_TD[:7], axis=-1))
    assert not np.any(grad_of_positions_TD[7:])


@pytest.mark.parametrize("n_chunks", [1, 4])
def test_a_batch_of_nothing_but_padding_has_loss_and_gradient_0(params, batch, n_chunks):
    nothing = batch._replace(weights_BT=np.zeros_like(batch.weights_BT))
    for leaf in jax.tree.leaves(value_and_grad(params, nothing, CFG.model, LossConfig(Z, n_chunks))):
        np.testing.assert_array_equal(leaf, np.zeros_like(leaf))


def test_chunks_change_neither_value_nor_gradient(params, batch):
    plain, chunked = (value_and_grad(params, batch, CFG.model, LossConfig(Z, n)) for n in (1, 4))
    assert_near(chunked, plain, 1e-5)


def test_in_float64_chunks_and_parts_of_a_batch_are_exact(params, batch):
    """With a tied head, which has gradient from both ends, and a soft cap. The parts differ in weight."""
    model_cfg = dataclasses.replace(CFG.model, tied=True, logit_softcap=5.0)
    first_BT, last_BT = batch.weights_BT.copy(), batch.weights_BT.copy()
    first_BT[4:], last_BT[:4] = 0, 0
    assert first_BT.sum() != last_BT.sum()
    with jax.enable_x64(True):
        wide = doubled({name: leaf for name, leaf in params.items() if name != "w_head"})
        plain, chunked = (functools.partial(value_and_grad, wide, loss_cfg=LossConfig(Z, n)) for n in (1, 4))
        whole = plain(batch, model_cfg)
        parts = [plain(batch._replace(weights_BT=weights_BT), model_cfg) for weights_BT in (first_BT, last_BT)]
        assert_near(chunked(batch, model_cfg), whole, 1e-10)
        assert_near(jax.tree.map(jnp.add, *parts), whole, 1e-12)


@pytest.fixture(scope="module")
def wide_vocabulary():
    """A bfloat16 model with more logits than anything else; value and gradient, compiled in 1 and in 32 chunks."""
    cfg = make_config(
        "model.vocab_size=8192", "model.context=64", "batch_tokens=256", "model.d_model=8", "model.n_layers=1",
        "model.bias=false", "model.dtype=bfloat16",
    )  # fmt: skip
    batch = make_batch(cfg, weights="uneven")
    params = jax.jit(gpt.init, static_argnames="cfg")(jax.random.key(0), cfg.model)
    compiled = {n: value_and_grad.lower(params, batch, cfg.model, LossConfig(Z, n)).compile() for n in (1, 32)}
    return cfg, params, batch, compiled


def test_chunks_never_hold_the_logits_of_all_positions(wide_vocabulary):
    """In forward and backward, as compiled: the largest array of any kind, and the memory for temporaries."""
    cfg, _, _, compiled = wide_vocabulary
    n_logits = cfg.batch_tokens * cfg.model.vocab_size
    for n_chunks, program in compiled.items():
        shapes = re.findall(r"\w\d+\[([\d,]+)\]", program.as_text())
        largest = max(math.prod(int(side) for side in shape.split(",")) for shape in shapes)
        assert largest == n_logits // n_chunks
    n_bytes, n_bytes_in_chunks = (compiled[n].memory_analysis().temp_size_in_bytes for n in (1, 32))
    assert n_bytes - n_bytes_in_chunks > 4 * n_logits


def test_a_chunk_takes_the_exponentials_of_its_logits_once_in_each_direction(wide_vocabulary):
    """Its sum over them is kept: anew, they would be taken three times."""
    cfg, _, _, compiled = wide_vocabulary
    taken = re.findall(rf"f32\[[\d,]*{cfg.model.vocab_size}\]\S* exponential\(", compiled[32].as_text())
    assert len(taken) == 2


def test_chunks_of_a_bfloat16_model_differ_by_the_rounding_of_its_gradients(wide_vocabulary):
    """The gradient of the head is rounded to bfloat16 (by 2^-8 at most) once a chunk, and then added up in float32.

    With one target everywhere all chunks add to one row, where a sum in bfloat16 would be off by 2^-6.
    """
    _, params, batch, compiled = wide_vocabulary
    batch = batch._replace(targets_BT=np.zeros_like(batch.targets_BT))
    plain, chunked = (compiled[n](params, batch) for n in (1, 32))
    assert_near(chunked[0], plain[0], 1e-5)
    assert_near(chunked[1], plain[1], 2**-8)
    assert {leaf.dtype for leaf in jax.tree.leaves(chunked)} == {jnp.dtype("float32")}
