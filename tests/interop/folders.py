"""Model folders for tests: the golden ones, and what our forward pass gives for a padded batch."""

import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.config import ModelConfig
from gptjax.interop import options, safetensors_file, weights
from gptjax.model import gpt

GOLDEN = pathlib.Path(__file__).parent / "golden"
NAMES = ("gpt2", "gpt2_scaled", "llama")
forward = jax.jit(gpt.forward, static_argnames="cfg")


def here(shapes):
    """Everything on the first device."""
    return jax.tree.map(lambda _: jax.sharding.SingleDeviceSharding(jax.devices()[0]), shapes)


def read(folder: pathlib.Path) -> tuple[dict, ModelConfig]:
    """The parameters and the config of a folder, whether or not it has a tokenizer."""
    asked = options.read(folder)
    return weights.read(safetensors_file.open_folder(folder), asked, here(weights.shapes_of(asked.model))), asked.model


def logits(params: dict, tokens_BT: np.ndarray, mask_BT: np.ndarray, cfg: ModelConfig) -> np.ndarray:
    """Of the real entries, for tokens of which the mask says which are text."""
    positions_BT = np.maximum(np.cumsum(mask_BT, axis=1) - 1, 0)
    given = (jnp.asarray(array, jnp.int32) for array in (tokens_BT, 1 - mask_BT, positions_BT))
    tokens, segments, positions = given
    found = forward(params, tokens, cfg, segments_BT=segments, positions_BT=positions)
    return np.asarray(found.logits_BTV)[..., : cfg.vocab_size]


def copy(name: str, to: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(GOLDEN / name, to / name))
