"""Parameters as a model folder of Hugging Face, which transformers loads with no code of ours."""

import dataclasses
import json
import math
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np

from gptjax import tree
from gptjax.config import ModelConfig
from gptjax.data.tokenizers import Tokenizer
from gptjax.interop import layouts, options, safetensors_file, vocabularies
from gptjax.interop.huggingface import GENERATION, OURS, SETTINGS
from gptjax.interop.layouts import LAYER, Part
from gptjax.interop.weights import shapes_of

FILE_BYTES = 5_000_000_000  # of one file, above which there are several and an index
KEYS_AND_VALUES = tuple(f"{LAYER}attn/{name}" for name in ("w_k", "w_v", "b_k", "b_v"))


def write_model(
    folder: pathlib.Path,
    params: dict,
    cfg: ModelConfig,
    tokenizer: Tokenizer,
    generation: dict[str, Any],
    chat: dict[str, str],
) -> list[str]:
    """Makes the folder in one move; returns what of the model it says otherwise, or not at all.

    Raises BadInput, naming the option, for a model that neither GPT-2 nor Llama can express."""
    wider, notes = expressed(cfg)
    files = {"config.json": options.to_json(wider, tokenizer.end_of_text)}
    ends = {f"{kind}_token_id": tokenizer.end_of_text for kind in ("bos", "eos", "pad")}
    files[GENERATION] = generation or ends
    made = vocabularies.of(tokenizer, cfg.context)
    if not made:
        notes.append(f"transformers has no {tokenizer.name} tokenizer: the weights alone are for it")
    if chat:
        made[SETTINGS] = (made[SETTINGS] if made else {}) | chat
    part = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name, content in (files | made).items():
        (part / name).write_text(json.dumps(content, indent=None if name == "tokenizer.json" else 2) + "\n")
    if tokenizer.name != "gpt2":  # which is read back from tokenizer.json, the same
        tokenizer.save(part / OURS)
    write_weights(part, params, cfg, wider)
    if folder.is_dir():
        folder.rmdir()  # which is empty
    part.rename(folder)
    return notes


def expressed(cfg: ModelConfig) -> tuple[ModelConfig, list[str]]:
    """The config with which the family gives the same numbers, and what that changes."""
    notes = []
    if options.family_of(cfg) == "gpt2" and not cfg.bias:
        notes.append("model.bias=False: GPT-2 has biases, so zeros are written")
    if options.family_of(cfg) == "gpt2" and cfg.n_kv_heads != cfg.n_heads:
        notes.append(f"model.n_kv_heads={cfg.n_kv_heads}: GPT-2 has as many as heads, so each is written several times")
    if not notes:
        return cfg, notes
    return dataclasses.replace(cfg, bias=True, n_kv_heads=cfg.n_heads), notes


def write_weights(folder: pathlib.Path, params: dict, cfg: ModelConfig, wider: ModelConfig) -> None:
    """model.safetensors, or several files and their index; one tensor in memory at a time beside the parameters."""
    leaves = tree.named(params)
    shapes = {name: leaf.shape for name, leaf in tree.named(shapes_of(wider)).items()}
    by_tensor: dict[tuple[str, int], list[Part]] = {}
    for part in layouts.LAYOUTS[options.family_of(wider)](wider):
        for layer in range(cfg.n_layers if part.leaf.startswith(LAYER) else 1):
            by_tensor.setdefault((part.tensor.format(layer), layer), []).append(part)
    sizes = {
        name: layouts.tensor_shape(parts[0], shapes[parts[0].leaf], wider) for (name, _), parts in by_tensor.items()
    }
    places = {name: (layer, parts) for (name, layer), parts in by_tensor.items()}

    def tensors(names: list[str]) -> Iterator[np.ndarray]:
        for name in names:
            layer, parts = places[name]
            tensor = np.empty(sizes[name], np.float32)
            for part in parts:
                shape = layouts.in_layer(part, shapes[part.leaf], wider)
                layouts.within(part, tensor, shape)[...] = taken(part, layer, leaves, shape, cfg)
            yield tensor

    files = grouped(sizes)
    names = [f"model-{number + 1:05d}-of-{len(files):05d}.safetensors" for number in range(len(files))]
    if len(files) == 1:
        names = [safetensors_file.SINGLE]
    for file, group in zip(names, files, strict=True):
        safetensors_file.write(folder / file, {name: sizes[name] for name in group}, tensors(group))
    if len(files) > 1:
        index = {
            "metadata": {"total_size": sum(4 * math.prod(shape) for shape in sizes.values())},
            "weight_map": {name: file for file, group in zip(names, files, strict=True) for name in group},
        }
        (folder / safetensors_file.INDEX).write_text(json.dumps(index, indent=2) + "\n")


def taken(part: Part, layer: int, leaves: dict[str, Any], shape: tuple[int, ...], cfg: ModelConfig) -> np.ndarray:
    """What a part of a tensor holds, in the leaf's axes."""
    if part.leaf not in leaves:
        return np.zeros(shape, np.float32)  # a bias that the model lacks
    leaf = leaves[part.leaf]
    found = np.asarray(leaf[layer] if part.leaf.startswith(LAYER) else leaf)
    found = found if part.gate is None else found[part.gate]
    if part.leaf in KEYS_AND_VALUES and found.shape != shape:
        found = np.repeat(found, cfg.n_heads // cfg.n_kv_heads, axis=-2)
    return found[: shape[0]] if part.leaf in ("w_tok", "w_head") else found


def grouped(sizes: dict[str, tuple[int, ...]]) -> list[list[str]]:
    """The tensors of each file, in order."""
    files: list[list[str]] = [[]]
    used = 0
    for name, shape in sizes.items():
        n_bytes = 4 * math.prod(shape)
        if files[-1] and used + n_bytes > FILE_BYTES:
            files.append([])
            used = 0
        files[-1].append(name)
        used += n_bytes
    return files
