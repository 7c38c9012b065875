"""Names of machines: what is meant, and what is refused with which advice."""

from typing import NamedTuple

import pytest
from jax.experimental import topologies

from gptjax.config import BadInput
from gptjax.planning import chips, topology


class Found(NamedTuple):
    devices: list


@pytest.mark.parametrize(
    ("text", "kind", "n_chips", "n_devices", "n_islands"),
    [
        ("v5e:16x16", "TPU v5 lite", 256, 256, 1),
        ("v4:4x4x4", "TPU v4", 64, 64, 1),
        ("v5p:8x8x8", "TPU v5", 512, 512, 1),
        ("2*v5p:8x8x8", "TPU v5", 1024, 1024, 2),
        ("v6e:2x4", "TPU v6 lite", 8, 8, 1),
        ("7x:4x4x4", "TPU7x", 64, 128, 1),
        ("h100:2x8", "NVIDIA H100 80GB HBM3", 16, 16, 2),
        ("h200:1x8", "NVIDIA H200", 8, 8, 1),
        ("a100:4x8", "NVIDIA A100-SXM4-80GB", 32, 32, 4),
        ("a100-40gb:1x1", "NVIDIA A100-SXM4-40GB", 1, 1, 1),
        ("rtx4090", "NVIDIA GeForce RTX 4090", 1, 1, 1),
        ("l40s", "NVIDIA L40S", 1, 1, 1),
        ("H100", "NVIDIA H100 80GB HBM3", 1, 1, 1),
    ],
)
def test_what_a_name_means(text, kind, n_chips, n_devices, n_islands):
    found = topology.parse(text)
    assert found.family.kind == kind and found.chip == chips.CHIPS[kind]
    assert (found.n_chips, found.n_devices, found.n_islands) == (n_chips, n_devices, n_islands)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("v5e:16x15", "v5e:16x16"),
        ("v5e:4x4x4", "v5e:8x8"),
        ("v5p:8x8", "v5p:4x4x4"),
        ("2*v5p:8x8x6", "2*v5p:"),
        ("v5p:4x4x5", "v5p:4x4x4"),
        ("h100:16", "h100:2x8"),
        ("h100:1x9", "h100:2x8"),
        ("0*v5e:4x4", "v5e:4x4"),
        ("v5x:4x4", "did you mean v5"),
        ("h1000:1x8", "did you mean h100?"),
        ("tpu", "try "),
        ("rtx3060:1x1", "for another, leave --topology out and hold what a device needs against its memory"),
        ("", "try "),
        ("none.txtpb:1x8", "--save-target=none.txtpb"),
    ],
)
def test_another_name_is_refused_with_the_nearest(text, advice):
    with pytest.raises(BadInput) as refused:
        topology.parse(text)
    assert advice in str(refused.value) and "\n" not in str(refused.value)


def test_the_name_of_one_gpu_is_answered_with_one():
    with pytest.raises(BadInput, match="try rtx4090$"):
        topology.parse("rtx4091")


@pytest.mark.parametrize("family", topology.FAMILIES)
def test_the_example_of_every_family_is_right(family):
    assert topology.parse(f"{family}:{topology.example(family)}").family == topology.FAMILIES[family]


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("2*v5p:4x4x8", {"topology_name": "v5p:4x4x8", "num_slices": 2, "wrap": (True, True, True)}),
        ("v5p:2x2x4", {"topology_name": "v5p:2x2x4", "num_slices": 1}),
        ("v5e:16x16", {"topology_name": "v5e:16x16", "num_slices": 1}),
        ("v5e:1x1", {"topology_name": "v5e:1x1", "num_slices": 1, "chips_per_host_bounds": (1, 1, 1)}),
        ("v4:2x2x1", {"topology_name": "v4:2x2x1", "num_slices": 1, "chip_config_name": "megacore"}),
    ],
)
def test_what_the_compiler_is_asked_for(text, asked, monkeypatch):
    heard = []
    monkeypatch.setattr(topologies, "get_topology_desc", lambda **kinds: heard.append(kinds) or Found([text]))
    assert topology.devices(topology.parse(text)) == [text]
    assert heard == [asked | {"platform": "tpu"}]


def test_a_saved_gpu_is_known_by_its_name():
    found = topology.parse(f"{topology.TARGETS / 'h100.txtpb'}:3x8")
    assert (found.family.kind, found.n_devices, found.n_islands) == ("NVIDIA H100 80GB HBM3", 24, 3)


@pytest.mark.parametrize("family", ["h100", "h200", "a100"])
def test_a_description_says_what_the_table_of_chips_says(family):
    found = topology.parse(f"{family}:1x8")
    lines = (topology.TARGETS / found.family.name).read_text().splitlines()
    said = {key.strip(): value.split("#")[0].strip() for key, _, value in (line.partition(":") for line in lines)}
    assert found.chip is not None
    assert said["name"].strip('"') == found.family.kind
    assert float(said["memory_bandwidth"]) == pytest.approx(found.chip.hbm_bandwidth, rel=0.01)
    assert float(said["device_memory_size"]) == pytest.approx(found.chip.hbm_bytes, rel=0.08)  # H200: 141 GB, not GiB
