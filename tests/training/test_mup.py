"""muP: activations and their changes keep their size as the model gets wider, and the rates of each weight say why."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax import tree
from gptjax.config import Config
from gptjax.model import gpt
from gptjax.training import optim, step
from tests.tiny import make_batch, make_config, mesh_of

BASE_WIDTH, D_HEAD, N_UPDATES = 64, 16, 4
# Sixteen tokens, far fewer than the width: the theory is of updates that are sums of few outer products. With 256,
# which widths of 64 and 256 hold apart differently well, all three sizes fall with the power -0.27 of the width.
SIZES = ("model.context=16", "batch_tokens=16", "model.tied=false", "optim.warmup_steps=0", "optim.schedule=constant")

init = jax.jit(gpt.init, static_argnames="cfg")


def of_width(width: int, mup: bool, *changes: str) -> Config:
    heads = width // D_HEAD
    widths = [f"model.d_model={width}", f"model.n_heads={heads}", f"model.n_kv_heads={heads}"]
    widths += [f"model.d_hidden={4 * width}", f"model.mup_base_width={BASE_WIDTH if mup else 0}"]
    return make_config(*SIZES, *widths, *changes)


@functools.cache
def grown(width: int, mup: bool, name: str = "adamw") -> dict[str, float]:
    """How large the residual stream and the logits are after a few updates, and how much of it the updates made."""
    cfg = of_width(width, mup, f"optim.name={name}", f"optim.peak_lr={1e-2 if name != 'lion' else 3e-3}")
    on, batch = mesh_of(1, 1, 1, 1), make_batch(cfg)
    state = step.init_state(cfg, on)
    look = jax.jit(
        lambda params: gpt.forward(params, jnp.asarray(batch.inputs_BT), cfg.model, capture=("residual_out",))
    )
    first, update = look(state.params), step.make_update(cfg, on)
    for _ in range(N_UPDATES):
        state, _ = update(state, batch)
    last = look(state.params)
    stream, change = (
        last.activations["residual_out"],
        last.activations["residual_out"] - first.activations["residual_out"],
    )
    logits = last.logits_BTV - first.logits_BTV
    return {"stream": rms(stream), "change": rms(change), "logits": rms(logits)}


def rms(x) -> float:
    return float(jnp.sqrt(jnp.mean(jnp.square(x))))


def slopes(widths: list[int], mup: bool, name: str) -> dict[str, float]:
    """The power of the width that each size grows with."""
    found = [grown(width, mup and width != BASE_WIDTH, name) for width in widths]  # there they are the same
    return {key: float(np.polyfit(np.log(widths), np.log([one[key] for one in found]), 1)[0]) for key in found[0]}


def test_activations_keep_their_size_in_mup_alone():
    """The coordinate check of Yang et al. 2022, appendix D.1, on two widths; `make prove` goes to 1024."""
    widths = [64, 256]
    mup, standard = slopes(widths, True, "adamw"), slopes(widths, False, "adamw")
    assert all(abs(slope) < 0.2 for slope in mup.values()), mup
    assert standard["logits"] > 0.4, standard


@pytest.mark.prove
@pytest.mark.parametrize("name", ["adamw", "lion", "muon"])
def test_activations_keep_their_size_up_to_width_1024(name):
    widths = [64, 128, 256, 512, 1024]
    mup, standard = slopes(widths, True, name), slopes(widths, False, name)
    print(name, mup, standard)
    assert all(abs(slope) < 0.2 for slope in mup.values()), mup
    assert standard["logits"] > 0.2, standard


def test_fresh_weights_shrink_as_the_table_says():
    made = lambda wide: init(jax.random.key(0), of_width(wide, True, "model.n_layers=1").model)
    params = {wide: tree.named(made(wide)) for wide in (64, 256)}
    for name, wanted in [("w_tok", 1), ("blocks/attn/w_q", 1 / 2), ("blocks/attn/w_out", 1 / 2),
                         ("blocks/mlp/w_in", 1 / 2), ("blocks/mlp/w_out", 1 / 2), ("w_head", 1 / 4)]:  # fmt: skip
        assert np.std(params[256][name]) / np.std(params[64][name]) == pytest.approx(wanted, rel=0.05), name


def test_at_its_base_width_mup_is_the_standard_parametrisation():
    plain, mup = of_width(64, False), of_width(64, True)
    same = jax.tree.map(np.array_equal, *(init(jax.random.key(0), cfg.model) for cfg in (plain, mup)))
    assert all(jax.tree.leaves(same)) and mup.model.wider == 1 and plain.model.wider == 1


SHRINK = [("adamw", 1 / 4, 1 / 4), ("lion", 1 / 4, 1 / 4), ("adafactor", 1 / 4, 1 / 4), ("muon", 1 / 2, 1 / 4)]


@pytest.mark.parametrize(("name", "hidden", "head"), SHRINK)
def test_updates_shrink_as_the_table_says_and_decay_does_not(name, hidden, head):
    """At one width: the factor of the table is of what the optimizer is told, not of the shapes that it sees."""
    cfg = of_width(64, True, f"optim.name={name}")
    params = init(jax.random.key(0), cfg.model)
    grads = jax.tree.map(lambda leaf: jnp.asarray(np.random.default_rng(leaf.size).normal(size=leaf.shape)), params)

    def updates(wider: float, decay: float) -> dict:
        made = optim.make(dataclasses.replace(cfg.optim, weight_decay=decay), 10, wider)
        update = jax.jit(lambda grads, params: made.update(grads, made.init(params), params)[0])
        return tree.named(update(grads, params))

    plain, scaled = updates(1.0, 0.0), updates(4.0, 0.0)
    for key, update in scaled.items():
        wanted = head if key == "w_head" else hidden if key.startswith("blocks/") and "/w_" in key else 1
        np.testing.assert_allclose(update, wanted * plain[key], rtol=1e-5, err_msg=key)
    decayed, scaled_decayed = updates(1.0, 0.5), updates(4.0, 0.5)
    for key in plain:
        np.testing.assert_allclose(decayed[key] - plain[key], scaled_decayed[key] - scaled[key], atol=1e-6, err_msg=key)
