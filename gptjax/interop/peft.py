"""Adapters as a folder of PEFT's, which `peft` loads beside the exported base with no code of ours.

PEFT has one pair of matrices a module. GPT-2 keeps q, k and v in one, `c_attn`: the adapters of k of them become one
pair of rank k r, the a's below each other and the b's as blocks, with k alpha, so that alpha / rank stays.
"""

import json
import os
import pathlib
import shutil
from typing import Any, NamedTuple

import numpy as np

from gptjax import tree
from gptjax.config import BadInput, Config
from gptjax.interop import export, layouts, options, safetensors_file
from gptjax.interop.layouts import LAYER, Part
from gptjax.model import adapters
from gptjax.model.adapters import A, B

SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
Pair = tuple[np.ndarray, np.ndarray]


class Module(NamedTuple):
    """A module with adapters: its parts that have some."""

    name: str  # `{}` for the layer
    parts: list[Part]

    @property
    def kind(self) -> str:
        """What its name is in every layer."""
        return self.name.split("{}.")[-1] if "{}" in self.name else self.name.split(".")[-1]


def write_adapters(folder: pathlib.Path, params: dict, cfg: Config) -> None:
    """Makes the folder in one move, of parameters with adapters beside them. Raises BadInput for what PEFT cannot
    hold."""
    family, leaves = options.family_of(cfg.model), tree.named(params)
    if cfg.model.tied and "w_tok" + A in leaves:
        raise BadInput(
            "lora.matrices: w_tok is the head too (model.tied), and PEFT would change the lookup alone; "
            "without --adapter the weights are exported with their adapters merged in"
        )
    modules = found_modules(family, cfg, leaves)
    pairs: dict[str, np.ndarray] = {}
    for module in modules:
        embedding = module.parts[0].leaf in adapters.LOOKUPS
        for layer in range(cfg.model.n_layers if "{}" in module.name else 1):
            a, b = pair(module, layer, leaves, cfg)
            at = f"base_model.model.{module.name.format(layer)}.lora_"
            names = ("embedding_A", "embedding_B") if embedding else ("A.weight", "B.weight")
            pairs |= {at + names[0]: a, at + names[1]: b}
    part = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    (part / SETTINGS).write_text(json.dumps(settings(family, modules, cfg), indent=2) + "\n")
    safetensors_file.write(part / WEIGHTS, {name: x.shape for name, x in pairs.items()}, pairs.values())
    if folder.is_dir():
        folder.rmdir()  # which is empty
    part.rename(folder)


def found_modules(family: str, cfg: Config, leaves: dict[str, Any]) -> list[Module]:
    by_name: dict[str, list[Part]] = {}
    for part in layouts.LAYOUTS[family](cfg.model):
        if part.leaf + A in leaves:
            by_name.setdefault(part.tensor.removesuffix(".weight"), []).append(part)
    return [Module(name, parts) for name, parts in by_name.items()]


def settings(family: str, modules: list[Module], cfg: Config) -> dict[str, Any]:
    """adapter_config.json."""
    several = {module.kind: len(module.parts) for module in modules if len(module.parts) > 1}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": None,
        "inference_mode": True,
        "r": cfg.lora.rank,
        "lora_alpha": cfg.lora.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": family == "gpt2",
        "target_modules": [module.kind for module in modules],
        "rank_pattern": {kind: n * cfg.lora.rank for kind, n in several.items()},
        "alpha_pattern": {kind: n * cfg.lora.alpha for kind, n in several.items()},
    }


def pair(module: Module, layer: int, leaves: dict[str, Any], cfg: Config) -> Pair:
    """A module's two matrices in one layer: (rank, inputs) and (outputs, rank)."""
    found = [of_part(part, layer, leaves, cfg) for part in module.parts]
    a, rank, width = np.concatenate([a for a, _ in found]), cfg.lora.rank, len(found[0][1])
    b = np.zeros((width * module.parts[0].columns, len(a)), np.float32)
    for number, (part, (_, of)) in enumerate(zip(module.parts, found, strict=True)):
        b[part.column * width : (part.column + 1) * width, number * rank : (number + 1) * rank] = of
    return a, b


def of_part(part: Part, layer: int, leaves: dict[str, Any], cfg: Config) -> Pair:
    a, b = (np.asarray(leaves[part.leaf + suffix], np.float32) for suffix in (A, B))
    if part.leaf.startswith(LAYER):
        a, b = a[layer], b[layer]
    if part.gate is not None:
        a, b = a[part.gate], b[part.gate]
    model = cfg.model
    if part.leaf in export.KEYS_AND_VALUES and options.family_of(model) == "gpt2":  # each head's own, as exported
        b = np.repeat(b, model.n_heads // model.n_kv_heads, axis=-2)
    if part.leaf == "w_tok":
        a = a[: model.vocab_size]
    if part.leaf == "w_head":
        b = b[:, : model.vocab_size]
    return a.reshape(-1, cfg.lora.rank).T, b.reshape(cfg.lora.rank, -1).T
