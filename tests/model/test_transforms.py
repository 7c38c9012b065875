"""The model under JAX's transformations and others' changes of its parameters: vmap, LoRA, FSDP, quantisation."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from gptjax import tree
from gptjax.model import gpt
from tests.model.small import CLOSE, CONFIGS, assert_trees_close, forward, mean_nll, nll, nll_and_grad, noisy, tokens_BT


def test_per_example_gradients_average_to_the_batch_gradient(cfg, params):
    """And each is the gradient of a batch that repeats the example."""
    plain, cfg = cfg, dataclasses.replace(cfg, remat="full")
    one = lambda params, tokens_T: mean_nll(params, tokens_T[None], cfg)
    per_example = jax.jit(jax.vmap(jax.grad(one), in_axes=(None, 0)))(params, tokens_BT)
    alone = nll_and_grad(params, jnp.broadcast_to(tokens_BT[3:4], tokens_BT.shape), plain)[1]
    assert_trees_close(jax.tree.map(lambda g: g[3], per_example), alone)
    assert_trees_close(jax.tree.map(lambda g: g.mean(0), per_example), nll_and_grad(params, tokens_BT, plain)[1])


def test_lora_is_a_change_of_parameters():
    cfg, params = CONFIGS["gpt2"], noisy(CONFIGS["gpt2"])
    down_LDR = jax.random.normal(jax.random.key(3), (2, 16, 2))
    lora = {"down": down_LDR, "up": jnp.zeros((2, 2, 4, 4))}

    def merged(lora):
        blocks = params["blocks"]
        w_q = blocks["attn"]["w_q"] + jnp.einsum("LDR,LRNH->LDNH", lora["down"], lora["up"])
        return params | {"blocks": blocks | {"attn": blocks["attn"] | {"w_q": w_q}}}

    value, slope = jax.jit(jax.value_and_grad(lambda lora: mean_nll(merged(lora), tokens_BT, cfg)))(lora)
    np.testing.assert_allclose(value, nll(params, tokens_BT, cfg), rtol=1e-6)
    full = nll_and_grad(params, tokens_BT, cfg)[1]["blocks"]["attn"]["w_q"]
    assert np.all(np.any(slope["up"], axis=(1, 2, 3)))
    np.testing.assert_allclose(slope["up"], np.einsum("LDNH,LDR->LRNH", full, down_LDR), **CLOSE)


def test_unpack_sees_every_parameter_once_a_layer_at_a_time(cfg, params):
    """Weights stored as int8 multiples of 1/64 and unpacked on use give the logits of the rounded weights."""
    seen = {}

    def unpack(name, leaf):
        seen.setdefault(name, []).append(leaf.shape)
        return leaf.astype(jnp.float32) / 64

    stored = jax.tree.map(lambda leaf: np.clip(np.round(np.asarray(leaf) * 64), -127, 127).astype(np.int8), params)
    rounded = jax.tree.map(lambda leaf: leaf.astype(np.float32) / 64, stored)
    quantised = jax.jit(lambda p: gpt.forward(p, tokens_BT, cfg, unpack=unpack).logits_BTV)(stored)
    np.testing.assert_allclose(quantised, forward(rounded, tokens_BT, cfg).logits_BTV, **CLOSE)
    shapes = {n: leaf.shape[1:] if n.startswith("blocks/") else leaf.shape for n, leaf in tree.named(params).items()}
    assert {name: set(calls) for name, calls in seen.items()} == {name: {shape} for name, shape in shapes.items()}


def cut(name, leaf):
    """FSDP: each weight is cut along one of its own axes, never along the layers."""
    own = leaf.ndim - name.startswith("blocks/")
    if "norm" in name or "b_" in name:
        return P()
    axis = max(range(leaf.ndim - own, leaf.ndim), key=lambda i: (leaf.shape[i] % 8 == 0, leaf.shape[i]))
    return P(*(None,) * axis, "data")


@pytest.mark.parametrize("name,variant", [("gpt2", dict(remat="full")), ("modern", dict(remat="dots", scan=False))])
def test_fsdp_under_shard_map_equals_one_device(name, variant):
    """Each layer is gathered just before use; the gradient of a gather is a reduce-scatter."""
    cfg, params = dataclasses.replace(CONFIGS[name], **variant), noisy(CONFIGS[name])
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    specs = tree.map_named(cut, params)
    by_name = {name: cut(name, leaf) for name, leaf in tree.named(params).items()}
    assert all((spec != P()) == ("w_" in name) for name, spec in by_name.items())

    def gather(name, leaf):
        if by_name[name] == P():
            return leaf
        axis = len(by_name[name]) - 1 - name.startswith("blocks/")  # inside the loop the layer axis is gone
        return jax.lax.all_gather(leaf, "data", axis=axis, tiled=True)

    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(specs, P("data")), out_specs=(P(), specs))
    def step(params, tokens_BT):
        return jax.value_and_grad(lambda p: jax.lax.pmean(mean_nll(p, tokens_BT, cfg, unpack=gather), "data"))(params)

    sharded = jax.device_put(params, jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs))
    assert_trees_close(nll_and_grad(params, tokens_BT, CONFIGS[name]), step(sharded, tokens_BT))
