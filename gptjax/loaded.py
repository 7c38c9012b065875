"""A model in hand: what `gptjax.load` returns."""

import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from gptjax.config import BadInput, ModelConfig
from gptjax.data.tokenizers import Tokenizer
from gptjax.generation import decode
from gptjax.interop import hub
from gptjax.model import gpt
from gptjax.training import source

forward = jax.jit(gpt.forward, static_argnames="cfg")


class Loaded:
    """Weights, their config and their tokenizer. A prompt is text or token ids."""

    def __init__(self, given: source.Source):
        self.cfg: ModelConfig = given.cfg.model
        self.tokenizer: Tokenizer = given.tokenizer
        self.params: dict = given.params
        self.generation: dict[str, Any] = given.generation  # generation_config.json, which nothing here obeys

    def generate(
        self,
        prompt: str | Sequence[int] | np.ndarray,
        max_tokens: int = 50,
        *,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> str:
        """The prompt and what follows it, up to an end of text. Temperature 0 takes the likeliest token each time."""
        ids_T = self.ids(prompt)
        (new_T,) = decode.generate(
            self.params,
            ids_T,
            self.cfg,
            n_tokens=max_tokens,
            seed=seed,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
        )
        new = self.tokenizer.decode(decode.until_end(new_T, self.tokenizer.end_of_text))
        return (prompt if isinstance(prompt, str) else self.tokenizer.decode(ids_T)) + new

    def logits(self, prompt: str | Sequence[int] | np.ndarray) -> Float[np.ndarray, "T V"]:
        """Of the token after each position, for every entry of the vocabulary."""
        found = forward(self.params, jnp.asarray(self.ids(prompt), jnp.int32)[None], self.cfg)
        return np.asarray(found.logits_BTV[0, :, : self.cfg.vocab_size])

    def ids(self, prompt: str | Sequence[int] | np.ndarray) -> np.ndarray:
        """Token ids; raises BadInput where there is none, or one that the model lacks."""
        ids_T = self.tokenizer.encode(prompt) if isinstance(prompt, str) else np.asarray(prompt, np.int32)
        if not len(ids_T) or ids_T.min() < 0 or ids_T.max() >= self.cfg.vocab_size:
            raise BadInput(f"prompt: needs at least one token, each from 0 to {self.cfg.vocab_size - 1}")
        return ids_T


def load(path: str | pathlib.Path, on: Mesh | None = None) -> Loaded:
    """A run, a checkpoint in it, a model folder of Hugging Face, or the name of one on its hub. Raises BadInput."""
    try:
        return Loaded(source.open_run(str(path), on))
    except BadInput:
        if pathlib.Path(path).exists() or not hub.NAME.fullmatch(str(path)):
            raise
    return Loaded(source.open_run(str(hub.folder_of(str(path))), on))
