"""Rows of examples: each example whole and once an epoch, whatever fills them, and nothing cut in silence."""

import collections

import numpy as np
import pytest

from gptjax.config import BadInput
from gptjax.data import dialog_batches, packing
from gptjax.data.alphabets import Bytes
from gptjax.data.dialog_batches import DialogBatches
from gptjax.data.examples import Examples
from gptjax.data.poisson import Dialogs, PoissonBatches
from tests.data.test_examples import store_of

CONTEXT, ROWS = 64, 4
FILLS = ("budget", "buckets", "fixed")
HEAD = len("User: \nAssistant:")  # and an answer of n letters takes n + 2 more, and 1 for its end


def row(number, n_prompt, n_answer):
    return {"prompt": f"{number:03}" + "p" * (n_prompt - 3), "answer": "a" * n_answer}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    rng = np.random.default_rng(0)
    sizes = zip(rng.integers(3, 20, 60).tolist(), rng.integers(1, 20, 60).tolist(), strict=True)
    rows = [row(number, *size) for number, size in enumerate(sizes)]
    return store_of(tmp_path_factory.mktemp("store"), Bytes({}), {}, rows)


def make(store, fill="budget", **changes):
    keys = {"batch_size": ROWS, "context": CONTEXT, "seed": 0, "fill": fill, "too_long": "refuse", "end_of_text": 0}
    return DialogBatches({"toy": store}, [1.0], **keys | changes)


def examples_of(batch):
    """(inputs, answered text) of each example of a batch."""
    assert batch.segments_BT is not None and batch.positions_BT is not None
    for at in range(len(batch.inputs_BT)):
        for number in range(1, batch.segments_BT[at].max() + 1):
            (here,) = np.nonzero(batch.segments_BT[at] == number)
            assert (np.diff(here) == 1).all() and (batch.positions_BT[at, here] == np.arange(len(here))).all()
            weighs = batch.weights_BT[at, here] == 1
            inputs, targets = batch.inputs_BT[at, here], batch.targets_BT[at, here]
            assert (inputs[1:] == targets[:-1]).all() and inputs[0] == 0
            yield bytes(inputs[1:].tolist()).decode(), bytes(targets[weighs].tolist()).decode()


def epoch_of(batches):
    (packed,) = batches.packed
    n_places = packed.n_groups * packed.rows.group
    assert n_places % ROWS == 0 or packed.rows.group == 1
    return [found for step in range(-(-n_places // ROWS)) for found in examples_of(batches(step))], n_places


@pytest.mark.parametrize("fill", FILLS)
def test_each_example_stands_whole_in_an_epoch_with_its_answer_alone_weighed(fill, store):
    found, n_places = epoch_of(make(store, fill))
    counts = collections.Counter(text for text, _ in found)
    assert len(counts) == 54 and set(counts.values()) <= {1, 2}  # the last batch may hold the next epoch's first rows
    assert sum(counts.values()) == 54 or n_places % ROWS
    for text, answered in found:
        assert text.startswith("User: ") and answered == text.partition("Assistant:")[2] + "\0" and len(answered) > 3


@pytest.mark.parametrize("fill", FILLS)
def test_what_no_example_takes_weighs_nothing_and_is_a_segment_of_its_own(fill, store):
    batch = make(store, fill)(0)
    assert batch.segments_BT is not None
    assert (batch.segments_BT == 0).any()
    assert (batch.weights_BT[batch.segments_BT == 0] == 0).all() and (
        batch.inputs_BT[batch.segments_BT == 0] == 0
    ).all()


@pytest.mark.parametrize("fill", FILLS)
def test_a_batch_is_a_function_of_seed_and_step(fill, store):
    one, other = make(store, fill), make(store, fill)
    for step in (7, 0, 100):
        for seen, again in zip(one(step), other(step), strict=True):
            assert seen is not None and again is not None
            np.testing.assert_array_equal(seen, again)
    assert any((one(step).inputs_BT != make(store, fill, seed=1)(step).inputs_BT).any() for step in range(3))


@pytest.mark.parametrize("fill", FILLS)
def test_a_process_reads_its_rows_of_the_global_batch(fill, store):
    whole = make(store, fill)(5)
    for array, mine in zip(whole, make(store, fill, rows=[3, 1])(5), strict=True):
        assert array is not None and mine is not None
        np.testing.assert_array_equal(array[[3, 1]], mine)


@pytest.mark.parametrize("fill", FILLS)
def test_another_epoch_has_another_order(fill, store):
    batches = make(store, fill)
    (packed,) = batches.packed
    n = packed.n_groups * packed.rows.group
    first, second = (packed.drawn(np.arange(n) + epoch * n, 0, 0).tolist() for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(n)) and first != second


def test_a_budget_fills_most_and_one_a_row_least(store):
    filled = [make(store, fill, context=256).told["toy"]["filled"] for fill in FILLS]
    assert filled[0] > 0.9 and filled[0] > filled[1] > filled[2]


def test_a_batch_of_buckets_holds_one_width(tmp_path):
    rows = [row(n, 3, 20 if n % 2 else 3) for n in range(80)]  # 43 and 26 positions
    batches = make(store_of(tmp_path, Bytes({}), {}, rows), "buckets")
    (packed,) = batches.packed
    widths = [{len(text) > 31 for text, _ in examples_of(batches(step))} for step in range(packed.n_groups)]
    assert sum(len(found) == 1 for found in widths) >= packed.n_groups - 1 and {True} in widths and {False} in widths


def test_best_fit_needs_the_fewest_rows_here():
    sizes = np.array([5, 5, 4, 3, 3, 2, 2])
    rows = packing.packed(sizes, 8, "budget", 1, 0)
    assert len(rows) == 3 and sorted(rows.members.tolist()) == list(range(7))
    places = list(zip(rows.members.tolist(), rows.positions.tolist(), strict=True))
    for first, stop in zip(rows.borders[:-1], rows.borders[1:], strict=True):
        used = [set(range(at, at + sizes[member])) for member, at in places[first:stop]]
        assert sum(map(len, used)) == len(set.union(*used)) == max(set.union(*used)) + 1 == 8


@pytest.fixture(scope="module")
def long_store(tmp_path_factory):
    """Of the used ones: short; a prompt too long; an answer too long; and both."""
    rows = [row(0, 5, 5), row(1, 60, 10), row(2, 5, 80), row(3, 80, 80), row(4, 5, 5)]
    return store_of(tmp_path_factory.mktemp("long"), Bytes({}), {}, rows)


@pytest.mark.parametrize(
    "too_long,left_out,cut,answers",
    [
        ("drop", 3, 0, [5]),
        ("cut_prompt", 2, 1, [5, 10]),
        ("cut_answer", 2, 1, [5, CONTEXT - HEAD - 5 - 1]),
    ],
)
def test_what_is_too_long_is_cut_as_said_and_counted(too_long, left_out, cut, answers, long_store):
    batches = make(long_store, too_long=too_long, batch_size=1)
    told = batches.told["toy"]
    assert (told["dialogs"], told["left_out"], told["cut"]) == (4, left_out, cut)
    found = [found for step in range(told["rows"]) for found in examples_of(batches(step))]
    assert sorted(answered.count("a") for _, answered in found) == sorted(answers)
    whole = [answered.endswith("\n\0") for _, answered in found]
    assert whole.count(False) == (too_long == "cut_answer")
    if too_long == "cut_prompt":
        (kept,) = [text for text, answered in found if len(answered) == 13]
        assert len(kept) == CONTEXT - 1 and kept.startswith("ppp") and "Assistant: aaaaaaaaaa\n" in kept


def test_a_cut_in_a_later_prompt_leaves_the_answer_before_it_alone(tmp_path):
    says = [("user", "a"), ("assistant", "b"), ("user", "c" * 60), ("assistant", "d")]
    chat = {"messages": [{"role": role, "content": content} for role, content in says]}
    batches = make(store_of(tmp_path, Bytes({}), {}, [chat] * 2), too_long="cut_answer", batch_size=1)
    ((_, answered),) = examples_of(batches(0))
    assert answered == " b\n" and batches.told["toy"]["cut"] == 1


def test_a_dialog_that_is_too_long_can_refuse_the_run(long_store):
    with pytest.raises(BadInput, match=r"3 of 4 dialogs of .*train are longer, the longest 180; try model.context=180"):
        make(long_store, too_long="refuse")
    found = Examples(long_store, 0)
    assert packing.fitted(found, 180, "refuse").counts == {"dialogs": 4, "left_out": 0, "cut": 0}


def test_where_none_fits_the_run_is_refused(long_store):
    with pytest.raises(BadInput, match="no dialog of .* fits into it, cut as data.too_long='drop' says"):
        make(long_store, too_long="drop", context=8)


def test_evaluation_takes_examples_in_order_until_it_has_its_targets(store):
    fixed = lambda n: dialog_batches.fixed(
        store, batch_size=ROWS, context=CONTEXT, n_tokens=n, too_long="refuse", end_of_text=0
    )
    found = sorted(text for batch in fixed(100) for text, _ in examples_of(batch))
    n_targets = sum(batch.weights_BT.sum() for batch in fixed(100))
    assert [text[6:9] for text in found] == [f"{n:03}" for n in range(len(found))] and 100 <= n_targets < 125
    assert len([text for batch in fixed(10**6) for text, _ in examples_of(batch)]) == 54


def test_two_sets_are_dealt_by_their_weights(store, long_store):
    batches = DialogBatches(
        {"a": store, "b": long_store}, [3.0, 1.0], batch_size=ROWS, context=CONTEXT, seed=0, fill="fixed",
        too_long="drop", end_of_text=0,
    )  # fmt: skip
    for step in range(3):
        assert sum(text == "User: 000pp\nAssistant: aaaaa\n" for text, _ in examples_of(batches(step))) == 1


def test_a_private_batch_holds_the_dialogs_that_were_drawn_one_in_a_row(store):
    fixed = make(store, "fixed")
    examples = Dialogs(fixed.packed[0], CONTEXT, 0)
    found = PoissonBatches(examples, mean=6, most=20, key=bytes(32))
    batch, drawn = found(4), found.drawn(4)
    each = list(examples_of(examples.rows(np.arange(examples.n_examples))))
    assert set(each) == set(epoch_of(fixed)[0]) and len(set(each)) == len(each) and 0 < len(drawn) < 20
    assert list(examples_of(batch)) == [each[row] for row in drawn.tolist()]
    assert batch.weights_BT[len(drawn) :].sum() == 0 and (batch.inputs_BT[len(drawn) :] == 0).all()
