"""The table of peaks against two other sources: JAX's own table of TPUs, and what NVIDIA's chips are made of."""

import jax
import pytest
from jax.experimental.pallas import tpu

from gptjax.planning import chips

CORES = {  # of the chip: (version, cores in one JAX device)
    "TPU v4": (tpu.ChipVersion.TPU_V4, 2),
    "TPU v5 lite": (tpu.ChipVersion.TPU_V5E, 1),
    "TPU v5": (tpu.ChipVersion.TPU_V5P, 2),
    "TPU v6 lite": (tpu.ChipVersion.TPU_V6E, 1),
    "TPU7x": (tpu.ChipVersion.TPU_7X, 1),
}
MADE_OF = {  # multiprocessors, boost clock in GHz, tensor FLOPs a clock of each (NVIDIA's architecture white papers)
    "Tesla V100-SXM2-16GB": (80, 1.53, 1024),
    "Tesla V100-SXM2-32GB": (80, 1.53, 1024),
    "Tesla V100-PCIE-16GB": (80, 1.38, 1024),
    "Tesla V100-PCIE-32GB": (80, 1.38, 1024),
    "Tesla T4": (40, 1.59, 1024),
    "NVIDIA A100-SXM4-40GB": (108, 1.41, 2048),
    "NVIDIA A100-SXM4-80GB": (108, 1.41, 2048),
    "NVIDIA A100-PCIE-40GB": (108, 1.41, 2048),
    "NVIDIA A100 80GB PCIe": (108, 1.41, 2048),
    "NVIDIA A10G": (80, 1.71, 512),
    "NVIDIA L4": (58, 2.04, 1024),
    "NVIDIA GeForce RTX 3090": (82, 1.695, 512),
    "NVIDIA GeForce RTX 4090": (128, 2.52, 512),
    "NVIDIA GeForce RTX 5090": (170, 2.407, 512),
    "NVIDIA H100 80GB HBM3": (132, 1.83, 4096),
    "NVIDIA H100 PCIe": (114, 1.62, 4096),
    "NVIDIA H200": (132, 1.83, 4096),
}


@pytest.mark.parametrize("kind", CORES)
def test_tpus_agree_with_jax(kind):
    version, cores = CORES[kind]
    info = tpu.get_tpu_info_for_chip(version, cores)
    assert chips.CHIPS[kind].peak_flops == pytest.approx(cores * info.bf16_ops_per_second, rel=0.01)
    assert chips.CHIPS[kind].hbm_bytes == pytest.approx(cores * info.hbm_capacity_bytes, rel=0.01)
    if kind != "TPU v5":  # of which JAX has 2460e9, Google's page 2765e9
        assert chips.CHIPS[kind].hbm_bandwidth == pytest.approx(cores * info.mem_bw_bytes_per_second, rel=0.02)


@pytest.mark.parametrize("kind", MADE_OF)
def test_gpus_agree_with_what_they_are_made_of(kind):
    multiprocessors, clock, flops = MADE_OF[kind]
    assert chips.peak_flops(kind) == pytest.approx(multiprocessors * clock * 1e9 * flops, rel=0.01)


def test_every_chip_is_held_against_another_source_or_named_here():
    # JAX has 140e12 for the TPU v3, Google's page 123e12; the B200's clock is not published; the L40S's data sheet
    # stays 1.2 % below its clock.
    assert set(chips.CHIPS) - set(CORES) - set(MADE_OF) == {"TPU v3", "NVIDIA B200", "NVIDIA L40S"}


def test_memory_is_the_one_in_the_name():
    named = {kind: int(size) for kind in chips.CHIPS for size in [kind.partition("GB")[0][-2:]] if "GB" in kind}
    assert len(named) == 9
    assert {kind: chips.CHIPS[kind].hbm_bytes >> 30 for kind in named} == named


def test_rates_of_networks_come_with_their_shape():
    for kind, chip in chips.CHIPS.items():
        assert (chip.ici_bandwidth is None) == (chip.torus is None), kind
        rates = [rate for rate in (chip.dcn_bandwidth, chip.ici_bandwidth, chip.hbm_bandwidth) if rate is not None]
        assert rates == sorted(rates), kind


@pytest.mark.parametrize(
    "kind", [jax.devices()[0].device_kind, "NVIDIA H100", "NVIDIA A100-SXM4-40GB MIG 1g.5gb", "TPU v9", ""]
)
def test_an_unknown_chip_has_no_peak(kind):
    assert chips.peak_flops(kind) is None


def test_a_dtype_without_a_known_rate_has_no_peak():
    assert chips.peak_flops("TPU v4", "float32") is None


def test_both_names_of_a_tpu_are_one_chip():
    assert chips.peak_flops("TPU v5e") == chips.peak_flops("TPU v5 lite") == 197e12
    assert chips.find("TPU v5p") == chips.find("TPU v5") != chips.find("TPU v5e")
