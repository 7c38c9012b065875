"""Training of the tuned lens (Belrose et al. 2023): one affine translator a layer, which learns to say what the model
says in the end. The model's weights do not move."""

import functools
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from gptjax.config import ModelConfig
from gptjax.insight import lens, residual
from gptjax.insight.lens import Translators


def init(cfg: ModelConfig) -> Translators:
    """Translators that leave every reading as it is: the logit lens."""
    L, D = cfg.n_layers, cfg.d_model
    return {"w_LDD": jnp.zeros((L, D, D)), "b_LD": jnp.zeros((L, D))}


def train(
    params: dict,
    batches: Iterable[Int[Array, "B T"]],
    cfg: ModelConfig,
    *,
    peak_lr: float = 1e-3,
    clip_norm: float = 1.0,
    translators: Translators | None = None,
) -> tuple[Translators, Float[np.ndarray, "steps L"]]:
    """One AdamW update without decay for each batch, and the mean divergence of each layer before it, in nats.

    The batches have one shape, so that one program is compiled. Start from `translators` to go on.
    """
    # Copied: an update gives away what it is given.
    moved: Translators = init(cfg) if translators is None else {name: x.copy() for name, x in translators.items()}
    state, found = optimizer(peak_lr, clip_norm).init(moved), []
    for tokens_BT in batches:
        moved, state, kl_L = update(moved, state, params, tokens_BT, cfg=cfg, peak_lr=peak_lr, clip_norm=clip_norm)
        found.append(kl_L)
    return moved, np.asarray(jax.device_get(found)).reshape(-1, cfg.n_layers)


def optimizer(peak_lr: float, clip_norm: float) -> optax.GradientTransformation:
    """Every layer is a lens of its own: clipped, as it is trained, apart from the others."""
    one = optax.chain(
        optax.clip_by_global_norm(clip_norm), optax.scale_by_adam(), optax.scale_by_learning_rate(peak_lr)
    )
    return optax.GradientTransformation(
        jax.vmap(one.init), lambda updates, state, params=None: jax.vmap(one.update)(updates, state)
    )


@functools.partial(jax.jit, static_argnames=("cfg", "peak_lr", "clip_norm"), donate_argnames=("translators", "state"))
def update(
    translators: Translators,
    state: optax.OptState,
    params: dict,
    tokens_BT: Int[Array, "B T"],
    *,
    cfg: ModelConfig,
    peak_lr: float,
    clip_norm: float,
) -> tuple[Translators, optax.OptState, Float[Array, " L"]]:
    """The translators after one update, and each layer's mean divergence before it."""
    x_RBTD = residual.stream(params, tokens_BT, cfg)
    model_BTV = lens.log_probs(params, x_RBTD[-1], cfg)

    def mean_kl(translator: Translators, x_BTD: Array) -> Array:
        found_BTV = lens.log_probs(params, lens.moved(x_BTD, translator["w_LDD"], translator["b_LD"]), cfg)
        return lens.divergence(model_BTV, found_BTV).mean()

    # A map and no sum over layers: the logits of one layer are held at a time.
    kl_L, grads = jax.lax.map(lambda layer: jax.value_and_grad(mean_kl)(*layer), (translators, x_RBTD[:-1]))
    updates, state = optimizer(peak_lr, clip_norm).update(grads, state)
    return jax.tree.map(jnp.add, translators, updates), state, kl_L
