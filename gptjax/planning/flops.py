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

from gptjax.config import ModelConfig
from gptjax.keys import GATES
from gptjax.planning import chips


def n_params(cfg: ModelConfig) -> int:
    """Trained numbers in the model; the rows that pad the vocabulary are left out."""
    L, D, N, K, H, F = cfg.n_layers, cfg.d_model, cfg.n_heads, cfg.n_kv_heads, cfg.d_head, cfg.d_hidden
    norm = 2 if cfg.bias else 1  # numbers for each entry: a scale, and a bias
    block = layer_weights(cfg) + norm * D * (1 if cfg.parallel else 2)
    if cfg.bias:
        block += (N + 2 * K) * H + D + gates(cfg) * F + D
    if cfg.qk_norm:
        block += 2 * norm * H
    lookups = cfg.vocab_size * D + (cfg.context * D if cfg.position == "learned" else 0)
    return lookups + L * block + norm * D + (0 if cfg.tied else cfg.vocab_size * D)


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
    D, N, K, H = cfg.d_model, cfg.n_heads, cfg.n_kv_heads, cfg.d_head
    return D * (N + 2 * K) * H + N * H * D + (gates(cfg) + 1) * D * cfg.d_hidden


def gates(cfg: ModelConfig) -> int:
    return GATES[cfg.mlp]
