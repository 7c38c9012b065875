"""Which kernel attends: chosen once, where config and mesh are both known, so that what runs is what is printed.

| model.attention | platform | segments | more than one device along `sequence` |
|---|---|---|---|
| reference | any | yes | XLA divides it |
| blockwise | any | yes | XLA divides it |
| ring | any | yes | made for it |
| splash | TPU; interpreted on a CPU | yes | refused |
| cudnn | NVIDIA GPU from Ampere on, bfloat16, head width a multiple of 8 | context even | refused |

All take grouped keys. Only `reference` holds the weights, which dropout changes.
"""

import dataclasses

from jax.sharding import Mesh

from gptjax import mesh
from gptjax.config import BadInput, Config, ModelConfig
from gptjax.model import cudnn

AUTO = {"tpu": "splash", "gpu": "cudnn"}  # where their rules hold; else blockwise


def resolved(cfg: Config, on: Mesh) -> Config:
    """The config with `model.attention` the row of `attention.ATTENTION` that runs on this mesh; "auto" is decided.

    Raises BadInput where the kernel asked for cannot do it.
    """
    device, segmented = on.devices.flat[0], cfg.data.mask_documents
    # JAX's rule of a map over examples, as private gradients are, cannot read a mask that all heads share.
    fused = device.platform == "gpu" and cudnn.runs_on(device.compute_capability) and not (cfg.privacy.on and segmented)
    kernel = choose(cfg.model, device.platform, mesh.size(on, "sequence"), segmented, fused)
    return dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, attention=kernel))


def choose(cfg: ModelConfig, platform: str, n_sequence: int, segmented: bool, fused: bool) -> str:
    """The kernel for one platform ("cpu", "gpu", "tpu"), `n_sequence` devices along `sequence`, documents kept apart or
    not, and a GPU and a step in which cuDNN can attend or not. Raises BadInput."""
    if cfg.context % n_sequence:
        near = max(n for n in range(1, n_sequence + 1) if cfg.context % n == 0)
        raise BadInput(f"mesh.sequence={n_sequence} does not divide model.context={cfg.context}; try {near}")
    if cfg.attention == "auto":
        wanted = "ring" if n_sequence > 1 else AUTO.get(platform, "blockwise")
        if cfg.dropout:
            return "reference"
        return "blockwise" if refusal(wanted, cfg, platform, n_sequence, segmented, fused) else wanted
    kernel = cfg.attention.removesuffix("_interpreted")
    if why := refusal(kernel, cfg, platform, n_sequence, segmented, fused):
        raise BadInput(f"model.attention={kernel!r} {why}")
    return "splash_interpreted" if kernel == "splash" and platform == "cpu" else kernel


def refusal(kernel: str, cfg: ModelConfig, platform: str, n_sequence: int, segmented: bool, fused: bool) -> str:
    """Why a kernel cannot attend here, and what could; "" where it can."""
    if kernel != "reference" and cfg.dropout:
        return f"never holds the weights that model.dropout={cfg.dropout} acts on; try 'reference', or model.dropout=0"
    if kernel in ("splash", "cudnn") and n_sequence > 1:
        return f"needs every row whole, and mesh.sequence={n_sequence} divides it; try 'ring'"
    if kernel == "splash" and platform == "gpu":
        return "is for TPUs, and this is a GPU; try 'auto'"
    if kernel == "cudnn":
        if platform != "gpu":
            return f"is for GPUs, and this is a {platform.upper()}; try 'auto'"
        if not fused:
            why = f"needs an NVIDIA GPU of compute capability {cudnn.OLDEST} or newer"
            return f"{why}, and with privacy data.mask_documents=false; try 'auto'"
        if cfg.dtype != "bfloat16":
            return f"cannot compute in model.dtype={cfg.dtype!r}; try model.dtype='bfloat16', or 'blockwise'"
        if cfg.d_head % cudnn.WIDTH_UNIT or cfg.d_head > cudnn.WIDEST:
            return f"takes head widths of 8, 16, ... 128, not d_model/n_heads={cfg.d_head}; try 'blockwise'"
        if segmented and cfg.context % 2:
            return f"sees documents in even contexts alone, not model.context={cfg.context}; try {cfg.context + 1}"
    return ""
