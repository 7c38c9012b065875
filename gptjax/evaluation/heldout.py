"""The likelihood of a run's own held-out text, window by window: loss, perplexity, bits a byte and token accuracy."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Float64

from gptjax import mesh, tree
from gptjax.config import BadInput, Config, ModelConfig
from gptjax.data import batches, dialog_batches, prepared
from gptjax.data.batches import Batch
from gptjax.data.tokenizers import Tokenizer
from gptjax.evaluation import passes, perplexity, scores
from gptjax.evaluation.scores import Measure
from gptjax.model import gpt
from gptjax.training import sharding

METRICS = ("loss", "perplexity", "bits_per_byte", "token_accuracy")
TOKENS = 512  # of a device in each program: one row count, whatever the run was trained with
UNKNOWN = ("unknown",)  # the corpora of weights that were not trained here


class Windows(NamedTuple):
    """Held-out windows, always the same, of every corpus in turn."""

    batches: list[Sequence[Batch]]
    token_bytes: np.ndarray
    n_rows: int  # in them, with those that only fill the last


def opened(cfg: Config, on: Mesh | None, where: str) -> Windows:
    """The first `eval_tokens` targets of each corpus' held-out part, as the run itself scores them. Raises BadInput."""
    if cfg.data.corpora == UNKNOWN:
        raise BadInput(f"--tasks=heldout: {where} does not say what it was trained on; only a run has held-out text")
    if cfg.data.preferences:
        raise BadInput(f"--tasks=heldout: {where} has learned from pairs, whose rejected answers are no text to expect")
    data = prepared.prepare(cfg)
    ways = 1 if on is None else mesh.size(on, "replica") * mesh.size(on, "data")
    fixed = functools.partial(
        dialog_batches.fixed if cfg.data.dialogs else batches.fixed,
        batch_size=ways * n_rows(cfg.model),
        context=cfg.model.context,
        n_tokens=cfg.eval_tokens,
        end_of_text=data.tokenizer.end_of_text,
        **({"too_long": cfg.data.too_long} if cfg.data.dialogs else {"mask_documents": cfg.data.mask_documents}),
    )
    made = [fixed(store) for store in data.valid.values()]
    n_windows = sum(map(len, made)) * ways * n_rows(cfg.model)
    return Windows(made, data.tokenizer.token_bytes, n_windows)


def n_rows(cfg: ModelConfig) -> int:
    """Of a device."""
    return max(1, TOKENS // cfg.context)


def measure(
    params: dict, cfg: ModelConfig, windows: Windows, on: Mesh | None, limit: int, tell: Callable[[int], None]
) -> dict[str, Measure]:
    """Each metric over the windows, the first `limit` of them where that is above 0."""
    bytes_V, found = np.asarray(windows.token_bytes, np.float32), []
    for batch in (batch for of_corpus in windows.batches for batch in of_corpus):
        sums_BK = np.asarray(of_rows(params, put(batch, on), bytes_V, cfg=cfg, on=on), np.float64)
        found += [sums_K for sums_K in sums_BK if sums_K[1]]  # rows that only fill a batch weigh nothing
        tell(len(found))
        if 0 < limit <= len(found):
            break
    return measures(np.array(found[:limit] if limit else found))


def texts(windows: Windows, tokenizer: Tokenizer, limit: int) -> list[str]:
    """What `measure` scores, as text."""
    rows = [
        tokenizer.decode(np.concatenate([inputs_T[:1], targets_T]))
        for batch in (batch for of_corpus in windows.batches for batch in of_corpus)
        for inputs_T, targets_T, weights_T in zip(*map(np.asarray, batch[:3]), strict=True)
        if weights_T.any()
    ]
    return rows[:limit] if limit else rows


def measures(sums_NK: Float64[np.ndarray, "N 4"]) -> dict[str, Measure]:
    nats_N, n_tokens_N, n_bytes_N, hits_N = sums_NK.T
    return {
        "loss": perplexity.loss(nats_N, n_tokens_N),
        "perplexity": perplexity.perplexity(nats_N, n_tokens_N),
        "bits_per_byte": perplexity.bits_per_byte(nats_N, n_bytes_N),
        "token_accuracy": scores.ratio("token_accuracy", hits_N, n_tokens_N, "argmax|per:token"),
    }


def put(batch: Batch, on: Mesh | None) -> Batch:
    return jax.tree.map(lambda x_BT: passes.put(x_BT, on), batch)


@functools.partial(jax.jit, static_argnames=("cfg", "on"))
def of_rows(
    params: dict, batch: Batch, bytes_V: Float[Array, " V"], *, cfg: ModelConfig, on: Mesh | None
) -> Float[Array, "B 4"]:
    """Of each row the summed nats, the weight, the bytes and the hits of its targets."""

    def passed(batch: Batch) -> Array:
        unpack = passes.unpacking(on)
        out = gpt.forward(
            params,
            batch.inputs_BT,
            cfg,
            segments_BT=batch.segments_BT,
            positions_BT=batch.positions_BT,
            capture=("final",),
            unpack=unpack,
        )
        head = {name: leaf for name, leaf in params.items() if name != "blocks"}
        head = head if unpack is None else tree.map_named(unpack, head)
        nats_BT, hits_BT = passes.of_targets(head, out.activations["final"], batch.targets_BT, n_rows(cfg), cfg)
        kinds = -nats_BT, jnp.ones_like(nats_BT), bytes_V[batch.targets_BT], hits_BT
        return jnp.stack([jnp.sum(kind_BT * batch.weights_BT, axis=1) for kind_BT in kinds], axis=1)

    if on is None:
        return passed(batch)
    return jax.lax.with_sharding_constraint(mesh.within(on, passed)(batch), sharding.place(PartitionSpec(), on))
