"""`product` against einsum, and what the CPU's compiler makes of its backward pass."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.model.product import product, widened

CASES = [  # of x, of w, axes summed
    ((3, 5, 8), (8, 6), "BTD,DF->BTF", 1),
    ((3, 5, 6), (6, 8), "BTF,FD->BTD", 1),
    ((3, 5, 8), (8, 3, 4, 2), "BTD,DCNH->BTCNH", 1),
    ((3, 5, 4, 2), (4, 2, 8), "BTNH,NHD->BTD", 2),
]


@pytest.mark.parametrize(("x_shape", "w_shape", "equation", "n"), CASES, ids=[case[2] for case in CASES])
def test_value_and_gradients_are_einsums(x_shape, w_shape, equation, n):
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        x, w = (jnp.asarray(rng.normal(size=shape)) for shape in (x_shape, w_shape))
        y, pull = jax.vjp(lambda x, w: product(x, w, n), x, w)
        expected, pull_expected = jax.vjp(lambda x, w: jnp.einsum(equation, x, w), x, w)
        np.testing.assert_allclose(y, expected, rtol=1e-12)
        dy = jnp.asarray(rng.normal(size=y.shape))
        for found, wanted in zip(pull(dy), pull_expected(dy), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-11)


def test_per_example_gradients():
    """vmap goes through the rule: each example's gradient is its own."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(1)
        x_BTD, w_DF = jnp.asarray(rng.normal(size=(3, 5, 8))), jnp.asarray(rng.normal(size=(8, 6)))
        of_one = jax.grad(lambda w, x_TD: jnp.sum(jnp.sin(product(x_TD[None], w, 1))))
        each = jax.vmap(of_one, in_axes=(None, 0))(w_DF, x_BTD)
        for found, x_TD in zip(each, x_BTD, strict=True):
            np.testing.assert_allclose(found, of_one(w_DF, x_TD), rtol=1e-10, atol=1e-13)


def test_no_activation_is_transposed_on_a_cpu():
    """The gradient of a plain einsum over batch and position copies an operand; this is what `product` is for, and
    of the logits `widened`."""

    def transposed_rows(multiply):
        loss = lambda x, w: jnp.sum(jnp.sin(multiply(x, w)))
        step = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(jnp.ones((4, 96, 32)), jnp.ones((32, 48))).compile()
        return re.findall(r"f32\[(?:48|32),(?:384|4,96)\]", str(step.as_text()))

    assert transposed_rows(lambda x, w: jnp.einsum("BTD,DF->BTF", x, w))
    assert transposed_rows(lambda x, w: jnp.einsum("BTD,VD->BTV", x, w.T))
    assert not transposed_rows(lambda x, w: product(x, w, 1))
    assert not transposed_rows(lambda x, w: widened(x, w.T))


def test_the_gradient_of_the_logits_is_rounded_before_it_is_multiplied():
    """Which float32 logits of bfloat16 activations would not do by themselves."""
    keys = jax.random.split(jax.random.key(0), 3)
    x_BTD, w_VD = (
        jax.random.normal(key, shape, jnp.bfloat16) for key, shape in zip(keys, [(2, 3, 4), (5, 4)], strict=False)
    )
    d_BTV = jax.random.normal(keys[2], (2, 3, 5), jnp.float32)
    logits_BTV, pull = jax.vjp(widened, x_BTD, w_VD)
    assert logits_BTV.dtype == jnp.float32
    rounded_BTV = d_BTV.astype(jnp.bfloat16)
    assert not np.array_equal(rounded_BTV, d_BTV)
    for found, equation, other in zip(pull(d_BTV), ("BTV,VD->BTD", "BTV,BTD->VD"), (w_VD, x_BTD), strict=True):
        assert found.dtype == jnp.bfloat16
        np.testing.assert_array_equal(found, jnp.einsum(equation, rounded_BTV, other))
    multiplied = [line for line in jax.jit(pull).lower(d_BTV).as_text().splitlines() if "dot_general" in line]
    assert len(multiplied) == 2 and not any("f32" in line for line in multiplied)
