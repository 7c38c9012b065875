"""Random damages of a store's files: each is named with its file and place, or changes no token that is read."""

import os
import pathlib
import re
import shutil

import numpy as np
import pytest

from gptjax.config import BadInput
from gptjax.data import checks, shards
from gptjax.data.alphabets import Bytes
from gptjax.data.batches import Batches
from gptjax.data.corpora import open_corpus
from gptjax.data.store import open_store
from tests.reliability.draws import draw

CONTEXT, ROWS = 255, 64


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store of four shards, and every batch of an epoch of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "SHARD_TOKENS", 260_000)
        made = shards.build(open_corpus("synthetic"), "train", Bytes({}), tmp_path_factory.mktemp("whole"))
    assert len(made.manifest["shards"]) == 4
    return made.folder, epoch(made.folder)


def epoch(folder: pathlib.Path) -> list:
    opened = open_store(folder)
    batches = Batches([opened], [1.0], batch_size=ROWS, context=CONTEXT, seed=0, mask_documents=True, end_of_text=0)
    return [np.stack(batches(step)[:2]) for step in range(-(-batches.n_windows[0] // ROWS))]


def cut(rng, file: pathlib.Path) -> None:
    os.truncate(file, int(rng.integers(file.stat().st_size)))


def appended(rng, file: pathlib.Path) -> None:
    with file.open("ab") as stream:
        stream.write(rng.bytes(int(rng.integers(1, 10_000))))


def removed(rng, file: pathlib.Path) -> None:
    file.unlink()


def written_over(change):
    """The damage that changes a file's bytes from a random place on and keeps its size."""

    def damage(rng, file: pathlib.Path) -> None:
        content = file.read_bytes()
        at = int(rng.integers(len(content)))
        file.write_bytes(content[:at] + change(rng, content[at:]))

    return damage


def one_bit(rng, rest):
    return bytes([rest[0] ^ (1 << int(rng.integers(8)))]) + rest[1:]


def some_bytes(rng, rest):
    n = min(len(rest), int(rng.integers(1, 9000)))
    return rng.bytes(n) + rest[n:]


def zeros(rng, rest):
    n = min(len(rest), int(rng.integers(1, 9000)))
    return bytes(n) + rest[n:]


def shifted(rng, rest):
    n = min(len(rest), int(rng.integers(1, 9)))
    return rest[n:] + rest[:n]


def of_another(rng, file: pathlib.Path) -> None:
    """The content of another shard of the same size, with which it changes places or not."""
    others = [other for other in file.parent.glob("tokens-*") if other.stat().st_size == file.stat().st_size]
    other = others[int(rng.integers(len(others)))]
    mine, theirs = file.read_bytes(), other.read_bytes()
    file.write_bytes(theirs)
    if rng.integers(2):
        other.write_bytes(mine)


DAMAGES = {
    "truncated": cut,
    "appended": appended,
    "missing": removed,
    "bit": written_over(one_bit),
    "bytes": written_over(some_bytes),
    "zeros": written_over(zeros),
    "shifted": written_over(shifted),
    "swapped": of_another,
}


def damaged(whole, scratch: pathlib.Path):
    """One draw: a damage of a random kind in a random file (a shard, three times of four), then an epoch is read."""
    folder, expected = whole

    def one(rng, i) -> str:
        copy = scratch / str(i)
        shutil.copytree(folder, copy)
        kind = list(DAMAGES)[int(rng.integers(len(DAMAGES)))]
        names = sorted(file.name for file in copy.iterdir() if file.suffix in (".bin", ".json"))
        at_shards = [name for name in names if name.startswith("tokens")]
        name = str(rng.choice(at_shards if kind == "swapped" or rng.integers(4) else names))
        DAMAGES[kind](rng, copy / name)
        try:
            same = all(np.array_equal(*pair) for pair in zip(epoch(copy), expected, strict=True))
            return f"{kind}: {'harmless' if same else 'SILENT'}"
        except BadInput as error:
            return f"{kind}: {'named' if names_it(str(error), copy / name, folder) else f'MISNAMED {error}'}"
        finally:
            shutil.rmtree(copy)

    return one


def names_it(said: str, file: pathlib.Path, whole: pathlib.Path) -> bool:
    """Whether the file is named, and of a shard that kept its size a block in which a byte did change."""
    place = re.search(r"/(tokens-\d+\.bin) is damaged at bytes (\d+) to (\d+)", said)
    if place is None:
        sizes = not file.name.startswith("tokens") or re.search(r"is damaged: \d+ bytes, expected \d+", said)
        return bool(sizes) and (f"{file} is damaged" in said or f"has no {file.name}" in said)
    block = slice(int(place[2]), int(place[3]))
    now, then = ((folder / place[1]).read_bytes()[block] for folder in (file.parent, whole))
    return now != then and len(range(*block.indices(block.stop))) == checks.BLOCK


def assert_none_silent(counts) -> None:
    wrong = {outcome: n for outcome, n in counts.items() if "SILENT" in outcome or "MISNAMED" in outcome}
    assert not wrong, wrong
    assert sum(n for outcome, n in counts.items() if "named" in outcome) > 0.9 * counts.total(), counts


def test_no_damage_of_a_store_is_silent(whole, tmp_path):
    assert_none_silent(draw("shard_damages", 60, damaged(whole, tmp_path), keep=False))


@pytest.mark.prove
def test_no_damage_of_a_store_is_silent_in_many_draws(whole, tmp_path):
    assert_none_silent(draw("shard_damages", 500, damaged(whole, tmp_path), keep=True))
