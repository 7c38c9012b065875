import types

import jax
import pytest

from gptjax.planning import measured

MEMORY = types.SimpleNamespace(
    argument_size_in_bytes=100, output_size_in_bytes=90, alias_size_in_bytes=80, temp_size_in_bytes=50
)


def test_the_error_of_a_plan_is_a_fraction_of_it():
    found = measured.against_plan({"peak_bytes_in_use": 200}, MEMORY)
    assert found == {"perf/memory_bytes": 200.0, "perf/memory_over_plan": pytest.approx(0.25)}


def test_a_device_that_counts_nothing_says_nothing():
    assert measured.against_plan(jax.devices("cpu")[0].memory_stats(), MEMORY) == {}
