"""Makes a model folder of GPT-2 124M with random weights and a vocabulary of no meaning. Argument: the folder."""

import functools
import pathlib
import sys

import jax

from gptjax import config
from gptjax.data.subwords import END_OF_TEXT, byte_level_bpe, letters
from gptjax.interop import export
from gptjax.model import gpt, presets

cfg = config.load("configs/base.py", [f"model.{key}={value}" for key, value in presets.gpt2("124M").items()]).model
words = [*letters(), *(f"w{n}" for n in range(cfg.vocab_size - 257)), END_OF_TEXT]
tokenizer = byte_level_bpe("gpt2", {word: n for n, word in enumerate(words)}, [])
params = jax.jit(functools.partial(gpt.init, cfg=cfg))(jax.random.key(0))
export.write_model(pathlib.Path(sys.argv[1]), params, cfg, tokenizer, {}, {})
