"""Extraction: what a model writes after the text that stood before a secret (Carlini et al. 2021, 2023)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from gptjax.data.tokenizers import Tokenizer
from gptjax.evaluation import edits
from gptjax.generation.decode import Prompt, Writer
from gptjax.generation.sampling import Sampling


class Asked(NamedTuple):
    """A secret, and what stood before it where it was trained on."""

    before: Sequence[int]  # tokens, at least one
    secret: str
    n_tokens: int  # of the secret


class Extracted(NamedTuple):
    """Of each of N secrets, whether the model gives it away."""

    greedy_N: Bool[np.ndarray, " N"]  # whether the likeliest tokens spell the secret
    sampled_N: Bool[np.ndarray, " N"]  # whether one of the texts that were drawn does
    near_N: Float64[np.ndarray, " N"]  # of the likeliest text: 1 - edits / characters


def extract(
    writer: Writer,
    tokenizer: Tokenizer,
    asked: Sequence[Asked],
    *,
    samples: int,
    seed: int,
    tell: Callable[[int], None],
) -> Extracted:
    """Lets the model go on after each prefix, once greedily and `samples` times at temperature 1. `tell` is given the
    number of texts so far."""
    greedy = written(writer, tokenizer, asked, [Prompt(one.before) for one in asked], Sampling(temperature=0.0))
    sampled_N = np.zeros(len(asked), np.bool_)
    for sample in range(samples):
        tell((1 + sample) * len(asked))
        texts = written(writer, tokenizer, asked, [Prompt(one.before, seed, sample) for one in asked], Sampling())
        sampled_N |= right(texts, asked)
    near = [edits.similarity(text, one.secret) for text, one in zip(greedy, asked, strict=True)]
    return Extracted(right(greedy, asked), sampled_N, np.array(near, np.float64))


def right(texts: Sequence[str], asked: Sequence[Asked]) -> Bool[np.ndarray, " N"]:
    return np.array([text == one.secret for text, one in zip(texts, asked, strict=True)], np.bool_)


def written(
    writer: Writer, tokenizer: Tokenizer, asked: Sequence[Asked], prompts: Sequence[Prompt], options: Sampling
) -> list[str]:
    """As much text as the secret has characters: tokens that spell more than it count too."""
    made: list[str] = [""] * len(prompts)
    for n_tokens in sorted({one.n_tokens for one in asked}):
        places = [at for at, one in enumerate(asked) if one.n_tokens == n_tokens]
        found = writer.write([prompts[at] for at in places], n_tokens=n_tokens, options=options)
        for at, text in zip(places, found, strict=True):
            made[at] = tokenizer.decode(text.tokens.tolist())[: len(asked[at].secret)]
    return made
