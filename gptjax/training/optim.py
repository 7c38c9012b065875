"""Optimizers and learning rate schedules, read in the order they act.

What the keys of `optim.*` are to each optimizer:

| | b1 | b2 | eps |
|---|---|---|---|
| adamw | decay of the first moment | decay of the second moment | beside the root |
| adafactor | decay of the first moment; 0 = keep none | cap on the decay of the second | squared, in the root |
| lion | share of the momentum in the sign | decay of the momentum | |
| muon | decay of the momentum; adamw's | adamw's | beside the norm; adamw's |
| sgd | momentum | | |

One learning rate fits adamw, adafactor and muon. Each entry of a lion update is the whole learning rate: it wants 3 to
10 times less, and as much more weight decay (Chen et al. 2023, section 5). An sgd update is as long as the gradients.
"""

import math
import re
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from gptjax import tree
from gptjax.config import OptimConfig
from gptjax.model import adapters


def make(cfg: OptimConfig, n_steps: int, wider: float = 1.0) -> optax.GradientTransformation:
    """The optimizer of a config, for a model so much `wider` than muP's base.

    Its state keeps the parameters' names at the end of its own: "1/mu/blocks/attn/w_q",
    in muon "1/inner_states/matrix/inner_state/0/mu/blocks/attn/w_q", so that sharding rules find them.
    """
    return optax.chain(
        optax.clip_by_global_norm(cfg.clip_norm) if cfg.clip_norm else optax.identity(),
        OPTIMIZERS[cfg.name](cfg),
        *([] if wider == 1 else [optax.stateless(lambda updates, _: tree.map_named(by_width(cfg, wider), updates))]),
        optax.add_decayed_weights(cfg.weight_decay, mask=decayed),
        optax.scale_by_learning_rate(schedule(cfg, n_steps)),
    )


def by_width(cfg: OptimConfig, wider: float) -> Callable[[str, Array], Array]:
    """muP (Yang et al. 2022, table 8): updates of weights that sum over the width shrink with it, and others stay.

    An update of adamw, adafactor or lion has entries of the same size at any width, and adds up with the activations
    over D of them: 1 / wider. One of muon has a norm that grows with the root of the width: 1 / its root. Weight decay
    comes after this, so lr x weight_decay is the same at any width. Of adapters it says nothing: theirs stay.
    """

    def scaled(name: str, update: Array) -> Array:
        if name.startswith("blocks/") and "/w_" in name and not adapters.is_adapter(name):
            return update / (wider**0.5 if cfg.name == "muon" else wider)
        return update / wider if name == "w_head" else update

    return scaled


def momentum_dtype(cfg: OptimConfig) -> str | None:
    """Of the first moment; None: as the parameters are."""
    return cfg.momentum_dtype if cfg.momentum_dtype != "float32" else None


def decayed(params: Any) -> Any:
    """Which parameters weight decay shrinks: every weight, embeddings and positions too as in nanoGPT, but no bias or
    norm scale. By name: under "blocks" even a bias has two axes."""
    return tree.mask(params, r"(^|/)w_[^/]+$")


def adamw(cfg: OptimConfig) -> optax.GradientTransformation:
    """Kingma & Ba 2015; with the decay of `make`, Loshchilov & Hutter 2019."""
    return optax.scale_by_adam(b1=cfg.b1, b2=cfg.b2, eps=cfg.eps, mu_dtype=momentum_dtype(cfg))


def adafactor(cfg: OptimConfig) -> optax.GradientTransformation:
    """Shazeer & Stern 2018, with the changes of Zhai et al. 2022, section 3.4: no scaling by the parameter's size, a
    first moment, a cap on the decay of the second.

    The second moment of a leaf with two axes of 128 or more is kept as means over the one and over the other (v_row and
    v_col: other shapes than the parameter's), that of other leaves in full.
    """
    return optax.chain(
        optax.scale_by_factored_rms(
            epsilon=cfg.eps**2, decay_rate_fn=lambda step, power: jnp.minimum(cfg.b2, 1 - 1 / (step + 1.0) ** power)
        ),
        optax.clip_by_block_rms(1.0),
        optax.ema(cfg.b1, accumulator_dtype=momentum_dtype(cfg)) if cfg.b1 else optax.identity(),
    )


def lion(cfg: OptimConfig) -> optax.GradientTransformation:
    """Chen et al. 2023."""
    return optax.scale_by_lion(b1=cfg.b1, b2=cfg.b2, mu_dtype=momentum_dtype(cfg))


MUON_AXES = {  # inputs and outputs of the matrix that a weight is; each entry of its other axes is a matrix of its own
    "blocks/attn/w_q": ((1,), (2, 3)),  # L D NH
    "blocks/attn/w_k": ((1,), (2, 3)),  # L D KH
    "blocks/attn/w_v": ((1,), (2, 3)),  # L D KH
    "blocks/attn/w_out": ((1, 2), (3,)),  # L NH D
    "blocks/mlp/w_in": ((2,), (3,)),  # L C D F
    "blocks/mlp/w_out": ((1,), (2,)),  # L F D
}


def muon(cfg: OptimConfig) -> optax.GradientTransformation:
    """Orthogonalised momentum (Jordan et al. 2024) for the matrices of the blocks, adamw for embeddings, head, biases,
    norms and adapters. Updates are scaled to the RMS that adamw's have, so that its rate and decay carry over."""

    def axes(updates: Any) -> Any:
        return tree.map_named(lambda name, _: MuonDimensionNumbers(*MUON_AXES[name]), updates)

    def kinds(params: Any) -> Any:
        return tree.map_named(
            lambda name, _: "matrix" if re.match("blocks/.*/w_(?!.*_lora_)", name) else "rest", params
        )

    matrix = optax.chain(
        scale_by_muon(beta=cfg.b1, eps=cfg.eps, mu_dtype=momentum_dtype(cfg), weight_dimension_numbers=axes),
        optax.stateless(lambda updates, _: tree.map_named(with_rms, updates)),
    )
    return optax.partition({"matrix": matrix, "rest": adamw(cfg)}, kinds)


def with_rms(name: str, update: Array) -> Array:
    """Orthonormal rows or columns scaled to an RMS of 0.2 (Liu et al. 2025, eq. 4)."""
    inputs, outputs = (math.prod(update.shape[axis] for axis in axes) for axes in MUON_AXES[name])
    return 0.2 * max(inputs, outputs) ** 0.5 * update


def sgd(cfg: OptimConfig) -> optax.GradientTransformation:
    """Heavy-ball momentum (Polyak 1964): gradients add up, so the update is up to 1 / (1 - b1) gradients long."""
    return optax.trace(decay=cfg.b1, accumulator_dtype=momentum_dtype(cfg))


OPTIMIZERS = {"adamw": adamw, "adafactor": adafactor, "lion": lion, "muon": muon, "sgd": sgd}


def schedule(cfg: OptimConfig, n_steps: int) -> optax.Schedule:
    """The learning rate of update 0, 1, ...: up from peak_lr / (warmup_steps + 1) to peak_lr at update warmup_steps,
    then by SCHEDULES; cosine, linear and wsd are at final_lr_fraction peak_lr from n_steps on, one after the last."""

    def learning_rate(step) -> Float[Array, ""]:
        warmup = (step + 1) / (cfg.warmup_steps + 1)
        return cfg.peak_lr * jnp.minimum(warmup, SCHEDULES[cfg.schedule](step, cfg, n_steps))

    return learning_rate


def cosine(step, cfg: OptimConfig, n_steps: int) -> Array:
    """Loshchilov & Hutter 2017, eq. 5, without restarts."""
    wave = (1 + jnp.cos(jnp.pi * progress(step, cfg.warmup_steps, n_steps))) / 2
    return cfg.final_lr_fraction + (1 - cfg.final_lr_fraction) * wave


def linear(step, cfg: OptimConfig, n_steps: int) -> Array:
    return 1 - (1 - cfg.final_lr_fraction) * progress(step, cfg.warmup_steps, n_steps)


def wsd(step, cfg: OptimConfig, n_steps: int) -> Array:
    """Warmup, stable, decay (Hu et al. 2024), with the linear cooldown of Zhai et al. 2022, section 3.5."""
    first = max(cfg.warmup_steps, n_steps - round(cfg.decay_fraction * n_steps))
    return 1 - (1 - cfg.final_lr_fraction) * progress(step, first, n_steps)


def inverse_sqrt(step, cfg: OptimConfig, n_steps: int) -> Array:
    """Vaswani et al. 2017, eq. 3, which counts steps from 1: without an end, so n_steps is not read."""
    return jnp.sqrt((cfg.warmup_steps + 1) / (step + 1))


def constant(step, cfg: OptimConfig, n_steps: int) -> Array:
    return jnp.ones(())


SCHEDULES = {"cosine": cosine, "linear": linear, "wsd": wsd, "inverse_sqrt": inverse_sqrt, "constant": constant}


def progress(step, first: int, last: int) -> Array:
    """0 up to `first`, 1 from `last` on, a straight line between."""
    return jnp.clip((step - first) / max(last - first, 1), 0, 1)
