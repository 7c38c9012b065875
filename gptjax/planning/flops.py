"""Parameters and floating-point operations of a model, by formula: nothing is traced, so any size costs nothing.

With L layers, D = d_model, N query and K key/value heads of width H, F = d_hidden, V = vocab_size, T = context:

    weights of a layer = D (N + 2 K) H + N H D + G D F + F D         G = 2 for swiglu, else 1
    forward FLOPs a token = 2 (L x weights of a layer + D V) + L x 4 N H (T + 1) / 2
    training FLOPs a token = 3 x forward

A multiplication and its addition are two FLOPs. Each weight, the head's included, is used once a token; looking up a
token or a position is not a matmul. Scores and mixing cost 2 N H each for every position that a token attends to:
(T + 1) / 2 on average, itself and what came before. The backward pass has two matmuls for each one of the forward.
This is Chowdhery et al. 2022 (PaLM), appendix B, but for its attention to all T positions, of which a causal model
needs half; without the attention term it is the 6 N of Kaplan et al. 2020, section 2.1.

These are the model's FLOPs and not the hardware's: recomputation (remat), rows that pad the vocabulary, norms,
activations and the optimizer count for nothing. Where documents are masked it counts whole windows all the same.
"""

import dataclasses
import math
import re

from gptjax.config import ModelConfig
from gptjax.model import table
from gptjax.planning import chips


def n_params(cfg: ModelConfig) -> int:
    """Trained numbers in the model; the rows that pad the vocabulary are left out."""
    return sum(map(math.prod, table.shapes(dataclasses.replace(cfg, pad_vocab_to=1)).values()))


def train_flops_per_token(cfg: ModelConfig) -> float:
    """FLOPs that one token of a full context costs in training, forward and backward."""
    weights = cfg.n_layers * layer_weights(cfg) + cfg.d_model * cfg.vocab_size
    attended = (cfg.context + 1) / 2
    return 3 * (2 * weights + cfg.n_layers * 4 * cfg.n_heads * cfg.d_head * attended)


def mfu(tokens_per_s: float, cfg: ModelConfig, device_kinds: list[str]) -> float | None:
    """Model FLOPs utilisation: the part of the devices' peak that went into the model's FLOPs (PaLM, appendix B).

    `tokens_per_s` is of all devices together. None where the peak of a device, at the model's dtype, is unknown.
    """
    peaks = [chips.peak_flops(kind, cfg.dtype) for kind in device_kinds]
    known = [peak for peak in peaks if peak is not None]
    if len(known) < len(peaks):
        return None
    return tokens_per_s * train_flops_per_token(cfg) / sum(known)


def layer_weights(cfg: ModelConfig) -> int:
    """Numbers in the matrices of one layer."""
    return sum(math.prod(shape[1:]) for name, shape in table.shapes(cfg).items() if re.match("blocks/.*/w_", name))
