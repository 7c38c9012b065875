"""Pairs: read, held out and packed whole, both answers in one row, the rejected one's targets with a minus."""

import collections

import numpy as np
import pytest

from gptjax.config import BadInput
from gptjax.data import dialog_batches, dialogs, prepared, shards
from gptjax.data.alphabets import Bytes
from gptjax.data.dialog_batches import DialogBatches
from gptjax.data.examples import Marked
from gptjax.data.preference_batches import PackedPairs
from gptjax.data.preferences import Preferences
from gptjax.data.templates import Message
from tests.data.test_dialogs import write
from tests.tiny import make_config

ROW = {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}
TALK = [{"role": "user", "content": "2 + 2?"}]
CONTEXT, ROWS = 96, 4


def say(text):
    return [{"role": "assistant", "content": text}]


@pytest.mark.parametrize(
    "row",
    [
        ROW,
        {"prompt": TALK, "chosen": "4", "rejected": say("5")},
        {"chosen": TALK + say("4"), "rejected": TALK + say("5")},
    ],
)
def test_a_line_is_a_pair_however_it_is_written(row, tmp_path):
    write(tmp_path / "a.jsonl", [row] * 10)
    corpus = Preferences(f"preferences:{tmp_path}/*.jsonl", None)
    found = [pair for split in corpus.splits for pair in corpus.pairs(split)]
    asked = Message("user", "2 + 2?")
    assert len(found) == 10
    assert all(pair.messages == [asked, Message("assistant", "4")] for pair in found)
    assert all(pair.rejected == [asked, Message("assistant", "5")] for pair in found)


def test_both_answers_are_text_that_was_trained_on(tmp_path):
    write(tmp_path / "a.jsonl", [ROW] * 10)
    cfg = make_config(f"data.corpora=preferences:{tmp_path}/a.jsonl", "init_from=x")
    corpus = prepared.opener(cfg)(cfg.data.corpora[0], tmp_path)
    assert list(dialogs.texts(corpus)) == ["User: 2 + 2?\nAssistant: 4\n", "User: 2 + 2?\nAssistant: 5\n"] * 9


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ([], "line 1: is no object"),
        ({"prompt": "a", "chosen": "b"}, "no field 'rejected'; it has prompt, chosen"),
        (ROW | {"rejected": "4"}, "'chosen' and 'rejected' are the same"),
        (ROW | {"rejected": " "}, "no answer"),
        (ROW | {"chosen": 4}, "the field 'chosen' is int, not text"),
        ({"chosen": "4", "rejected": "5"}, "answer no prompt that both have"),
        (ROW | {"prompt": [{"role": "user"}]}, "message 0 is no object with 'role' and 'content'"),
    ],
)
def test_a_line_that_is_no_pair_is_named(row, says, tmp_path):
    write(tmp_path / "a.jsonl", [row] * 3)
    with pytest.raises(BadInput, match=says):
        list(Preferences(f"preferences:{tmp_path}/a.jsonl", None).pairs("train"))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("pairs")
    sizes = rng.integers(1, 12, (60, 3)).tolist()
    rows = [
        {"prompt": f"{n:03}" + "p" * a, "chosen": "c" * b, "rejected": "r" * c} for n, (a, b, c) in enumerate(sizes)
    ]
    rows[3]["chosen"] = "c" * CONTEXT  # which does not fit
    write(folder / "a.jsonl", rows)
    corpus = Preferences(f"preferences:{folder}/a.jsonl", None)
    return shards.build(corpus, "train", Marked(Bytes({}), {}), folder / "cache")


def make(store, too_long="drop", fill="budget"):
    keys = {"batch_size": ROWS, "context": CONTEXT, "seed": 0, "fill": fill, "too_long": too_long, "end_of_text": 0}
    return DialogBatches({"toy": store}, [1.0], **keys, kind=PackedPairs)


def pairs_of(batch):
    """(chosen text, answered, rejected text, answered) of each pair of a batch."""
    for at in range(len(batch.inputs_BT)):
        found = []
        for number in range(1, batch.segments_BT[at].max() + 1):
            (here,) = np.nonzero(batch.segments_BT[at] == number)
            assert (np.diff(here) == 1).all() and (batch.positions_BT[at, here] == np.arange(len(here))).all()
            sign = 1 if number % 2 else -1
            assert set(batch.weights_BT[at, here].tolist()) == {0.0, sign}
            inputs, targets = batch.inputs_BT[at, here], batch.targets_BT[at, here]
            assert inputs[0] == 0 and (inputs[1:] == targets[:-1]).all()
            answered = targets[batch.weights_BT[at, here] == sign]
            found.append((bytes(inputs[1:].tolist()).decode(), bytes(answered.tolist()).decode()))
        assert len(found) % 2 == 0 and not batch.weights_BT[at, batch.segments_BT[at] == 0].any()
        yield from zip(found[::2], found[1::2], strict=True)


@pytest.mark.parametrize("fill", ["budget", "buckets", "fixed"])
def test_each_pair_stands_whole_in_a_row_once_an_epoch(fill, store):
    batches = make(store, fill=fill)
    (packed,) = batches.packed
    n_places = packed.n_groups * packed.rows.group
    counts = collections.Counter()
    for step in range(-(-n_places // ROWS) * 4):  # four epochs, and of `budget` the beginning of a fifth
        for (chosen, said), (rejected, other) in pairs_of(batches(step)):
            prompt = chosen.removesuffix(said[:-1])
            assert prompt == rejected.removesuffix(other[:-1]) and prompt.endswith("\nAssistant:")
            assert said.strip(" \n\0").strip("c") == other.strip(" \n\0").strip("r") == "" and said[-1] == "\0"
            counts[chosen] += 1
    assert len(counts) == 53 and set(counts.values()) <= {4, 5}
    assert batches.told["toy"]["dialogs"] == 54 and batches.told["toy"]["left_out"] == 1


def test_what_does_not_fit_is_counted_or_refused(store):
    with pytest.raises(BadInput, match="1 of 54 pairs of .*, chosen and rejected together, take more, up to"):
        make(store, too_long="refuse")


def test_an_evaluation_holds_pairs_in_order(store):
    keys = {"batch_size": 2, "context": CONTEXT, "n_tokens": 100, "too_long": "drop", "end_of_text": 0}
    batches = dialog_batches.fixed(store, **keys, kind=PackedPairs)
    numbers = [int(chosen[6:9]) for batch in batches for (chosen, _), _ in pairs_of(batch)]
    targets = sum(np.abs(batch.weights_BT).sum() for batch in batches)
    assert sorted(numbers) == [n for n in range(len(numbers) + 1) if n != 3] and 100 <= targets < 130
