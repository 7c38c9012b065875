import functools
import threading

import jax
import numpy as np
import pytest
from grain.experimental import index_shuffle

from gptjax.config import BadInput
from gptjax.data import batches, shards
from gptjax.data.batches import Batch, Batches, Prefetch
from gptjax.data.store import Store, open_store

FAR = 10**9  # a step; with 4,096 rows its indices need 42 bits


def store_of(folder, ids, end_of_text=0, shard_tokens=1000, corpus="fake"):
    """A store of given tokens, written by hand."""
    folder.mkdir(parents=True)
    entries = []
    for start in range(0, len(ids), shard_tokens):
        shard = shards.OpenShard(folder, entries, np.dtype("uint32"))
        shard.write(np.array(ids[start : start + shard_tokens], np.int32))
        entries.append(shard.finish())
    manifest = {"corpus": corpus, "split": "train", "dtype": "uint32", "n_tokens": len(ids)}
    shards.write_manifest(folder, manifest | {"end_of_text": end_of_text, "shards": entries})
    return open_store(folder)


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    """Token i is i, so that a batch tells where it was read; in 11 shards, with a short last window."""
    return store_of(tmp_path_factory.mktemp("counting") / "store", range(1003), shard_tokens=97)


def make(stores, weights=None, **changes):
    options = {"batch_size": 6, "context": 16, "seed": 0, "mask_documents": True, "end_of_text": 0} | changes
    return Batches(stores, weights or [1.0] * len(stores), **options)


def first_targets(train, rows):
    """The first target of each of the rows since step 0, for batches of one row: says which window it is."""
    return [int(train(row).targets_BT[0, 0]) for row in rows]


@pytest.mark.parametrize("n_processes", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("step", [0, 10, 1_000_000, FAR])
def test_processes_together_read_the_batch_of_one(counting, n_processes, step):
    batch_size = 12
    share = batch_size // n_processes
    parts = [
        make([counting], batch_size=batch_size, rows=range(p * share, (p + 1) * share))(step)
        for p in range(n_processes)
    ]
    whole = make([counting], batch_size=batch_size)(step)
    assert len(whole.inputs_BT) == batch_size
    jax.tree.map(
        lambda all_BT, *parts_BT: np.testing.assert_array_equal(all_BT, np.concatenate(parts_BT)), whole, *parts
    )


@pytest.mark.parametrize("context", [1, 16, 97, 100, 501, 1002])
@pytest.mark.parametrize("epoch", [0, 3, FAR])
def test_every_token_is_a_target_once_an_epoch(counting, context, epoch):
    train = make([counting], batch_size=1, context=context)
    (n_windows,) = train.n_windows
    found = []
    for step in range(epoch * n_windows, (epoch + 1) * n_windows):
        batch = train(step)
        real_BT = batch.weights_BT == 1
        assert real_BT.any()  # no window is all padding
        found += batch.targets_BT[real_BT].tolist()
        np.testing.assert_array_equal(batch.inputs_BT[real_BT] + 1, batch.targets_BT[real_BT])
    assert sorted(found) == list(range(1, 1003))


def test_epochs_and_seeds_have_orders_of_their_own(counting):
    epochs = {(seed, epoch): range(epoch * 63, epoch * 63 + 63) for seed in (0, 1) for epoch in (0, 1, 2)}
    orders = {
        tuple(first_targets(make([counting], batch_size=1, seed=seed), rows)) for (seed, _), rows in epochs.items()
    }
    assert len(orders) == 6  # seed 0 in epoch 1 is not seed 1 in epoch 0 either
    assert tuple(range(1, 1003, 16)) not in orders


def shares_of(weights):
    return Batches([], weights, batch_size=1, context=1, seed=0, mask_documents=False, end_of_text=0).shares


@pytest.mark.parametrize("weights", [[0.7, 0.3], [1.0, 2.0, 3.0], [0.001, 1.0], [0.85, 0.15], [1.0] * 7])
@pytest.mark.parametrize("first", [0, 4096 * FAR])
def test_a_mixture_keeps_its_weights_and_each_store_its_order(weights, first):
    shares = shares_of(weights)
    fractions = np.array(shares) / sum(shares)
    np.testing.assert_allclose(fractions, np.array(weights) / sum(weights), atol=1e-9)
    given = dict.fromkeys(range(len(weights)))  # windows of each store so far, once it has been drawn
    for index in range(first, first + 3000):
        store, before = batches.deal(index, shares)
        assert given[store] in (None, before)  # a store's windows come in turn, none left out
        given[store] = before + 1
        assert abs(before - index * fractions[store]) < len(weights)
    assert None not in given.values()


def test_a_mixture_goes_through_the_epochs_of_each_store(tmp_path, counting):
    other = store_of(tmp_path / "other", range(5000, 5400), end_of_text=5000)
    train = make([counting, other], [0.25, 0.75], batch_size=1)
    seen = first_targets(train, range(252))  # 63 windows of the first, 189 of the second, which has 25
    assert sorted(target for target in seen if target < 5000) == list(range(1, 1003, 16))
    of_other = [target for target in seen if target > 5000]
    epochs = [tuple(of_other[start : start + 25]) for start in range(0, 175, 25)]
    assert all(sorted(epoch) == list(range(5001, 5400, 16)) for epoch in epochs) and len(set(epochs)) == 7


def test_equal_stores_of_a_mixture_have_different_orders(counting):
    seen = first_targets(make([counting, counting], batch_size=1), range(126))
    assert seen[::2] != seen[1::2]


@pytest.mark.parametrize("step", [0, 1_000_000, FAR])
def test_a_step_reads_its_own_windows_and_no_more(counting, monkeypatch, step):
    n_read = []
    stored = Store.stored
    monkeypatch.setattr(Store, "stored", lambda self, i, j: n_read.append(j - i) or stored(self, i, j))
    make([counting, counting], batch_size=4096, rows=range(100, 110))(step)
    assert n_read == [17] * 10


def row_by_row(train, step):
    """The batch as it was first written: each row drawn by grain, each token looked up for itself."""
    rows = []
    for row in range(train.batch_size):
        number, place = batches.deal(step * train.batch_size + row, train.shares)
        store, n_windows = train.stores[number], train.n_windows[number]
        key = batches.shuffle_key(train.seed, number, place // n_windows)
        start = index_shuffle(place % n_windows, n_windows - 1, key, 4) * train.context
        stream = store.read(0, store.n_tokens).tolist() + [store.manifest["end_of_text"]] * train.context
        inputs, targets = (stream[at : at + train.context] for at in (start, start + 1))
        weights = [float(start + 1 + at < store.n_tokens) for at in range(train.context)]
        opens = [at for at, token in enumerate(inputs) if token == train.end_of_text and train.mask_documents]
        segments = [sum(opened <= at for opened in opens) for at in range(train.context)]
        positions = [at - max([0, *(opened for opened in opens if opened <= at)]) for at in range(train.context)]
        rows.append((inputs, targets, weights, segments, positions))
    kinds = np.int32, np.int32, np.float32, np.int32, np.int32
    made = Batch(*(np.array(part, kind) for part, kind in zip(zip(*rows, strict=True), kinds, strict=True)))
    return made if train.mask_documents else made._replace(segments_BT=None, positions_BT=None)


@pytest.mark.parametrize("step", [0, 3, 1_000_000, FAR])
@pytest.mark.parametrize("changes", [{}, {"mask_documents": False}, {"context": 100, "seed": 3}, {"batch_size": 50}])
def test_a_batch_is_bit_for_bit_that_of_a_row_at_a_time(counting, documents, step, changes):
    for stores, weights in (([documents], [1.0]), ([counting, documents], [0.3, 0.7])):
        train = make(stores, weights, **changes)
        jax.tree.map(
            functools.partial(np.testing.assert_array_equal, strict=True), train(step), row_by_row(train, step)
        )


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """Documents of 0 to 40 tokens; the token of document d is d + 1."""
    lengths = np.random.default_rng(0).integers(0, 41, 60)
    ids = [i for document, n in enumerate(lengths) for i in [0] + [document + 1] * n] + [0]
    return store_of(tmp_path_factory.mktemp("documents") / "store", ids)


def test_segments_and_positions_restart_at_each_document(documents):
    batch = make([documents], batch_size=50, context=64)(0)
    assert batch.segments_BT is not None and batch.positions_BT is not None
    for inputs_T, segments_T, positions_T in zip(batch.inputs_BT, batch.segments_BT, batch.positions_BT, strict=True):
        segment = position = 0
        for at, token in enumerate(inputs_T.tolist()):
            opens = token == 0
            segment, position = segment + opens, 0 if opens or at == 0 else position + 1
            assert (segments_T[at], positions_T[at]) == (segment, position)


def test_no_segment_holds_two_documents(documents):
    batch = make([documents], batch_size=50, context=64)(7)
    assert batch.segments_BT is not None
    for inputs_T, segments_T in zip(batch.inputs_BT, batch.segments_BT, strict=True):
        for segment in np.unique(segments_T):
            assert len(set(inputs_T[segments_T == segment].tolist()) - {0}) <= 1


def test_without_masks_a_row_is_one_document(documents):
    batch = make([documents], mask_documents=False)(0)
    assert batch.segments_BT is None and batch.positions_BT is None and 0 in batch.inputs_BT


def test_a_context_beyond_the_data_is_refused(counting):
    with pytest.raises(BadInput, match="model.context=1003, but the train split of corpus fake holds only 1003 tokens"):
        make([counting], context=1003)


@pytest.mark.parametrize(
    ("n_tokens", "scored"), [(1, 1), (16, 16), (100, 100), (960, 960), (1002, 1002), (10**5, 1002)]
)
def test_evaluation_scores_the_first_targets_once_in_order(counting, n_tokens, scored):
    options = {"batch_size": 4, "context": 16, "n_tokens": n_tokens, "mask_documents": True, "end_of_text": 0}
    windows = batches.fixed(counting, **options)
    targets = np.concatenate([batch.targets_BT[batch.weights_BT == 1] for batch in windows])
    np.testing.assert_array_equal(targets, np.arange(1, scored + 1))
    assert {batch.inputs_BT.shape for batch in windows} == {(4, 16)} and len(windows) == -(-scored // 64)
    halves = [batches.fixed(counting, **options, rows=rows) for rows in ((0, 1), (2, 3))]
    for batch, *parts in zip(windows, *halves, strict=True):
        np.testing.assert_array_equal(batch.targets_BT, np.concatenate([part.targets_BT for part in parts]))


def test_evaluation_takes_a_split_shorter_than_the_context(counting):
    options = {"batch_size": 2, "context": 4096, "n_tokens": 10**6, "mask_documents": True, "end_of_text": 0}
    (batch,) = batches.fixed(counting, **options)
    assert batch.weights_BT.sum() == 1002 and batch.inputs_BT.shape == (2, 4096)


def test_prefetching_changes_no_batch_in_any_order(counting):
    train = make([counting])
    with Prefetch(train, ahead=2) as prefetch:
        for step in [0, 1, 2, 3, 50, 51, 51, 2, 1, FAR]:
            jax.tree.map(np.testing.assert_array_equal, prefetch(step), train(step))


def test_the_next_steps_are_made_before_they_are_asked_for():
    made, enough = [], threading.Event()

    def slow(step):
        made.append((step, threading.current_thread() is threading.main_thread()))
        if step == 7:
            enough.set()
        return step

    with Prefetch(slow, ahead=2, put=lambda step: (step, threading.current_thread().name)) as prefetch:
        step, thread = prefetch(5)
        assert enough.wait(10)
    assert step == 5 and thread.startswith("prefetch") and made == [(5, False), (6, False), (7, False)]


def test_an_error_is_raised_by_the_call_for_its_step():
    def broken(step):
        if step == 1:
            raise BadInput("step 1 is damaged")
        return step

    with Prefetch(broken) as prefetch:
        assert prefetch(0) == 0
        with pytest.raises(BadInput, match="step 1 is damaged"):
            prefetch(1)
        assert prefetch(2) == 2


def test_waiting_is_counted_where_the_caller_waited():
    ready, asked = threading.Event(), threading.Event()

    def slow(step):
        if step == 0:
            asked.wait(0.2)  # nobody sets it: the caller waits that long
        if step == 1:
            ready.set()
        return step

    with Prefetch(slow, ahead=1) as prefetch:
        prefetch(0)
        waited_s = prefetch.waited_s
        assert waited_s >= 0.15
        assert ready.wait(10)
        prefetch.coming[1].result()
        prefetch(1)
        assert prefetch.waited_s - waited_s < 0.1
    with pytest.raises(RuntimeError):
        prefetch(2)
