"""Cross-entropy of the next token, summed over the weighted tokens of a batch.

Sums, not means: the step divides once, by the weight of its whole batch, so parts of a batch add up to the batch.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, Int, PRNGKeyArray

from gptjax.config import LossConfig, ModelConfig
from gptjax.data.batches import Batch
from gptjax.model import gpt

Sums = tuple[Float[Array, ""], Float[Array, ""]]
LOG_Z = "log_z"  # a chunk's, which is kept: its derivative needs the logits anew, but not a second sum over them


def token_nll(logits_BTV: Float[Array, "B T V"], targets_BT: Int[Array, "B T"]) -> Float[Array, "B T"]:
    """Negative log-likelihood of each target in nats: float32, or wider as the logits are. Logits of -inf are entries
    of probability 0, without a gradient; a target among them costs inf."""
    return log_z(logits_BTV) - of_target(logits_BTV, targets_BT)


def of_target(logits_BTV: Float[Array, "B T V"], targets_BT: Int[Array, "B T"]) -> Float[Array, "B T"]:
    """The logit of each target. Not by a gather: on a mesh whose tensor axis divides V, each device looks in its own
    part (XLA's partitioner ends in a failed check over a gather there)."""
    is_target_BTV = jnp.arange(logits_BTV.shape[-1])[None, None] == targets_BT[:, :, None]
    return jnp.sum(jnp.where(is_target_BTV, wide(logits_BTV), 0), axis=-1)


def summed(
    params: dict,
    batch: Batch,
    model_cfg: ModelConfig,
    loss_cfg: LossConfig,
    key: PRNGKeyArray | None = None,
    unpack: Callable[[str, Any], Any] | None = None,
    merge: Callable[[dict], dict] | None = None,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The loss to differentiate and what to report: {"nll": nats, "n_tokens": weight}, all three summed over the batch.

    The loss is sum over tokens of weight (nll + z_weight (log Z)^2) (Chowdhery et al. 2022, section 5). `key` is of the
    dropout, None without; `unpack` and `merge` as in `gpt.forward`.
    """
    final_BTD, head = before_head(params, batch, model_cfg, key, unpack, merge)

    def of_chunk(x_BtD: Array, targets_Bt: Array, weights_Bt: Array) -> Sums:
        return weigh(gpt.unembed(head, x_BtD, model_cfg), targets_Bt, weights_Bt, loss_cfg.z_weight)

    whole = final_BTD, batch.targets_BT, batch.weights_BT
    if loss_cfg.n_chunks == 1:
        total, nll = of_chunk(*whole)
    else:
        chunks = jax.tree.map(lambda x: in_chunks(x, loss_cfg.n_chunks), whole)
        one = recomputed(of_chunk)
        total, nll = jax.tree.map(jnp.sum, jax.lax.map(lambda chunk: one(*chunk), chunks))
    return total, {"nll": nll, "n_tokens": jnp.sum(batch.weights_BT)}


def of_tokens(
    params: dict,
    batch: Batch,
    model_cfg: ModelConfig,
    loss_cfg: LossConfig,
    key: PRNGKeyArray | None = None,
    unpack: Callable[[str, Any], Any] | None = None,
    merge: Callable[[dict], dict] | None = None,
) -> Float[Array, "B T"]:
    """Nats of each target, whatever it weighs; `key`, `unpack` and `merge` as in `summed`."""
    final_BTD, head = before_head(params, batch, model_cfg, key, unpack, merge)

    def of_chunk(x_BtD: Array, targets_Bt: Array) -> Array:
        return token_nll(gpt.unembed(head, x_BtD, model_cfg), targets_Bt)

    whole = final_BTD, batch.targets_BT
    if loss_cfg.n_chunks == 1:
        return of_chunk(*whole)
    chunks = jax.tree.map(lambda x: in_chunks(x, loss_cfg.n_chunks), whole)
    one = recomputed(of_chunk)
    nll_nBt = jax.lax.map(lambda chunk: one(*chunk), chunks)
    return jnp.moveaxis(nll_nBt, 0, 2).reshape(batch.targets_BT.shape)


def before_head(
    params: dict,
    batch: Batch,
    model_cfg: ModelConfig,
    key: PRNGKeyArray | None,
    unpack: Callable[[str, Any], Any] | None,
    merge: Callable[[dict], dict] | None,
) -> tuple[Float[Array, "B T D"], dict]:
    """The "final" activation, and the parameters that belong to no layer, as `unembed` uses them."""
    out = gpt.forward(
        params,
        batch.inputs_BT,
        model_cfg,
        segments_BT=batch.segments_BT,
        positions_BT=batch.positions_BT,
        key=key,
        capture=("final",),
        unpack=unpack,
        merge=merge,
    )  # nobody reads out.logits_BTV, so XLA leaves them out
    head = gpt.outside(params)
    if unpack is not None:  # once, not once a chunk; and not before the layers, where a tied embedding would wait
        head = apart(head, out.activations["final"])
    return out.activations["final"], gpt.opened(head, unpack, merge)


@jax.custom_vjp  # that of the barrier itself fails where JAX 0.12 sums gradients in place
def apart(head: dict, x_BTD: Array) -> dict:
    """The head's parameters, which XLA may not join with the embedding's before x is there."""
    return jax.lax.optimization_barrier((head, x_BTD))[0]


apart.defvjp(
    lambda head, x_BTD: (apart(head, x_BTD), None), lambda _, of_head: (jax.lax.optimization_barrier(of_head), None)
)


def weigh(
    logits_BTV: Float[Array, "B T V"],
    targets_BT: Int[Array, "B T"],
    weights_BT: Float[Array, "B T"],
    z_weight: float,
) -> Sums:
    """Weighted sums of the loss and of its nats."""
    log_z_BT = log_z(logits_BTV)
    nll_BT = log_z_BT - of_target(logits_BTV, targets_BT)
    loss_BT = nll_BT + z_weight * jnp.square(log_z_BT) if z_weight else nll_BT
    return jnp.sum(weights_BT * loss_BT), jnp.sum(weights_BT * nll_BT)


def recomputed(of_chunk: Callable[..., Any]) -> Callable[..., Any]:
    """It, with its logits computed anew where its derivative needs them."""
    return jax.checkpoint(of_chunk, policy=jax.checkpoint_policies.save_only_these_names(LOG_Z))


def in_chunks(x: Array, n: int) -> Array:
    """(B, T, ...) as (n, B, T / n, ...). Every n-th position is of one chunk, so that on a mesh that divides positions
    each device's are dealt to all chunks and none moves."""
    B, T, *rest = x.shape
    return jnp.moveaxis(x.reshape(B, T // n, n, *rest), 2, 0)


def in_parts(batch: Batch, n: int) -> Batch:
    """The batch with a leading axis of n parts; every device's rows are dealt to all parts, so none moves."""
    return jax.tree.map(lambda x_BT: x_BT.reshape(-1, n, x_BT.shape[1]).swapaxes(0, 1), batch)


@jax.custom_vjp
def log_z(logits_BTV: Float[Array, "B T V"]) -> Float[Array, "B T"]:
    """log sum exp. Its derivative is of the logits again: JAX's own keeps their exponentials, as large as they are."""
    return jax.nn.logsumexp(wide(logits_BTV), axis=-1)


def kept(logits_BTV: Array) -> tuple[Array, tuple[Array, Array]]:
    log_z_BT = checkpoint_name(log_z(logits_BTV), LOG_Z)
    return log_z_BT, (logits_BTV, log_z_BT)


def softmax(saved: tuple[Array, Array], d_BT: Array) -> tuple[Array]:
    logits_BTV, log_z_BT = saved
    return ((d_BT[:, :, None] * jnp.exp(wide(logits_BTV) - log_z_BT[:, :, None])).astype(logits_BTV.dtype),)


log_z.defvjp(kept, softmax)


def wide(x: Array) -> Array:
    """x in float32, or as it is where that is wider."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
