from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gptjax import tree


class Pair(NamedTuple):
    first: dict
    second: tuple


LEAVES = {"b": {"w": jnp.ones((2, 3)), "bias": jnp.full(4, 2.0)}, "a": jnp.zeros(())}


def test_names_follow_dicts_named_tuples_and_positions():
    nested = Pair({"blocks": {"w_q": 1, "b_q": 2}}, (3, [4]))
    expected = {"first/blocks/b_q": 2, "first/blocks/w_q": 1, "second/0": 3, "second/1/0": 4}
    assert list(tree.named(nested).items()) == list(expected.items())


def test_names_are_in_the_order_of_the_leaves():
    assert list(tree.named(LEAVES)) == ["a", "b/bias", "b/w"]
    assert [leaf.shape for leaf in tree.named(LEAVES).values()] == [leaf.shape for leaf in jax.tree.leaves(LEAVES)]


def test_map_named_gives_each_leaf_its_own_name():
    assert tree.map_named(lambda name, leaf: (name, leaf.size), LEAVES) == {
        "a": ("a", 1),
        "b": {"w": ("b/w", 6), "bias": ("b/bias", 4)},
    }


def test_a_mask_finds_its_pattern_anywhere_in_the_name():
    assert tree.mask(LEAVES, "b/") == {"a": False, "b": {"w": True, "bias": True}}
    assert tree.mask(LEAVES, "(^a|w)$") == {"a": True, "b": {"w": True, "bias": False}}


def test_count_is_of_scalars_and_needs_only_shapes():
    assert tree.count(LEAVES) == 2 * 3 + 4 + 1
    assert tree.count(jax.eval_shape(lambda: LEAVES)) == 11
    assert tree.count({}) == 0


def test_norm_is_of_all_leaves_together():
    np.testing.assert_allclose(tree.norm(LEAVES), np.sqrt(6 * 1 + 4 * 4), rtol=1e-6)


def test_norm_of_bfloat16_leaves_adds_up_in_float32():
    ones = {"x": jnp.ones(1000, jnp.bfloat16), "y": jnp.ones(1, jnp.bfloat16)}  # bfloat16 has no 1001
    assert tree.norm(ones).dtype == jnp.float32
    np.testing.assert_allclose(tree.norm(ones), np.sqrt(1001), rtol=1e-6)
