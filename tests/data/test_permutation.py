import numpy as np
import pytest
from grain.experimental import index_shuffle

from gptjax.data.permutation import permuted

KEYS = [0, 5, 2**32 - 1]


@pytest.mark.parametrize(
    "n", [1, 2, 63, 1000, 2**16 - 1, 2**16, 2**16 + 2, 70_000, 2**18, 3_906_250, 2**33 + 7, 10**14]
)
@pytest.mark.parametrize("key", KEYS)
def test_the_order_is_the_one_that_grain_gives(n, key):
    """Runs that began with grain's own function go on with the same batches."""
    at_B = np.unique(np.r_[0, n - 1, np.random.default_rng(0).integers(0, n, 100)])
    assert permuted(at_B, n, key).tolist() == [index_shuffle(at, n - 1, key, 4) for at in at_B.tolist()]


@pytest.mark.parametrize("n", [1, 2, 63, 2**16 - 1, 2**16, 2**16 + 1, 2**16 + 2, 2**18 + 1])
@pytest.mark.parametrize("key", KEYS)
def test_every_number_below_n_stands_somewhere_once(n, key):
    """Also where n - 1 is a power of 4, where grain's function gives one number twice and n - 1 never."""
    assert np.array_equal(np.sort(permuted(np.arange(n), n, key)), np.arange(n))
