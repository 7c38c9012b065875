"""The likelihood of held-out windows: only what weighs counts, as the slow sum over whole logits has it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.evaluation import heldout
from gptjax.model import gpt
from tests.tiny import make_batch, make_config


def test_only_targets_that_weigh_are_scored():
    cfg = make_config()
    params = jax.jit(gpt.init, static_argnames="cfg")(jax.random.key(0), cfg=cfg.model)
    batch = make_batch(cfg, weights="uneven")
    weights_BT = np.array(batch.weights_BT)
    weights_BT[-1] = 0  # a row that only fills the batch
    document_BT, at_BT = np.divmod(np.tile(np.arange(cfg.model.context, dtype=np.int32), (len(weights_BT), 1)), 8)
    batch = batch._replace(weights_BT=weights_BT, segments_BT=document_BT, positions_BT=at_BT)
    bytes_V = np.arange(cfg.model.vocab_size) % 5 + 1

    told: list[int] = []
    windows = heldout.Windows([[batch]], bytes_V, len(weights_BT))
    found = heldout.measure(params, cfg.model, windows, None, 0, told.append)

    look = jax.jit(
        lambda batch: (
            gpt.forward(
                params, batch.inputs_BT, cfg.model, segments_BT=batch.segments_BT, positions_BT=batch.positions_BT
            ).logits_BTV
        )
    )
    logits_BTV = look(jax.tree.map(jnp.asarray, batch))
    logp_BTV = np.asarray(jax.nn.log_softmax(logits_BTV), np.float64)
    targets_BT = np.asarray(batch.targets_BT)
    nats = -np.sum(weights_BT * np.take_along_axis(logp_BTV, targets_BT[..., None], -1)[..., 0])
    hits = np.sum(weights_BT * (logp_BTV.argmax(-1) == targets_BT))
    wanted = {
        "loss": nats / weights_BT.sum(),
        "perplexity": np.exp(nats / weights_BT.sum()),
        "bits_per_byte": nats / np.log(2) / np.sum(weights_BT * bytes_V[targets_BT]),
        "token_accuracy": hits / weights_BT.sum(),
    }
    assert 0 < weights_BT.mean() < 0.9 and told == [weights_BT.any(axis=1).sum()]
    assert {name: one.value(one.stats_NK.sum(0)) for name, one in found.items()} == pytest.approx(wanted, rel=1e-5)
