"""The weights of a model folder, as parameters; each device reads its own part of the mapped files."""

import functools
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from gptjax import tree
from gptjax.config import BadInput, ModelConfig
from gptjax.interop import layouts
from gptjax.interop.layouts import LAYER, Part
from gptjax.interop.options import Options
from gptjax.interop.safetensors_file import Tensors
from gptjax.model import gpt

ALIGNED = 64  # bytes; XLA's CPU backend takes over such an array without a copy
FLOATS = ("F32", "F16", "BF16")
BUFFERS = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")  # constants that old files hold
CHUNK = 8 * 2**20  # bytes of a file that a thread keeps in memory
N_THREADS = 4  # copying waits for memory and disk


def shapes_of(cfg: ModelConfig) -> dict:
    """The model's parameters as jax.ShapeDtypeStructs; nothing is allocated."""
    return jax.eval_shape(functools.partial(gpt.init, cfg=cfg), jax.random.key(0))


def read(tensors: Tensors, options: Options, places: Any) -> dict:
    """The parameters, float32, where `places` (a tree of shardings) says. Raises BadInput for tensors that lack, that
    are of another shape or type, and that the model has no place for."""
    names = checked(tensors, options)
    parts: dict[str, list[Part]] = {}
    for part in layouts.LAYOUTS[options.family](options.model):
        parts.setdefault(part.leaf, []).append(part._replace(tensor=names[part.tensor]))
    with ThreadPoolExecutor(N_THREADS) as pool:

        def array(name: str, shape: jax.ShapeDtypeStruct, place: jax.sharding.Sharding) -> jax.Array:
            one = functools.partial(piece, tensors, options, parts[name], shape.shape, pool)
            return jax.make_array_from_callback(shape.shape, place, one)

        found = tree.named(places)
        return tree.map_named(lambda name, shape: array(name, shape, found[name]), shapes_of(options.model))


def piece(
    tensors: Tensors, options: Options, parts: list[Part], shape: tuple[int, ...], pool: ThreadPoolExecutor, index: Any
) -> np.ndarray:
    """One device's piece of a parameter of a whole shape."""
    ranges = [range(side)[at] for side, at in zip(shape, index, strict=True)]
    out = aligned(tuple(len(found) for found in ranges))
    cfg, layered = options.model, parts[0].leaf.startswith(LAYER)

    def fill(part: Part, layer: int | None) -> None:
        tensor = part.tensor if layer is None else part.tensor.format(layer)
        inside = layouts.within(part, tensors.view(tensor), layouts.in_layer(part, shape, cfg))
        target = out if layer is None else out[layer - ranges[0].start]
        axes = ranges if layer is None else ranges[1:]
        if part.gate is not None:
            if part.gate not in axes[0]:
                return
            target, axes = target[part.gate - axes[0].start], axes[1:]
        inside = inside[tuple(slice(axis.start, axis.stop) for axis in axes)]
        at_once = max(1, len(inside) * CHUNK // max(1, inside.nbytes))
        for first in range(0, len(inside), at_once):
            target[first : min(first + at_once, len(inside))] = inside[first : first + at_once]
            tensors.forget(tensor)
        target[len(inside) :] = 0  # the rows that pad the vocabulary
        if part.leaf in (f"{LAYER}attn/w_q", f"{LAYER}attn/b_q") and layer is not None:
            scale_queries(target, layer, options)

    layers = ranges[0] if layered else [None]
    list(pool.map(lambda job: fill(*job), [(part, layer) for layer in layers for part in parts]))
    return out


def scale_queries(queries: np.ndarray, layer: int, options: Options) -> None:
    """Puts into the weights what the folder's attention divides scores by and ours does not."""
    if not options.scale_by_head:
        queries *= math.sqrt(options.model.d_head)
    if options.scale_by_layer:
        queries /= layer + 1


def aligned(shape: tuple[int, ...]) -> np.ndarray:
    n_bytes = 4 * math.prod(shape)
    room = np.empty(n_bytes + ALIGNED, np.uint8)
    first = -room.ctypes.data % ALIGNED
    return room[first : first + n_bytes].view(np.float32).reshape(shape)


def checked(tensors: Tensors, options: Options) -> dict[str, str]:
    """{name in the layout: name in the files}, `{}` for the layer, once every tensor is known to fit."""
    cfg, base = options.model, layouts.BASE[options.family]
    shapes = {name: leaf.shape for name, leaf in tree.named(shapes_of(cfg)).items()}
    parts = layouts.LAYOUTS[options.family](cfg)
    bare = parts[0].tensor not in tensors  # a file of the model without its head
    names = {part.tensor: part.tensor.removeprefix(base) if bare else part.tensor for part in parts}
    known = set()
    for part in parts:
        wanted = layouts.tensor_shape(part, shapes[part.leaf], cfg)
        for name in in_layers(names[part.tensor], part, cfg):
            if name not in tensors:
                raise BadInput(f"the weights lack {name}, which config.json asks for")
            entry = tensors.entry(name)
            if entry.shape != wanted:
                raise BadInput(f"{tensors.where(name)} has shape {entry.shape}; by config.json it is {wanted}")
            if entry.dtype not in FLOATS:
                raise BadInput(f"{tensors.where(name)} is {entry.dtype}; gptjax reads {', '.join(FLOATS)}")
            known.add(name)
    for name in tensors:
        if name == "lm_head.weight" and cfg.tied:
            check_tied(tensors, names[parts[0].tensor])
        elif name not in known and not name.endswith(BUFFERS):
            raise BadInput(f"{tensors.where(name)} has no place in a {options.family} language model")
    return names


def in_layers(name: str, part: Part, cfg: ModelConfig) -> Iterator[str]:
    if not part.leaf.startswith(LAYER):
        yield name
        return
    yield from (name.format(layer) for layer in range(cfg.n_layers))


def check_tied(tensors: Tensors, embedding: str) -> None:
    """A tied head that is stored all the same must be the embedding."""
    head = "lm_head.weight"
    same = tensors.entry(head).shape == tensors.entry(embedding).shape and tensors.entry(head).dtype in FLOATS
    rows = max(1, CHUNK // (4 * tensors.entry(embedding).shape[1]))
    for first in range(0, tensors.entry(embedding).shape[0], rows):
        part = slice(first, first + rows)
        same = same and np.array_equal(tensors.view(head)[part], tensors.view(embedding)[part])
        tensors.forget(head)
        tensors.forget(embedding)
    if not same:
        raise BadInput(
            f"{tensors.where(head)} is not the embedding, though tie_word_embeddings is true; "
            "set it to false in config.json if the head is to be used"
        )
