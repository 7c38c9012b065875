"""Membership inference: what each attack makes of the log-probabilities of a text's tokens. Higher says "member".

`loss` (Yeom et al. 2018) is their mean; `min_k` the mean of the least likely fifth, for a text that was read has no
token that surprises (Shi et al. 2024, Min-K% Prob); `zlib` the sum a byte of the compressed text, and `reference` the
mean beyond another model's: both set aside how hard the text is for anyone (Carlini et al. 2021).
"""

import math
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Float64

from gptjax.config import BadInput, ModelConfig
from gptjax.data.tokenizers import Tokenizer
from gptjax.evaluation import continuations

MIN_K = 0.2
Nats = list[Float[np.ndarray, " T"]]


class Scored(NamedTuple):
    """The log-probability of each token of some texts."""

    nats: Nats
    texts: list[str]  # what was scored
    reference: Nats | None  # by another model, of the same texts


def scores(found: Scored) -> dict[str, Float64[np.ndarray, " N"]]:
    """Of each attack, the score of each text."""
    of = lambda value: np.array([value(nats_T) for nats_T in found.nats], np.float64)
    sizes_N = np.array([len(zlib.compress(text.encode())) for text in found.texts], np.float64)
    made = {"loss": of(np.mean), "min_k": of(least_likely), "zlib": of(np.sum) / sizes_N}
    if found.reference is not None:
        made["reference"] = made["loss"] - np.array([np.mean(nats_T) for nats_T in found.reference], np.float64)
    return made


def least_likely(nats_T: Float[np.ndarray, " T"]) -> float:
    n = math.ceil(MIN_K * len(nats_T))
    return float(np.mean(np.sort(nats_T)[:n]))


def of_texts(
    params: dict,
    cfg: ModelConfig,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    context: int,
    on: Mesh | None,
    tell: Callable[[int], None],
) -> tuple[Nats, list[str]]:
    """The tokens of each text after an end of text, as many as `context` holds, with what they spell."""
    encoded = [tokenizer.encode(text).tolist()[:context] for text in texts]
    if empty := [at for at, tokens in enumerate(encoded) if not tokens]:
        raise BadInput(f"text {empty[0]} of those to be told apart is empty")
    pairs = [([tokenizer.end_of_text], tokens) for tokens in encoded]
    nats = continuations.token_nats(params, cfg, pairs, on=on, tell=tell)
    return nats, [tokenizer.decode(tokens) for tokens in encoded]
