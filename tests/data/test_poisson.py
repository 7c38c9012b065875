"""Who is in a private batch: each example with the same probability, whoever else is."""

import jax
import numpy as np
import pytest

from gptjax.config import BadInput
from gptjax.data import batches
from gptjax.data.poisson import PoissonBatches, Windows
from tests.data.test_batches import store_of

KEY = bytes(range(32))


def assert_rows_of(part, whole, rows):
    """Every array of a batch is that of some rows of another."""
    jax.tree.map(lambda mine, of_all: np.testing.assert_array_equal(mine, of_all[rows]), part, whole)


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """50 windows of 8 tokens, the last of 5."""
    return Windows(store_of(tmp_path_factory.mktemp("few") / "store", range(1, 8 * 49 + 7)), 8, True, 0)


def drawn_in(found, n_steps):
    """Whether each example was in each step: (S, N)."""
    return np.stack([np.isin(np.arange(found.examples.n_examples), found.drawn(at)) for at in range(n_steps)])


def test_each_example_comes_with_the_same_probability_independently(examples):
    found = PoissonBatches(examples, mean=10, most=50, key=KEY)
    came_SN = drawn_in(found, 4000)
    p, n = 0.2, 4000
    rates_N = came_SN.mean(0)
    assert np.abs(rates_N - p).max() < 4.5 * (p * (1 - p) / n) ** 0.5
    sizes_S = came_SN.sum(1)
    assert sizes_S.var() == pytest.approx(50 * p * (1 - p), rel=0.15), "of a fixed number it would be 0"
    correlation_NN = np.corrcoef(came_SN.T) - np.eye(50)
    assert np.abs(correlation_NN).max() < 5 / n**0.5, "of 1,225"
    again_N = (came_SN[1:] & came_SN[:-1]).mean(0)
    assert np.abs(again_N - p**2).max() < 5 * (p**2 / n) ** 0.5, "a step knows nothing of the one before"


def test_a_batch_holds_the_windows_that_were_drawn_and_empty_rows(examples):
    found = PoissonBatches(examples, mean=10, most=30, key=KEY)
    batch, drawn = found(3), found.drawn(3)
    expected = examples.rows(drawn)
    assert 0 < len(drawn) < 30 and batch.inputs_BT.shape == (30, 8)
    assert_rows_of(expected, batch, np.arange(len(drawn)))
    assert batch.weights_BT[len(drawn) :].sum() == 0 and batch.inputs_BT[len(drawn) :].sum() == 0
    plain = batches.fixed(examples.store, batch_size=50, context=8, n_tokens=10**6, mask_documents=True, end_of_text=0)[
        0
    ]
    assert_rows_of(expected, plain, drawn)


def test_a_batch_is_a_function_of_the_key_and_the_step(examples):
    make = lambda key: PoissonBatches(examples, mean=10, most=30, key=key)
    found, other = make(KEY), make(KEY[::-1])
    np.testing.assert_array_equal(found(5).inputs_BT, make(KEY)(5).inputs_BT)
    assert set(found.drawn(5)) != set(found.drawn(6)) and set(found.drawn(5)) != set(other.drawn(5))


def test_processes_read_their_rows_of_one_batch(examples):
    whole = PoissonBatches(examples, mean=10, most=30, key=KEY)(2)
    for rows in (range(0, 10), [1, 5, 29]):
        part = PoissonBatches(examples, mean=10, most=30, key=KEY, rows=rows)(2)
        assert_rows_of(part, whole, np.array(rows))


def test_who_is_left_out_of_a_full_batch_is_anybody(examples):
    found = PoissonBatches(examples, mean=10, most=10, key=KEY)
    came_SN = drawn_in(found, 4000)
    assert came_SN.sum(1).max() == 10
    p = came_SN.sum() / came_SN.size
    assert 0.15 < p < 0.19, "some are left out"
    assert np.abs(came_SN.mean(0) - p).max() < 4.5 * (p * (1 - p) / 4000) ** 0.5


def test_a_text_that_is_too_small_is_refused(examples):
    with pytest.raises(BadInput, match="there are 50; try 5 x model.context"):
        PoissonBatches(examples, mean=50, most=60, key=KEY)
