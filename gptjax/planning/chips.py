"""What chips can do at best, by the name that JAX gives them (`device.device_kind`).

A name that is not in the table has no peak: unknown means blank, never a guess. CPUs and slices of a GPU (MIG) are not.

`peak_flops` is the vendor's rate of dense 16-bit matmuls that add up in float32, in FLOP/s of one JAX device. NVIDIA's
data sheets print twice as much, "with sparsity". Only bfloat16 has a peak here: float32 runs as float32, TF32 or
bfloat16 passes, depending on the chip and on jax_default_matmul_precision.
`hbm_bytes` is the memory in the name of the chip; the runtime keeps a little of it for itself.

Sources: Cloud TPU's pages "TPU v3" to "TPU7x (Ironwood)"; NVIDIA's data sheets of V100, T4, A100, L4, H100, H200 and
HGX B200; the Ada white paper (RTX 4090); Baseten's comparison of A10 and A10G, which has no public data sheet.
"""

from typing import NamedTuple


class Chip(NamedTuple):
    peak_flops: float
    hbm_bytes: int


GIB = 2**30
CHIPS = {
    "TPU v3": Chip(123e12 / 2, 16 * GIB),  # a JAX device is one of the chip's two cores
    "TPU v4": Chip(275e12, 32 * GIB),
    "TPU v5 lite": Chip(197e12, 16 * GIB),  # v5e
    "TPU v5": Chip(459e12, 95 * GIB),  # v5p
    "TPU v6 lite": Chip(918e12, 32 * GIB),  # v6e, Trillium
    "TPU7x": Chip(2307e12 / 2, 96 * GIB),  # Ironwood; a JAX device is one of the chip's two cores
    "Tesla V100-SXM2-16GB": Chip(125e12, 16 * GIB),  # V100 and T4 multiply float16 only; their bfloat16 is slower
    "Tesla V100-SXM2-32GB": Chip(125e12, 32 * GIB),
    "Tesla V100-PCIE-16GB": Chip(112e12, 16 * GIB),
    "Tesla V100-PCIE-32GB": Chip(112e12, 32 * GIB),
    "Tesla T4": Chip(65e12, 16 * GIB),
    "NVIDIA A100-SXM4-40GB": Chip(312e12, 40 * GIB),
    "NVIDIA A100-SXM4-80GB": Chip(312e12, 80 * GIB),
    "NVIDIA A100-PCIE-40GB": Chip(312e12, 40 * GIB),
    "NVIDIA A100 80GB PCIe": Chip(312e12, 80 * GIB),
    "NVIDIA A10G": Chip(70e12, 24 * GIB),
    "NVIDIA L4": Chip(121e12, 24 * GIB),
    "NVIDIA GeForce RTX 4090": Chip(165.2e12, 24 * GIB),
    "NVIDIA H100 80GB HBM3": Chip(989.4e12, 80 * GIB),  # SXM
    "NVIDIA H100 PCIe": Chip(756e12, 80 * GIB),
    "NVIDIA H200": Chip(989.4e12, 141 * GIB),
    "NVIDIA B200": Chip(2250e12, 180 * GIB),
}
ALIASES = {"TPU v5e": "TPU v5 lite", "TPU v5p": "TPU v5", "TPU v6e": "TPU v6 lite"}  # JAX knows both names


def find(device_kind: str) -> Chip | None:
    """The chip that JAX calls so; None where it is unknown."""
    return CHIPS.get(ALIASES.get(device_kind, device_kind))


def peak_flops(device_kind: str, dtype: str = "bfloat16") -> float | None:
    """FLOP/s of one device at best; None where that is unknown."""
    chip = find(device_kind)
    return chip.peak_flops if chip is not None and dtype == "bfloat16" else None
