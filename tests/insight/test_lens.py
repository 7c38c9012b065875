"""A lens reads what the model itself would read; the tuned one learns to say what the model says."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.insight import lens, residual, tuned
from gptjax.model import gpt
from tests.insight.asked import CLOSE, base_BT, source_BT
from tests.model.small import forward


def test_the_last_reading_is_the_model(cfg, params):
    logits_RBTV = lens.logits(params, base_BT, cfg)
    assert logits_RBTV.shape == (4, 4, 10, 64)
    np.testing.assert_array_equal(logits_RBTV[-1], forward(params, base_BT, cfg).logits_BTV)


def test_a_reading_is_the_model_cut_short(cfg, params):
    """The logit lens after two layers is the model of these two layers, with its last norm and head."""
    shorter = dataclasses.replace(cfg, n_layers=2)
    cut = params | {"blocks": jax.tree.map(lambda leaf: leaf[:2], params["blocks"])}
    np.testing.assert_allclose(lens.logits(params, base_BT, cfg)[2], forward(cut, base_BT, shorter).logits_BTV, **CLOSE)


def test_predictions_are_of_the_logits(cfg, params):
    found = lens.predictions(params, base_BT, cfg, k=3)
    logits_RBTV = np.asarray(lens.logits(params, base_BT, cfg))[..., :59]
    logs_RBTV = np.asarray(jax.nn.log_softmax(logits_RBTV))
    np.testing.assert_array_equal(found.tokens_RBTk, np.argsort(-logs_RBTV, axis=-1)[..., :3])
    np.testing.assert_allclose(found.log_probs_RBTk, -np.sort(-logs_RBTV, axis=-1)[..., :3], **CLOSE)
    next_RBt1 = np.take_along_axis(logs_RBTV[:, :, :-1], np.tile(base_BT[None, :, 1:, None], (4, 1, 1, 1)), axis=-1)
    np.testing.assert_allclose(found.nats_RBt, -next_RBt1[..., 0], **CLOSE)
    model_BTV = logs_RBTV[-1]
    np.testing.assert_allclose(found.kl_RBT, (np.exp(model_BTV) * (model_BTV - logs_RBTV)).sum(-1), **CLOSE)
    np.testing.assert_array_equal(found.kl_RBT[-1], 0)


def test_the_tuned_lens_starts_as_the_logit_lens_and_comes_nearer(cfg, params):
    start = tuned.init(cfg)
    plain, untrained = (lens.predictions(params, source_BT, cfg, translators=t).kl_RBT for t in (None, start))
    np.testing.assert_allclose(plain, untrained, **CLOSE)
    keys = jax.random.split(jax.random.key(5), 60)
    batches = [jax.random.randint(key, (4, 10), 0, cfg.vocab_size) for key in keys]
    translators, kl_SL = tuned.train(params, batches, cfg, peak_lr=1e-2)
    np.testing.assert_allclose(kl_SL[0], lens.predictions(params, batches[0], cfg).kl_RBT[:-1].mean((1, 2)), **CLOSE)
    trained = lens.predictions(params, source_BT, cfg, translators=translators).kl_RBT  # text it was not trained on
    assert (trained.mean((1, 2))[:-1] < 0.8 * plain.mean((1, 2))[:-1]).all()
    np.testing.assert_array_equal(trained[-1], 0)
    again, kl_1L = tuned.train(params, batches[:1], cfg, peak_lr=1e-2, translators=translators)
    assert (kl_1L[0] < kl_SL[0]).all()  # goes on from what was given, which stays
    assert np.abs(again["w_LDD"] - translators["w_LDD"]).max() > 0


def test_layers_of_the_tuned_lens_do_not_see_each_other():
    """Each is clipped and updated as if it were alone."""
    optimizer = tuned.optimizer(0.1, 1.0)
    grads_LD = jnp.array([[1e4, 1e4], [1e-8, 2e-8]])  # of the second what eps does shows whether it was clipped
    whole_LD = optimizer.update(grads_LD, optimizer.init(grads_LD))[0]
    alone_LD = optimizer.update(grads_LD[1:], optimizer.init(grads_LD[1:]))[0]
    np.testing.assert_array_equal(np.asarray(whole_LD)[1:], alone_LD)
    np.testing.assert_allclose(np.asarray(alone_LD), [[-0.05, -0.1 * 2 / 3]], rtol=1e-4)


def test_norms_are_of_what_is_written(cfg, params):
    found = residual.norms(params, base_BT, cfg)
    x_RBTD = np.asarray(residual.stream(params, base_BT, cfg))
    points = forward(params, base_BT, cfg, capture=gpt.POINTS).activations
    np.testing.assert_array_equal(x_RBTD[:-1], points["residual_in"])
    np.testing.assert_allclose(found.stream_RBT, np.sqrt((x_RBTD**2).sum(-1)), **CLOSE)
    np.testing.assert_allclose(found.attn_LBT, np.sqrt((np.asarray(points["attn_out"]) ** 2).sum(-1)), **CLOSE)
    np.testing.assert_allclose(found.mlp_LBT, np.sqrt((np.asarray(points["mlp_out"]) ** 2).sum(-1)), **CLOSE)
