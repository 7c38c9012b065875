"""The step and evaluation run the kernel that is chosen for their mesh, on all of its axes at once."""

import jax
import numpy as np
import pytest

from gptjax.evaluation import likelihood
from gptjax.model import choice, ring, splash
from gptjax.model.attention import ATTENTION, whole_rows
from gptjax.training import sharding, step
from tests.tiny import make_batch, make_config, mesh_of

LAYER = ("model.n_layers=1", "optim.name=sgd", "model.n_kv_heads=2")


@pytest.mark.parametrize(("kernel", "sizes"), [("splash", (1, 2, 2, 1)), ("auto", (1, 2, 2, 2))])
def test_a_step_and_an_evaluation_are_the_references(kernel, sizes, monkeypatch):
    """Rows, heads and, in a ring, positions divided."""
    found, shapes = [], set()
    for file in (ring, splash):
        original = file.causal_attention

        def seen(q_BTNH, *args, original=original, **kwargs):
            shapes.add(q_BTNH.shape)
            return original(q_BTNH, *args, **kwargs)

        monkeypatch.setattr(file, "causal_attention", seen)
    monkeypatch.setitem(
        ATTENTION, "splash_interpreted", whole_rows(lambda q, k, v, s: splash.causal_attention(q, k, v, s, True))
    )
    for attention, on in (("reference", mesh_of(1, 1, 1, 1)), (kernel, mesh_of(*sizes))):
        cfg = make_config(*LAYER, f"model.attention={attention}")
        batch = make_batch(cfg)
        state, metrics = step.make_update(cfg, on)(step.init_state(cfg, on), sharding.put(batch, on))
        chosen = choice.resolved(cfg, on).model
        evaluate = likelihood.make_evaluate({"": [batch]}, np.ones(64), chosen, cfg.loss, on)
        found.append((metrics["grad/norm"], metrics["train/nll"], evaluate(state.params)["eval/nll"]))
    np.testing.assert_allclose(*jax.device_get(found), rtol=2e-5)
    assert shapes == {(4, 16 // sizes[3], 2, 8)}  # of 8 rows and 4 heads, on each device


def test_a_step_on_divided_positions_goes_round_the_ring():
    cfg, on = make_config(*LAYER), mesh_of(1, 1, 1, 2)
    batch = sharding.put(make_batch(cfg), on)
    lowered = step.make_update(cfg, on).lower(step.abstract_state(cfg, on), batch)
    assert "collective_permute" in lowered.as_text()
