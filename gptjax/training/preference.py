"""Direct preference optimisation (Rafailov et al. 2023): the loss of pairs of answers, of which one is preferred.

With the summed log-probabilities of a pair's answers, chosen w and rejected l, under the model p and the reference q,

    margin = beta ((log p(w) - log q(w)) - (log p(l) - log q(l)))        loss = -log sigmoid(margin)        (eq. 7)

Accuracy is the share of pairs whose margin is above 0. A batch is as data/preference_batches.py makes it: the margin is
a sum over a pair's targets, whose weights have the signs.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, PRNGKeyArray

from gptjax import mesh
from gptjax.config import Config
from gptjax.data.batches import Batch
from gptjax.model import lora
from gptjax.training import loss, sharding, tuning

SUMS = ("nll", "n_tokens", "pairs", "dpo_loss", "dpo_accuracy", "dpo_margin")


def summed(
    params: dict,
    batch: Batch,
    cfg: Config,
    key: PRNGKeyArray | None = None,
    unpack: Callable[[str, Any], Any] | None = None,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The loss to differentiate, and SUMS over the batch's pairs, or, the first two, over the chosen answers' targets.

    `params` are all of a run: the reference is beside the model's, or the model without its adapters. `key` is of the
    model's dropout; the reference has none."""
    given = cfg.model, cfg.loss
    nll_BT = loss.of_tokens(tuning.policy(params), batch, *given, key, unpack, lora.merging(cfg.lora))
    reference_BT = loss.of_tokens(tuning.reference(params), batch, *given, None, unpack)
    moved_BP = of_pairs(batch, batch.weights_BT * (reference_BT - nll_BT))
    margin_BP = cfg.dpo.beta * moved_BP
    is_pair_BP = of_pairs(batch, jnp.abs(batch.weights_BT)) > 0
    count = lambda x_BP: jnp.sum(jnp.where(is_pair_BP, x_BP, 0))
    chosen_BT = jnp.maximum(batch.weights_BT, 0)
    total = count(jax.nn.softplus(-margin_BP))
    sums = (
        jnp.sum(chosen_BT * nll_BT),
        jnp.sum(chosen_BT),
        count(jnp.ones_like(margin_BP)),
        total,
        count((margin_BP > 0).astype(margin_BP.dtype)),
        count(margin_BP),
    )
    return total, dict(zip(SUMS, sums, strict=True))


def of_pairs(batch: Batch, x_BT: Float[Array, "B T"]) -> Float[Array, "B P"]:
    """Sums over the targets of each pair of a row; a pair takes four positions at least. Not a scatter, which XLA does
    not divide over positions."""
    assert batch.segments_BT is not None
    pair_BT = (batch.segments_BT - 1) // 2
    is_of_BTP = pair_BT[:, :, None] == jnp.arange(max(1, x_BT.shape[1] // 4))[None, None]
    return jnp.sum(jnp.where(is_of_BTP, x_BT[:, :, None], 0), axis=1)


def rates(sums: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Means: nats a token of the chosen answers, and loss, accuracy and margin of a pair."""
    found = {f"{prefix}/{name}": sums[name] / sums["pairs"] for name in SUMS[3:]}
    return {f"{prefix}/nll": sums["nll"] / sums["n_tokens"], **found}


def make_evaluate(
    windows: Mapping[str, Sequence[Batch]], token_bytes: np.ndarray, cfg: Config, on: Mesh
) -> Callable[[dict], dict[str, float]]:
    """The function `evaluate(params) -> metrics` that the loop is given, as `likelihood.make_evaluate` makes it of
    other text; `params` are all of a run."""
    bytes_V = jnp.asarray(token_bytes, jnp.float32)

    def one(params: dict, batch: Batch) -> Float[Array, " N"]:
        _, sums = summed(params, batch, cfg, None, sharding.gathered(on))
        n_bytes = jnp.sum(bytes_V[batch.targets_BT] * jnp.maximum(batch.weights_BT, 0))
        return jnp.stack([*sums.values(), n_bytes])

    of_batch = jax.jit(mesh.within(on, one), out_shardings=sharding.place(PartitionSpec(), on))

    def evaluate(params: dict) -> dict[str, float]:
        found = {
            source: np.sum([np.asarray(of_batch(params, sharding.put(batch, on)), np.float64) for batch in batches], 0)
            for source, batches in windows.items()
        }
        of = {name: metrics(totals) for name, totals in found.items()}
        apart = {f"eval/nll/{source}": one["eval/nll"] for source, one in of.items() if len(of) > 1}
        return metrics(functools.reduce(np.add, found.values())) | apart

    return evaluate


def metrics(totals: Float[np.ndarray, " N"]) -> dict[str, float]:
    """Of SUMS and the bytes of the chosen answers."""
    *of_pairs, n_bytes = totals.tolist()
    sums: dict[str, float] = dict(zip(SUMS, of_pairs, strict=True))
    return rates(sums, "eval") | {"eval/bits_per_byte": sums["nll"] / (n_bytes * math.log(2))}
