"""GPT language models from theory to practice, in JAX."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gptjax.loaded import Loaded


def load(path: str | os.PathLike) -> "Loaded":
    """A model of a run or a Hugging Face folder, in hand: `.generate(text)`, `.logits(text)`, `.tokenizer`."""
    from gptjax import loaded

    return loaded.load(os.fspath(path))
