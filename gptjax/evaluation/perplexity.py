"""Loss, perplexity and bits per byte of examples, from their summed nats."""

import math

import numpy as np
from jaxtyping import Float64

from gptjax.evaluation import scores
from gptjax.evaluation.scores import Measure


def loss(nats_N: Float64[np.ndarray, " N"], n_tokens_N: Float64[np.ndarray, " N"]) -> Measure:
    """Nats a token, every token alike."""
    return scores.ratio("loss", nats_N, n_tokens_N, "nats|per:token")


def perplexity(nats_N: Float64[np.ndarray, " N"], n_tokens_N: Float64[np.ndarray, " N"]) -> Measure:
    """exp(nats a token): of the tokenizer's tokens, so only one tokenizer's can be compared."""
    stats_NK = np.stack([nats_N, n_tokens_N], axis=1)
    return Measure("perplexity", stats_NK, lambda sums_K: math.exp(sums_K[0] / sums_K[1]), "exp(nats)|per:token")


def bits_per_byte(nats_N: Float64[np.ndarray, " N"], n_bytes_N: Float64[np.ndarray, " N"]) -> Measure:
    """Bits a byte of UTF-8, which tokenizers can be compared by."""
    return scores.ratio("bits_per_byte", nats_N / math.log(2), n_bytes_N, "bits|per:utf-8 byte")
