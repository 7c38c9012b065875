import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gptjax import tree
from gptjax.config import LossConfig
from gptjax.model import gpt
from gptjax.training import loss, optim
from tests.tiny import make_batch, make_config

CFG = make_config(
    "model.vocab_size=61", "model.tied=false", "model.mlp=swiglu", "model.qk_norm=true", "model.n_kv_heads=2",
    "batch_tokens=64", "n_steps=60", "optim.schedule=constant", "optim.clip_norm=0",
)  # fmt: skip
PLAIN = dataclasses.replace(CFG.model, n_layers=1, mlp="gelu", qk_norm=False, bias=False)  # compiles in half the time
MATRICES = {  # every parameter that muon orthogonalises, and its gradient as a stack of matrices
    "blocks/attn/w_q": lambda g_LDNH: g_LDNH.reshape(2, 32, 32),
    "blocks/attn/w_k": lambda g_LDKH: g_LDKH.reshape(2, 32, 16),
    "blocks/attn/w_v": lambda g_LDKH: g_LDKH.reshape(2, 32, 16),
    "blocks/attn/w_out": lambda g_LNHD: g_LNHD.reshape(2, 32, 32),
    "blocks/mlp/w_in": lambda g_LCDF: g_LCDF.reshape(4, 32, 64),
    "blocks/mlp/w_out": lambda g_LFD: g_LFD,
}
DECAYED = {"w_tok", "w_pos", "w_head", *MATRICES}


def make_params():
    """Every kind of parameter the model has, random."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(functools.partial(gpt.init, cfg=CFG.model), jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype) / 50, shapes)


def rates(steps, **changes):
    cfg = dataclasses.replace(CFG.optim, **(dict(peak_lr=2.0, warmup_steps=10, final_lr_fraction=0.1) | changes))
    return jax.jit(jax.vmap(optim.schedule(cfg, 100)))(jnp.array(steps))


@pytest.mark.parametrize("name", optim.SCHEDULES)
def test_warmup_starts_above_0_and_rises_in_equal_steps_to_the_peak(name):
    np.testing.assert_allclose(rates(range(11), schedule=name), 2 * np.arange(1, 12) / 11, rtol=1e-6)
    assert rates([0], schedule=name, warmup_steps=0)[0] == 2


@pytest.mark.parametrize(
    "name, changes, values",  # {step: fraction of the peak}; cosine and linear fall from 10 to 100, wsd from 80
    [
        ("cosine", dict(), {40: 0.1 + 0.9 * 0.75, 55: 0.55, 70: 0.1 + 0.9 * 0.25, 100: 0.1, 200: 0.1}),
        ("linear", dict(), {11: 0.99, 55: 0.55, 99: 0.11, 100: 0.1, 200: 0.1}),
        ("wsd", dict(decay_fraction=0.2), {80: 1, 81: 0.955, 90: 0.55, 99: 0.145, 100: 0.1, 200: 0.1}),
        ("wsd", dict(decay_fraction=1.0), {10: 1, 11: 0.99, 55: 0.55, 100: 0.1}),  # starts after warmup
        ("wsd", dict(decay_fraction=0.0), {11: 1, 99: 1, 100: 1}),
        ("inverse_sqrt", dict(), {43: 0.5, 98: 1 / 3, 1099: 0.1}),  # sqrt(11 / (step + 1))
        ("constant", dict(), {11: 1, 100: 1, 200: 1}),
    ],
)
def test_after_warmup_the_schedule_has_its_closed_form(name, changes, values):
    np.testing.assert_allclose(
        rates(list(values), schedule=name, **changes), 2 * np.array(list(values.values())), rtol=1e-5
    )


def test_weights_and_embeddings_decay_but_no_bias_and_no_norm():
    mask = tree.named(optim.decayed(make_params()))
    assert {name for name, on in mask.items() if on} == DECAYED
    assert {name for name, on in mask.items() if not on} == {
        *("norm_out/scale", "norm_out/bias"),
        *(f"blocks/norm_{place}/{part}" for place in ("attn", "mlp") for part in ("scale", "bias")),
        *(f"blocks/attn/norm_{part}/{kind}" for part in "qk" for kind in ("scale", "bias")),
        *(f"blocks/attn/b_{part}" for part in ("q", "k", "v", "out")),
        *(f"blocks/mlp/b_{part}" for part in ("in", "out")),
    }


@pytest.mark.parametrize("clip_norm, length", [(1.0, 1.0), (4.0, 4.0), (6.0, 5.0), (0.0, 5.0)])
def test_gradients_are_clipped_to_a_length_together(clip_norm, length):
    cfg = dataclasses.replace(CFG.optim, name="sgd", clip_norm=clip_norm, weight_decay=0.0, warmup_steps=0, peak_lr=0.5)
    grads = {"w_a": jnp.array([3.0, 0.0]), "b_a": jnp.array([4.0])}
    params = jax.tree.map(jnp.zeros_like, grads)
    transform = optim.make(cfg, 10)
    updates, _ = transform.update(grads, transform.init(params), params)
    wanted = {"w_a": np.array([-0.3 * length, 0]), "b_a": np.array([-0.4 * length])}
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), updates, wanted)


def adamw_directions(grads, cfg):
    m = v = 0
    for t, g in enumerate(grads, 1):
        m, v = cfg.b1 * m + (1 - cfg.b1) * g, cfg.b2 * v + (1 - cfg.b2) * g**2
        yield m / (1 - cfg.b1**t) / (np.sqrt(v / (1 - cfg.b2**t)) + cfg.eps)


def lion_directions(grads, cfg):
    m = 0
    for g in grads:
        yield np.sign(cfg.b1 * m + (1 - cfg.b1) * g)
        m = cfg.b2 * m + (1 - cfg.b2) * g


def sgd_directions(grads, cfg):
    m = 0
    for g in grads:
        m = cfg.b1 * m + g
        yield m


def adafactor_directions(grads, cfg):
    m, row, column, full = 0, 0, 0, 0
    for t, g in enumerate(grads, 1):
        decay, square = min(cfg.b2, 1 - t**-0.8), g**2 + cfg.eps**2
        if g.shape == (130, 128):
            row = decay * row + (1 - decay) * square.mean(1, keepdims=True)
            column = decay * column + (1 - decay) * square.mean(0, keepdims=True)
            update = g / np.sqrt(row * column / row.mean())
        else:
            full = decay * full + (1 - decay) * square
            update = g / np.sqrt(full)
        m = cfg.b1 * m + (1 - cfg.b1) * update / max(1, np.sqrt(np.mean(update**2)))
        yield m / (1 - cfg.b1**t)


@pytest.mark.parametrize(
    "name, directions",
    [
        ("adamw", adamw_directions),
        ("lion", lion_directions),
        ("sgd", sgd_directions),
        ("adafactor", adafactor_directions),
    ],
)
def test_five_updates_are_those_of_the_paper(name, directions):
    """With decoupled decay and the schedule: p <- p - lr (direction + decay p), in float64."""
    cfg = dataclasses.replace(CFG.optim, name=name, eps=1e-3, b2=0.6, schedule="linear", weight_decay=0.3, peak_lr=0.1)
    rng = np.random.default_rng(1)
    start = {"w_tok": rng.normal(size=(130, 128)), "norm_out": {"scale": rng.normal(size=7)}}
    grads = [jax.tree.map(lambda p: rng.normal(size=p.shape), start) for _ in range(5)]

    transform, params = optim.make(cfg, 5), jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), start)
    state, update = transform.init(params), jax.jit(transform.update)
    for grad in grads:
        updates, state = update(jax.tree.map(lambda g: jnp.asarray(g, jnp.float32), grad), state, params)
        params = optax.apply_updates(params, updates)

    rates = np.asarray(jax.vmap(optim.schedule(cfg, 5))(jnp.arange(5)), np.float64)

    def by_hand(p, decay, *grads):
        for rate, direction in zip(rates, directions(grads, cfg), strict=True):
            p = p - rate * (direction + decay * p)
        return p

    decays = {"w_tok": 0.3, "norm_out": {"scale": 0.0}}
    wanted = jax.tree.map(by_hand, start, decays, *grads)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=2e-6), params, wanted)


@pytest.fixture(scope="module")
def first_muon_updates():
    """Gradients, and the first updates of muon and adamw on them at learning rate 1, by name."""
    cfg = dataclasses.replace(CFG.optim, name="muon", warmup_steps=0, peak_lr=1.0, weight_decay=0.0)
    params, rng = make_params(), np.random.default_rng(2)

    def gradient(name, p):
        grad = rng.normal(size=p.shape)
        if name in MATRICES:  # singular values from 1 to 10
            u, s, vt = np.linalg.svd(MATRICES[name](grad), full_matrices=False)
            grad = (u * np.linspace(1, 10, s.shape[-1]) @ vt).reshape(p.shape)
            grad[0] *= 1000  # layers must not mix
        return jnp.asarray(grad, jnp.float32)

    grads = tree.map_named(gradient, params)

    def updates(name):
        transform = optim.make(dataclasses.replace(cfg, name=name), 10)
        return jax.jit(lambda: transform.update(grads, transform.init(params), params)[0])()

    return tree.named(grads), tree.named(updates("muon")), tree.named(updates("adamw"))


@pytest.mark.parametrize("name", MATRICES)
def test_muon_gives_every_matrix_of_a_layer_near_equal_singular_values(first_muon_updates, name):
    """U S V^T becomes U S' V^T with S' near 0.2 sqrt(longer side), so that its RMS is near 0.2."""
    grads, updates, _ = first_muon_updates
    for grad, update in zip(MATRICES[name](grads[name]), MATRICES[name](updates[name]), strict=True):
        u, _, vt = np.linalg.svd(grad, full_matrices=False)
        turned = -u.T @ np.asarray(update) @ vt.T / (0.2 * max(grad.shape) ** 0.5)
        stretch = np.diag(turned)
        np.testing.assert_allclose(turned, np.diag(stretch), atol=1e-3)
        assert 0.5 < stretch.min() and stretch.max() < 1.3  # five Newton-Schulz steps come no nearer to 1


def test_muon_leaves_embeddings_head_biases_and_norms_to_adamw(first_muon_updates):
    _, muon, adamw = first_muon_updates
    same = {name for name in muon if np.array_equal(muon[name], adamw[name])}
    assert same == muon.keys() - MATRICES.keys()


def test_muon_refuses_a_matrix_whose_axes_it_does_not_know():
    params = {"blocks": {"attn": {"w_new": jnp.ones((2, 3, 4))}}}
    transform = optim.muon(CFG.optim)
    with pytest.raises(KeyError, match="blocks/attn/w_new"):
        transform.update(params, transform.init(params), params)


MOMENTS = {  # what stands before the parameters' names in the optimizer state
    "adamw": ("1/mu", "1/nu"),
    "adafactor": ("1/0/v_row", "1/0/v_col", "1/0/v", "1/2/ema"),
    "lion": ("1/mu",),
    "muon": ("1/inner_states/rest/inner_state/mu", "1/inner_states/rest/inner_state/nu"),
    "sgd": ("1/trace",),
}


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_the_state_keeps_the_parameters_names_in_float32(name):
    params = make_params()
    state = jax.eval_shape(optim.make(dataclasses.replace(CFG.optim, name=name), 10).init, params)
    moments = {leaf: value for leaf, value in tree.named(state).items() if value.ndim and "ns_coeffs" not in leaf}
    names = set(tree.named(params))
    wanted = {f"{moment}/{of}" for moment in MOMENTS[name] for of in names}
    if name == "muon":
        wanted = {leaf for leaf in wanted if leaf.split("_state/")[1][3:] not in MATRICES}
        wanted |= {f"1/inner_states/matrix/inner_state/0/mu/{of}" for of in MATRICES}
    assert set(moments) == wanted
    assert {value.dtype for value in moments.values()} == {jnp.dtype("float32")}


@functools.cache
def gradients():
    """(params) -> (mean nats, gradient) on one batch; compiled once for all optimizers."""
    batch = jax.tree.map(jnp.asarray, make_batch(CFG))

    def nll(params):
        total, sums = loss.summed(params, batch, PLAIN, LossConfig(0.0, 1))
        return total / sums["n_tokens"]

    return jax.jit(jax.value_and_grad(nll))


PEAK_LR = {"adamw": 1e-2, "adafactor": 1e-2, "lion": 3e-3, "muon": 1e-2, "sgd": 0.2}


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_every_optimizer_learns_a_batch_by_heart_and_is_traced_once(name):
    transform = optim.make(dataclasses.replace(CFG.optim, name=name, peak_lr=PEAK_LR[name]), CFG.n_steps)
    traces = []

    @jax.jit
    def update(grads, state, params):
        traces.append(name)
        updates, state = transform.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    params = jax.jit(gpt.init, static_argnames="cfg")(jax.random.key(0), PLAIN)
    state, losses = transform.init(params), []
    for _ in range(CFG.n_steps):
        nll, grads = gradients()(params)
        params, state = update(grads, state, params)
        losses.append(float(nll))
    assert losses[0] == pytest.approx(np.log(61), abs=0.1)
    assert losses[-1] < 0.5
    assert traces == [name]
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
