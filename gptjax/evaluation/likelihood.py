"""Likelihood of held-out text: nats a token and bits a byte, always over the same windows."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float

from gptjax import mesh
from gptjax.config import LossConfig, ModelConfig
from gptjax.data.batches import Batch
from gptjax.training import loss, sharding


def sums(
    params: dict,
    batch: Batch,
    bytes_V: Float[Array, " V"],
    *,
    model_cfg: ModelConfig,
    loss_cfg: LossConfig,
    unpack: Callable[[str, Any], Any],
) -> Float[Array, "3"]:
    """Summed nats, weighted targets and UTF-8 bytes of those targets, of one batch."""
    _, found = loss.summed(params, batch, model_cfg, loss_cfg, unpack=unpack)
    n_bytes = jnp.sum(bytes_V[batch.targets_BT] * batch.weights_BT)
    return jnp.stack([found["nll"], found["n_tokens"], n_bytes])


def make_evaluate(
    windows: Mapping[str, Sequence[Batch]],
    token_bytes: np.ndarray,
    model_cfg: ModelConfig,
    loss_cfg: LossConfig,
    on: Mesh,
) -> Callable[[dict], dict[str, float]]:
    """The function `evaluate(params) -> metrics` that the loop is given.

    `windows` holds the fixed batches of each source; several are scored apart too (`eval/nll/<source>`).
    One read of the device an evaluation.
    """
    bytes_V = np.asarray(token_bytes, np.float32)
    one = functools.partial(sums, model_cfg=model_cfg, loss_cfg=loss_cfg, unpack=sharding.gathered(on))
    everywhere = sharding.place(PartitionSpec(), on)  # so that each of several processes holds what it reads
    of_batch = jax.jit(mesh.within(on, one), out_shardings=everywhere)

    def evaluate(params: dict) -> dict[str, float]:
        found = {
            source: sum(of_batch(params, sharding.put(batch, on), bytes_V) for batch in batches)
            for source, batches in windows.items()
        }
        found = {source: np.asarray(value, np.float64) for source, value in jax.device_get(found).items()}
        metrics = rates(sum(found.values()))
        if len(found) > 1:
            metrics |= {f"eval/nll/{source}": rates(value)["eval/nll"] for source, value in found.items()}
        return metrics

    return evaluate


def rates(totals: np.ndarray) -> dict[str, float]:
    """Means from summed nats, tokens and bytes."""
    nats, n_tokens, n_bytes = (float(total) for total in totals)
    return {"eval/nll": nats / n_tokens, "eval/bits_per_byte": nats / (n_bytes * math.log(2))}
