"""The model against plain NumPy in float64, written from the definitions and not from our code."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from gptjax import tree
from gptjax.model import gpt
from tests.model.small import CLOSE, CONFIGS, forward, noisy, tokens_BT

rng = np.random.default_rng(0)
L, D, N, F, V, T = 2, 16, 4, 32, 59, 12
tokens = np.asarray(tokens_BT)


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def attend(q, k, v):
    """One head of one sequence, (T, H) each."""
    scores = q @ k.T / np.sqrt(q.shape[-1])
    scores[np.triu_indices(len(scores), 1)] = -np.inf
    return softmax(scores) @ v


def gpt2_logits(h, tokens):
    """GPT-2 by its released names: Conv1D weights are (in, out), c_attn is q, k, v side by side."""

    def layer_norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * h[name + ".weight"] + h[name + ".bias"]

    def conv1d(x, name):
        return x @ h[name + ".weight"] + h[name + ".bias"]

    def gelu_new(x):
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

    x = h["wte.weight"][tokens] + h["wpe.weight"][: len(tokens)]
    for i in range(L):
        qkv = conv1d(layer_norm(x, f"h.{i}.ln_1"), f"h.{i}.attn.c_attn")
        q, k, v = (np.split(part, N, axis=-1) for part in np.split(qkv, 3, axis=-1))
        heads = [attend(q[n], k[n], v[n]) for n in range(N)]
        x = x + conv1d(np.concatenate(heads, axis=-1), f"h.{i}.attn.c_proj")
        x = x + conv1d(gelu_new(conv1d(layer_norm(x, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc")), f"h.{i}.mlp.c_proj")
    return layer_norm(x, "ln_f") @ h["wte.weight"].T


def test_gpt2_is_gpt2():
    shapes = {"wte.weight": (V, D), "wpe.weight": (16, D), "ln_f.weight": (D,), "ln_f.bias": (D,)}
    for i in range(L):
        for name, size in {"ln_1": (D,), "ln_2": (D,), "attn.c_attn": (D, 3 * D), "attn.c_proj": (D, D)}.items():
            shapes |= {f"h.{i}.{name}.weight": size, f"h.{i}.{name}.bias": size[-1:]}
        for name, size in {"mlp.c_fc": (D, F), "mlp.c_proj": (F, D)}.items():
            shapes |= {f"h.{i}.{name}.weight": size, f"h.{i}.{name}.bias": size[-1:]}
    h = {name: 0.3 * rng.normal(size=shape) + ("ln_" in name) for name, shape in shapes.items()}

    def layers(name):
        return np.stack([h[f"h.{i}.{name}"] for i in range(L)])

    def norm(name):
        return {"scale": layers(name + ".weight"), "bias": layers(name + ".bias")}

    w_qkv, b_qkv = np.split(layers("attn.c_attn.weight"), 3, -1), np.split(layers("attn.c_attn.bias"), 3, -1)
    attn = {f"w_{n}": w.reshape(L, D, N, D // N) for n, w in zip("qkv", w_qkv, strict=True)}
    attn |= {f"b_{n}": b.reshape(L, N, D // N) for n, b in zip("qkv", b_qkv, strict=True)}
    attn |= {"w_out": layers("attn.c_proj.weight").reshape(L, N, D // N, D), "b_out": layers("attn.c_proj.bias")}
    mlp = {"w_in": layers("mlp.c_fc.weight")[:, None], "b_in": layers("mlp.c_fc.bias")[:, None]}
    mlp |= {"w_out": layers("mlp.c_proj.weight"), "b_out": layers("mlp.c_proj.bias")}
    params = {
        "w_tok": np.pad(h["wte.weight"], ((0, 64 - V), (0, 0))),
        "w_pos": h["wpe.weight"],
        "norm_out": {"scale": h["ln_f.weight"], "bias": h["ln_f.bias"]},
        "blocks": {"norm_attn": norm("ln_1"), "norm_mlp": norm("ln_2"), "attn": attn, "mlp": mlp},
    }
    expected = np.stack([gpt2_logits(h, row) for row in tokens])
    assert_logits(params, CONFIGS["gpt2"], expected)


def modern_logits(p, tokens, cfg):
    """Llama's block (and Qwen 3's qk-norm): rotations as complex numbers, keys repeated for each group of queries."""
    H = D // N
    angles = np.arange(len(tokens))[:, None] / cfg.rope_base ** (np.arange(0, H, 2) / H)

    def rms_norm(x, scale):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * scale

    def rotated(x):
        z = (x[:, : H // 2] + 1j * x[:, H // 2 :]) * np.exp(1j * angles)
        return np.concatenate([z.real, z.imag], axis=-1)

    x = p["w_tok"][tokens]
    for i in range(L):
        w = {name: leaf[i] for name, leaf in p.items() if name.startswith("blocks/")}
        y, heads = rms_norm(x, w["blocks/norm_attn/scale"]), []
        for n in range(N):
            kv = n * cfg.n_kv_heads // N
            q = rotated(rms_norm(y @ w["blocks/attn/w_q"][:, n], w["blocks/attn/norm_q/scale"]))
            k = rotated(rms_norm(y @ w["blocks/attn/w_k"][:, kv], w["blocks/attn/norm_k/scale"]))
            heads.append(attend(q, k, y @ w["blocks/attn/w_v"][:, kv]) @ w["blocks/attn/w_out"][n])
        x = x + sum(heads)
        y = rms_norm(x, w["blocks/norm_mlp/scale"])
        gate, value = y @ w["blocks/mlp/w_in"][0], y @ w["blocks/mlp/w_in"][1]
        x = x + gate / (1 + np.exp(-gate)) * value @ w["blocks/mlp/w_out"]
    return rms_norm(x, p["norm_out/scale"]) @ p["w_head"][:V].T


def test_modern_is_llama_with_qk_norm():
    cfg = CONFIGS["modern"]
    shapes = jax.eval_shape(lambda: gpt.init(jax.random.key(0), cfg))
    params = tree.map_named(lambda name, leaf: 0.3 * rng.normal(size=leaf.shape) + ("scale" in name), shapes)
    assert_logits(params, cfg, np.stack([modern_logits(tree.named(params), row, cfg) for row in tokens]))


ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "relu2": lambda x: np.maximum(x, 0) ** 2,
    "gelu_exact": np.vectorize(lambda x: x * (1 + math.erf(x / 2**0.5)) / 2),
}


@pytest.mark.parametrize("mlp", ACTIVATIONS)
def test_an_activation_is_its_formula(mlp):
    """The hidden units of a first layer whose MLP input is all ones (a norm of scale 0 and bias 1)."""
    cfg = dataclasses.replace(CONFIGS["gpt2"], mlp=mlp)
    params = noisy(cfg)
    norm = {"scale": np.zeros((L, D), np.float32), "bias": np.ones((L, D), np.float32)}
    params = params | {"blocks": params["blocks"] | {"norm_mlp": norm}}
    given = params["blocks"]["mlp"]
    expected_LF = ACTIVATIONS[mlp](given["w_in"][:, 0].sum(axis=1) + given["b_in"][:, 0])
    hidden_LBTF = forward(params, tokens_BT, cfg, capture=("mlp_hidden",)).activations["mlp_hidden"]
    np.testing.assert_allclose(hidden_LBTF[:, 0, 0], expected_LF, **CLOSE)


def assert_logits(params, cfg, expected):
    """To 1e-10 in float64, and in float32 to 1e-5 of the logits' deviation."""
    with jax.enable_x64(True):
        np.testing.assert_allclose(forward(params, tokens_BT, cfg).logits_BTV[..., :V], expected, rtol=0, atol=1e-10)
    narrow = jax.tree.map(lambda leaf: leaf.astype(np.float32), params)
    logits = forward(narrow, tokens_BT, cfg).logits_BTV[..., :V]
    assert np.abs(logits - expected).max() < 1e-5 * max(1, expected.std())
