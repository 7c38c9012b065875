"""Batches as a pure function of (seed, step): nothing is iterated, so nothing but the step is saved.

Window i of a store is its tokens [i x context, i x context + context + 1): inputs are all but the last, targets all but
the first. An epoch is a permutation of the windows that is computed for the rows of a batch alone (permutation.py), so
any step costs the same, and every token but the first is a target exactly once an epoch.
"""

import concurrent.futures
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt

from gptjax.config import BadInput
from gptjax.data.permutation import permuted
from gptjax.data.store import Store

SHARES = 2**32  # weights of a mixture are rounded to so many parts


class Batch(NamedTuple):
    """Rows of a step; numpy as read, jax arrays once they are put on devices."""

    inputs_BT: Int32[Any, "B T"]
    targets_BT: Int32[Any, "B T"]
    weights_BT: Float32[Any, "B T"]  # 0 on targets past the end of the data, else 1
    # None where documents are not masked, so that no device looks for what cannot be there.
    segments_BT: Int32[Any, "B T"] | None  # number of the document within the row; tokens attend only within theirs
    positions_BT: Int32[Any, "B T"] | None  # since the start of the document, or of the row where that is later


class Batches:
    """`batches(step)` is the global batch of a step, or the `rows` of it that this process reads.

    Windows are drawn from the stores in proportion to `weights`, in a fixed interleaving; each store goes through its
    epochs at its own pace, each epoch in another order. Raises BadInput where a window is longer than a store.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        weights: Sequence[float],
        *,
        batch_size: int,
        context: int,
        seed: int,
        mask_documents: bool,
        end_of_text: int,
        rows: Sequence[int] | None = None,
    ):
        for store in stores:
            if store.n_tokens <= context:
                split, corpus = store.manifest["split"], store.manifest["corpus"]
                raise BadInput(
                    f"model.context={context}, but the {split} split of corpus {corpus} holds only {store.n_tokens} "
                    f"tokens; try {store.n_tokens - 1}"
                )
        self.stores, self.seed = stores, seed
        self.shares = [max(1, round(weight / sum(weights) * SHARES)) for weight in weights]
        self.context, self.mask_documents, self.end_of_text = context, mask_documents, end_of_text
        self.batch_size, self.rows = batch_size, range(batch_size) if rows is None else rows
        self.n_windows = [-(-(store.n_tokens - 1) // context) for store in stores]  # the last may be short

    def __call__(self, step: int) -> Batch:
        first = step * self.batch_size
        store_of_row_B, place_B = np.array([deal(first + row, self.shares) for row in self.rows], np.int64).T
        starts_B, ends_B = np.empty_like(place_B), np.empty_like(place_B)
        ids_BL = np.empty((len(place_B), self.context + 1), self.stores[0].dtype)  # of one tokenizer, so of one type
        for number, store in enumerate(self.stores):
            (mine,) = np.nonzero(store_of_row_B == number)
            starts_B[mine] = self.drawn(number, place_B[mine]) * self.context
            ids_BL[mine] = store.windows(starts_B[mine], self.context + 1)
            ends_B[mine] = store.n_tokens
        return make_batch(ids_BL, starts_B, ends_B, self.mask_documents, self.end_of_text)

    def drawn(self, store: int, place_B: Int64[np.ndarray, " B"]) -> Int64[np.ndarray, " B"]:
        """The windows that stand at these places of a store's epochs, laid end to end."""
        epoch_B, within_B = np.divmod(place_B, self.n_windows[store])
        window_B = np.empty_like(within_B)
        for epoch in np.unique(epoch_B).tolist():
            rows = epoch_B == epoch
            window_B[rows] = permuted(within_B[rows], self.n_windows[store], shuffle_key(self.seed, store, epoch))
        return window_B


def deal(index: int, shares: Sequence[int]) -> tuple[int, int]:
    """Which store gives the index-th window of the mixture, and how many it gave before.

    Each store in turn takes its share of what the ones before it left, rounded up: the number of windows a store has
    given is never as far from its weight as the number of stores. Python's integers do not overflow.
    """
    left = sum(shares)
    for store, share in enumerate(shares[:-1]):
        passed_on = index * (left - share) // left
        if (index + 1) * (left - share) // left == passed_on:
            return store, index - passed_on
        index, left = passed_on, left - share
    return len(shares) - 1, index


@functools.lru_cache
def shuffle_key(seed: int, store: int, epoch: int) -> int:
    """32 bits for `permuted`. Hashed, for with seed + epoch a run would repeat the epochs of the next seed."""
    return int(np.random.SeedSequence([seed, store, epoch]).generate_state(1)[0])


def make_batch(
    ids_BL: UInt[np.ndarray, "B L"],
    starts_B: Int64[np.ndarray, " B"],
    ends_B: Int64[np.ndarray, " B"],
    mask_documents: bool,
    end_of_text: int,
) -> Batch:
    """The batch of windows that start at `starts_B`; targets at or after `ends_B` weigh nothing."""
    inputs_BT, targets_BT = ids_BL[:, :-1].astype(np.int32), ids_BL[:, 1:].astype(np.int32)
    at_T = np.arange(inputs_BT.shape[1], dtype=np.int32)
    n_targets_B = np.clip(ends_B - 1 - starts_B, 0, len(at_T)).astype(np.int32)  # else int64 for every token
    weights_BT = (at_T < n_targets_B[:, None]).astype(np.float32)
    if not mask_documents:
        return Batch(inputs_BT, targets_BT, weights_BT, None, None)
    opens_BT = inputs_BT == end_of_text
    segments_BT = np.cumsum(opens_BT, axis=1, dtype=np.int32)
    opened_BT = np.where(opens_BT, at_T, np.int32(0))
    positions_BT = at_T - np.maximum.accumulate(opened_BT, axis=1, out=opened_BT)
    return Batch(inputs_BT, targets_BT, weights_BT, segments_BT, positions_BT)


def fixed(
    store: Store,
    *,
    batch_size: int,
    context: int,
    n_tokens: int,
    mask_documents: bool,
    end_of_text: int,
    rows: Sequence[int] | None = None,
) -> Sequence[Batch]:
    """Evaluation batches: windows in order from the start of a store until `n_tokens` targets, each target once.

    Always the same windows. The last batch is filled up with weight 0, so that all have one shape.
    """
    end = min(n_tokens + 1, store.n_tokens)
    rows_B = np.array(range(batch_size) if rows is None else rows, np.int64)

    def make(index: int) -> Batch:
        starts_B = (index * batch_size + rows_B) * context
        ids_BL = store.windows(starts_B, context + 1)
        return make_batch(ids_BL, starts_B, np.full_like(starts_B, end), mask_documents, end_of_text)

    return OnDemand(-(-(end - 1) // (batch_size * context)), make)


class OnDemand(Sequence[Batch]):
    """A sequence of batches of which each is made when it is asked for."""

    def __init__(self, length: int, make: Callable[[int], Batch]):
        self.length, self.make = length, make

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Batch:
        if not 0 <= index < self.length:
            raise IndexError(index)
        return self.make(index)


class Prefetch:
    """`prefetch(step)` is `batches(step)`, made beforehand in a thread while the device works on the steps before.

    Steps may be asked for in any order: one that was not foreseen is made while the caller waits. An error in the
    thread is raised by the call for its step. `put` is applied in the thread too. `waited_s` counts the seconds waited.
    """

    def __init__(self, batches: Callable[[int], Any], ahead: int = 2, put: Callable[[Any], Any] | None = None):
        self.make = batches if put is None else lambda step: put(batches(step))
        self.ahead, self.waited_s = ahead, 0.0
        self.thread = concurrent.futures.ThreadPoolExecutor(1, "prefetch")
        self.coming: dict[int, concurrent.futures.Future] = {}

    def __call__(self, step: int) -> Any:
        wanted = range(step, step + 1 + self.ahead)
        for stale in [other for other in self.coming if other not in wanted]:
            self.coming.pop(stale).cancel()
        for next_step in wanted:
            if next_step not in self.coming:
                self.coming[next_step] = self.thread.submit(self.make, next_step)
        started = time.perf_counter()
        try:
            return self.coming.pop(step).result()
        finally:
            self.waited_s += time.perf_counter() - started

    def close(self) -> None:
        """Ends the thread, after the batch it is making."""
        self.thread.shutdown(cancel_futures=True)

    def __enter__(self) -> "Prefetch":
        return self

    def __exit__(self, *_) -> None:
        self.close()
