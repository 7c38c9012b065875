"""Bounds and traffic of a step, in cases that can be counted by hand; and the search among layouts."""

import dataclasses

import pytest

from gptjax import config
from gptjax.config import BadInput
from gptjax.planning import chips, flops, memory, roofline, search, topology
from gptjax.planning.memory import Ways
from gptjax.planning.roofline import Roofline

CFG = config.load("configs/gpt2_124m.py", ["accumulate=1", "batch_tokens=524288", "loss.n_chunks=1"])
V5P = chips.CHIPS["TPU v5"]


def model(**changes) -> config.Config:
    return dataclasses.replace(CFG, model=dataclasses.replace(CFG.model, **changes))


def test_the_largest_known_bound_binds():
    assert Roofline(1.0, 3.0, None, 2.0).binding == "hbm"
    assert Roofline(1.0, 3.0, None, 2.0).step_s == 3.0
    assert Roofline(None, 3.0, None, None).step_s is None
    assert Roofline(None, None, None, None).binding is None


def test_compute_is_the_models_flops_at_the_peak_and_remat_adds_a_forward_pass():
    ways, work = Ways(1, 64, 1, 1), flops.train_flops_per_token(CFG.model) * CFG.batch_tokens
    assert roofline.bound(CFG, ways, V5P, {}).compute_s == pytest.approx(work / (64 * 459e12))
    layers = work / 3 - 2 * CFG.model.d_model * CFG.model.vocab_size * CFG.batch_tokens
    assert roofline.hardware_flops(model(remat="full")) == pytest.approx(work + layers)


def test_float32_and_unknown_chips_have_no_bound_on_compute():
    assert roofline.bound(model(dtype="float32"), Ways(1, 8, 1, 1), V5P, {}).compute_s is None
    assert roofline.bound(CFG, Ways(1, 8, 1, 1), None, {}) == (None,) * 4


def test_one_device_sends_nothing():
    assert roofline.traffic(CFG, Ways(1, 1, 1, 1), 1) == {}


def test_data_gathers_weights_twice_and_scatters_gradients():
    n = sum(one.size() for one in memory.parameters(CFG.model).values())
    sent = roofline.traffic(CFG, Ways(1, 4, 1, 1), 1)
    assert sent["all-gather"].ici_bytes == pytest.approx(2 * 2 * n * 3 / 4)
    assert sent["reduce-scatter"].ici_bytes == pytest.approx(2 * n * 3 / 4)
    assert "all-reduce" not in sent and all(one.dcn_bytes == 0 for one in sent.values())


def test_tensor_sums_the_residual_stream():
    m, tokens = CFG.model, CFG.batch_tokens / 4
    sent = roofline.traffic(CFG, Ways(1, 4, 2, 1), 1)["all-reduce"]
    assert sent.ici_bytes == pytest.approx(2 * 4 * m.n_layers * 2 * tokens * m.d_model / 2)


def test_replicas_between_slices_sum_their_gradients_by_the_slow_network():
    n = sum(one.size() for one in memory.parameters(CFG.model).values())
    sent = roofline.traffic(CFG, Ways(2, 4, 1, 1), 2)["all-reduce"]
    assert sent.dcn_bytes == pytest.approx(2 * 4 * n / 4 / 2) and sent.ici_bytes == 0


def test_replicas_within_a_slice_share_what_leaves_it():
    n = sum(one.size() for one in memory.parameters(CFG.model).values())
    sent = roofline.traffic(CFG, Ways(4, 2, 1, 1), 2)["all-reduce"]
    assert sent.ici_bytes == pytest.approx(2 * 4 * n / 2 / 2)  # two replicas of a slice
    assert sent.dcn_bytes == pytest.approx(2 * 4 * n / 2 / 2 / 2)  # each with its half, between two slices


def test_a_search_proposes_what_fits_and_can_be_loaded():
    on = topology.parse("v5e:4x4")
    found = search.best(CFG, on)
    assert 1 < len(found) <= 5
    for one in found:
        assert one.memory.total <= 0.9 * 16 * chips.GIB
        again = config.load(
            "configs/gpt2_124m.py", [*OF_CFG, *(text.removeprefix("--config.") for text in one.overrides)]
        )
        assert again == one.cfg
        assert again.batch_size % (one.ways.replica * one.ways.data * again.accumulate) == 0
    assert [one.seconds_a_token for one in found] == sorted(one.seconds_a_token for one in found)


OF_CFG = ["accumulate=1", "batch_tokens=524288", "loss.n_chunks=1"]


def test_a_search_between_slices_keeps_replicas_there():
    assert all(one.ways.replica == 2 for one in search.best(CFG, topology.parse("2*v5e:2x2")))


def test_where_nothing_fits_a_search_says_by_how_much():
    huge = model(d_model=12_288, n_heads=96, n_kv_heads=96, d_hidden=49_152, n_layers=96)
    with pytest.raises(BadInput, match=r"nothing fits: the least is \d+\.\d GiB a device"):
        search.best(huge, topology.parse("v5e:2x2"))
