"""Canaries: drawn from a seed, planted as often as they say, a row each where that is asked."""

import collections
import json
import stat

import numpy as np
import pytest

from gptjax.config import BadInput
from gptjax.data import shards, split_files
from gptjax.data.alphabets import Bytes
from gptjax.data.corpora import open_corpus
from gptjax.data.split_files import Document
from gptjax.data.subwords import train_bpe
from gptjax.privacy import canaries

TEXTS = [Document(f"text/{at}", f"The text number {at} is about nothing in particular.\n" * 3) for at in range(20)]


def make(n=40, seed: str | None = "a", **given):
    return canaries.make(n, corpus="synthetic", seed=seed, **given)


def test_a_seed_draws_the_same_and_another_others():
    assert make() == make()
    assert {canary.code for canary in make().canaries}.isdisjoint(canary.code for canary in make(seed="b").canaries)
    assert make(seed=None).seed != make(seed=None).seed


def test_names_are_unique_codes_are_of_the_alphabet_and_coins_are_fair():
    found = make(2000, alphabet="abcdef", length=5, repeats=(1, 4))
    assert len({canary.name for canary in found.canaries}) == 2000
    assert {len(canary.code) for canary in found.canaries} == {5}
    letters = collections.Counter("".join(canary.code for canary in found.canaries))
    assert set(letters) == set("abcdef") and max(letters.values()) < 1.1 * min(letters.values())
    for repeats in (1, 4):
        coins = [canary.planted for canary in found.canaries if canary.repeats == repeats]
        assert len(coins) == 1000 and abs(sum(coins) - 500) < 50


@pytest.mark.parametrize("row", [0, 64])
def test_each_is_planted_as_often_as_it_says_and_nothing_else_changes(row):
    found = make(row=row, repeats=(1, 3))
    made = list(canaries.planted(found, lambda: iter(TEXTS)))
    assert [document for document in made if not document.name.startswith("canary/")] == TEXTS
    text = "".join(document.text for document in made)
    for canary in found.canaries:
        assert text.count(found.form.format(**canary._asdict())) == canary.repeats * canary.planted
    at = [number for number, document in enumerate(made) if document.name.startswith("canary/")]
    assert (at == list(range(len(at)))) == bool(row)  # rows go first, others anywhere
    assert row or at[0] < 10 < at[-1]


def test_a_canary_in_a_row_is_one_example_and_changes_no_other(tmp_path):
    """A store with the canaries has the windows of the one without, and one more for each copy."""

    def windows(documents, name):
        folder = tmp_path / name
        folder.mkdir()
        split_files.write(folder, "train", documents)
        split_files.write(folder, "valid", TEXTS[:1])
        store = shards.build(open_corpus(f"splits:{folder}"), "train", Bytes({}), tmp_path / "cache", progress=False)
        return [tuple(window) for window in store.windows(np.arange(0, store.n_tokens - 64, 64), 65).tolist()]

    found = make(row=64, repeats=(1, 2))
    copies = sum(canary.repeats for canary in found.canaries if canary.planted)
    without, planted = windows(TEXTS, "without"), windows(canaries.planted(found, lambda: iter(TEXTS)), "planted")
    assert planted[copies:] == without and len(planted) == copies + len(without)
    for window in planted[:copies]:
        text = bytes(window[1:64]).decode()
        assert sum(canary.code in text and canary.name in text for canary in found.canaries) == 1


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_the_tokens_before_a_code_and_its_own_are_those_of_the_text(kind):
    found = make()
    text = "".join(map(found.text, found.canaries)) * 20
    tokenizer = Bytes({}) if kind == "bytes" else train_bpe(400, iter([text]))
    for canary in found.canaries:
        before, code = canaries.split_tokens(found, canary, canary.code, tokenizer)
        assert before[0] == tokenizer.end_of_text
        whole = found.form.format(name=canary.name, code=canary.code).rstrip(".")
        assert before[1:] + code == tokenizer.encode(whole).tolist()
        assert tokenizer.decode(code).strip() == canary.code


def test_a_file_is_its_owners_and_reads_back(tmp_path):
    file, found = tmp_path / "canaries.json", make(form="{name} has ümlaut code: {code}")
    file.write_text("what others may read")
    file.chmod(0o644)
    canaries.write(file, found)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert canaries.read(str(file)) == found


def test_a_corpus_of_splits_is_what_was_written(tmp_path):
    split_files.write(tmp_path, "train", TEXTS)
    split_files.write(tmp_path, "valid", [Document("last", "é\n")])
    corpus = open_corpus(f"splits:{tmp_path}")
    assert list(split_files.documents(corpus, "train")) == TEXTS
    assert list(split_files.documents(corpus, "valid")) == [Document("last", "é\n")]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"form": "{code} of {name}"}, "must hold {name} and, behind it, {code}"),
        ({"form": "the code of {name} is {code} {x}"}, "must hold {name}"),
        ({"alphabet": "0"}, "at least two letters or digits"),
        ({"alphabet": "011"}, "none twice"),
        ({"length": 0}, "--code_length=0: must be from 1 to 64"),
        ({"n": 1}, "--plant=1: needs 2 canaries at least"),
        ({"repeats": (0,)}, "each repeated at least once"),
        ({"row": 40}, "--row=40: a canary and the end of text before it have 46 bytes; try --row=46"),
    ],
)
def test_what_cannot_be_planted_is_refused(given, says):
    with pytest.raises(BadInput) as error:
        make(**{"n": 4, **given})
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda v: v.pop("row"), "must be an object with version, form"),
        (lambda v: v.update(version=2), "of another version"),
        (lambda v: v.update(alphabet=3), "alphabet is no str"),
        (lambda v: v.update(canaries=[]), "needs canaries"),
        (lambda v: v["canaries"][1].update(planted=1), "canary 1: planted is no bool"),
        (lambda v: v["canaries"][1].update(code="12"), "codes of one length"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, change, says):
    file = tmp_path / "canaries.json"
    canaries.write(file, make())
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))
    with pytest.raises(BadInput, match=f"--canaries={file}") as error:
        canaries.read(str(file))
    assert says in str(error.value)
