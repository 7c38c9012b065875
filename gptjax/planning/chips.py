"""What chips can do at best, by the name that JAX gives them (`device.device_kind`).

A name that is not in the table has no peak: unknown means blank, never a guess. CPUs and slices of a GPU (MIG) are not.
All figures are of one JAX device, which is one chip but for TPU v3 and TPU7x, where it is one of the chip's two cores.

`peak_flops` is the vendor's rate of dense 16-bit matmuls that add up in float32, in FLOP/s. NVIDIA's data sheets print
twice as much, "with sparsity". Only bfloat16 has a peak here: float32 runs as float32, TF32 or bfloat16 passes,
depending on the chip and on jax_default_matmul_precision.
`hbm_bytes` is the memory in the name of the chip; the runtime keeps a little of it for itself.
`hbm_bandwidth` is the memory's, in bytes/s.
`ici_bandwidth` is what a device can send at once over all its fast links (ICI, NVLink), in bytes/s: half of what
vendors call bidirectional. `torus` is the number of sides of the torus that those links form, 0 where they meet in a
switch; a device sends along one side no more than its share.
`dcn_bandwidth` is what a device can send to other slices or hosts, in bytes/s.

Sources: Cloud TPU's pages "TPU v3" to "TPU7x (Ironwood)", the last of which has a table of HBM, ICI and DCN of v5p, v6e
and 7x; Jouppi et al. 2023 (TPU v4: six links of 50 GB/s); NVIDIA's data sheets of V100, T4, A100, L4, L40S, H100, H200
and HGX B200; the white papers of GA102 (RTX 3090), Ada (RTX 4090) and RTX Blackwell (RTX 5090); Baseten's comparison of
A10 and A10G, which has no public data sheet. A GPU's `dcn_bandwidth` is its network card's in NVIDIA's own DGX of that
GPU (200 Gb/s in DGX A100, 400 Gb/s in DGX H100, H200 and B200): other clusters differ.
"""

from typing import NamedTuple


class Chip(NamedTuple):
    """The best that one JAX device can do, in the units above; None is unknown."""

    peak_flops: float
    hbm_bytes: int
    hbm_bandwidth: float | None = None
    ici_bandwidth: float | None = None
    torus: int | None = None
    dcn_bandwidth: float | None = None


GIB = 2**30
GBIT = 1e9 / 8  # a gigabit, in bytes
CHIPS = {
    "TPU v3": Chip(123e12 / 2, 16 * GIB, 900e9 / 2),  # a JAX device is one of the chip's two cores
    "TPU v4": Chip(275e12, 32 * GIB, 1228e9, 6 * 50e9, 3),
    "TPU v5 lite": Chip(197e12, 16 * GIB, 819e9, 400e9 / 2, 2),  # v5e
    "TPU v5": Chip(459e12, 95 * GIB, 2765e9, 1200e9 / 2, 3, 50 * GBIT),  # v5p
    "TPU v6 lite": Chip(918e12, 32 * GIB, 1638e9, 800e9 / 2, 2, 100 * GBIT),  # v6e, Trillium
    "TPU7x": Chip(2307e12 / 2, 96 * GIB, 7380e9 / 2, 1200e9 / 4, 3, 100 * GBIT / 2),  # Ironwood; halves of a chip's
    "Tesla V100-SXM2-16GB": Chip(
        125e12, 16 * GIB, 900e9, 300e9 / 2, 0
    ),  # V100 and T4 multiply float16 only; their bfloat16 is slower
    "Tesla V100-SXM2-32GB": Chip(125e12, 32 * GIB, 900e9, 300e9 / 2, 0),
    "Tesla V100-PCIE-16GB": Chip(112e12, 16 * GIB, 900e9),
    "Tesla V100-PCIE-32GB": Chip(112e12, 32 * GIB, 900e9),
    "Tesla T4": Chip(65e12, 16 * GIB, 320e9),
    "NVIDIA A100-SXM4-40GB": Chip(312e12, 40 * GIB, 1555e9, 600e9 / 2, 0, 200 * GBIT),
    "NVIDIA A100-SXM4-80GB": Chip(312e12, 80 * GIB, 2039e9, 600e9 / 2, 0, 200 * GBIT),
    "NVIDIA A100-PCIE-40GB": Chip(312e12, 40 * GIB, 1555e9),
    "NVIDIA A100 80GB PCIe": Chip(312e12, 80 * GIB, 1935e9),
    "NVIDIA A10G": Chip(70e12, 24 * GIB, 600e9),
    "NVIDIA L4": Chip(121e12, 24 * GIB, 300e9),
    "NVIDIA L40S": Chip(362e12, 48 * GIB, 864e9),
    "NVIDIA GeForce RTX 3090": Chip(71e12, 24 * GIB, 936e9),
    "NVIDIA GeForce RTX 4090": Chip(165.2e12, 24 * GIB, 1008e9),
    "NVIDIA GeForce RTX 5090": Chip(209.5e12, 32 * GIB, 1792e9),
    "NVIDIA H100 80GB HBM3": Chip(989.4e12, 80 * GIB, 3350e9, 900e9 / 2, 0, 400 * GBIT),  # SXM
    "NVIDIA H100 PCIe": Chip(756e12, 80 * GIB, 2000e9),
    "NVIDIA H200": Chip(989.4e12, 141 * GIB, 4800e9, 900e9 / 2, 0, 400 * GBIT),
    "NVIDIA B200": Chip(2250e12, 180 * GIB, 8000e9, 1800e9 / 2, 0, 400 * GBIT),
}
ALIASES = {"TPU v5e": "TPU v5 lite", "TPU v5p": "TPU v5", "TPU v6e": "TPU v6 lite"}  # JAX knows both names


def find(device_kind: str) -> Chip | None:
    """The chip that JAX calls so; None where it is unknown."""
    return CHIPS.get(ALIASES.get(device_kind, device_kind))


def peak_flops(device_kind: str, dtype: str = "bfloat16") -> float | None:
    """FLOP/s of one device at best; None where that is unknown."""
    chip = find(device_kind)
    return chip.peak_flops if chip is not None and dtype == "bfloat16" else None
