"""What is wrong with the files of a checkpoint is found before any array is used, and named."""

import shutil

import numpy as np
import pytest

from gptjax.config import BadInput
from gptjax.training import checkpoint, integrity
from gptjax.training.checkpoint import Checkpoints, DamagedCheckpoint
from tests.training.states import ABSTRACT, ABSTRACT_ONE, assert_same_bits, make_one, make_state, saved_at


@pytest.mark.parametrize("damage", ["cut", "manifest", "description", "arrays", "meta", "format"])
def test_a_damaged_checkpoint_is_named(tmp_path, damage):
    folder = saved_at(tmp_path, 1, 2, make=make_one)
    state = tmp_path / "2" / "state"
    if damage == "cut":
        largest = max((p for p in state.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
        largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    elif damage == "manifest":
        (state / "manifest.ocdbt").write_bytes(b"")
    elif damage == "description":
        (state / "_METADATA").write_text("{")
    elif damage == "arrays":
        shutil.rmtree(state)
    else:
        (tmp_path / "2" / "meta" / "metadata").write_text("{}" if damage == "format" else "{")
    checkpoints = Checkpoints(folder, keep_last=2, keep_every=0)
    with pytest.raises(DamagedCheckpoint, match=f"{tmp_path}/2 is damaged"):
        checkpoints.restore(ABSTRACT_ONE, 2)
    assert_same_bits(checkpoints.restore(ABSTRACT_ONE, 1)[0], make_one(1))
    checkpoints.close()


@pytest.mark.parametrize(
    "manifest, words",
    [
        ({"format": 4, "gptjax": "9.1"}, r"has format 4, written by gptjax 9.1; this gptjax \(.*\) reads format 3"),
        (None, "has format 1, without hashes; this gptjax reads format 3"),
    ],
)
def test_another_format_is_refused_by_its_number_and_not_as_damage(tmp_path, manifest, words):
    folder = saved_at(tmp_path, 1, make=make_one)
    if manifest is None:
        (tmp_path / "1" / integrity.MANIFEST).unlink()
        (tmp_path / "1" / "meta" / "metadata").write_text('{"format": 1}')
    else:
        (tmp_path / "1" / integrity.MANIFEST).write_bytes(integrity.encoded(manifest))
    for read in (checkpoint.read_meta, checkpoint.verified):
        with pytest.raises(BadInput, match=words) as caught:
            read(folder, 1)
        assert not isinstance(caught.value, DamagedCheckpoint)


@pytest.mark.parametrize("size", [1, 1000, 100_000, 3_000_000])
def test_a_hash_tells_any_word_and_any_length_apart(tmp_path, size):
    rng, file = np.random.default_rng(size), tmp_path / "file"
    content = bytearray(rng.bytes(size))
    hashes = lambda: integrity.hashes_of(str(tmp_path), {"file": len(file.read_bytes())})["file"]
    file.write_bytes(content)
    seen = {hashes()}
    bits = {0, 8 * size - 1, *rng.integers(8 * size, size=5).tolist()}
    for bit in bits:
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        seen.add(hashes())
    for other in (content + b"\0", content[:-1], bytes(size), bytes(size + 1)):
        file.write_bytes(other)
        seen.add(hashes())
    assert len(seen) == 1 + len(bits) + 4


def test_blocks_that_changed_places_are_found(tmp_path):
    file, blocks = tmp_path / "file", [np.random.default_rng(n).bytes(integrity.BLOCK_BYTES) for n in range(2)]
    hashes = lambda: integrity.hashes_of(str(tmp_path), {"file": 2 * integrity.BLOCK_BYTES})["file"]
    file.write_bytes(blocks[0] + blocks[1])
    before = hashes()
    file.write_bytes(blocks[1] + blocks[0])
    assert hashes() != before


def test_the_manifest_is_there_when_the_folder_gets_its_name(tmp_path, monkeypatch):
    named, real = [], integrity.seal
    monkeypatch.setattr(integrity, "seal", lambda *a: (named.append((tmp_path / "3").exists()), real(*a)))
    checkpoints = Checkpoints(str(tmp_path), keep_last=2, keep_every=0)
    checkpoints.save(3, make_state(3), {}, None)
    checkpoints.close()
    assert named == [False] and (tmp_path / "3").exists()
    held = {str(path.relative_to(tmp_path / "3")) for path in (tmp_path / "3").rglob("*") if path.is_file()}
    listed = integrity.read_manifest(str(tmp_path / "3"))["files"].keys()
    assert held - listed == {integrity.MANIFEST, *integrity.LATER}


def test_weights_are_read_though_the_optimizer_is_damaged(tmp_path):
    folder = saved_at(tmp_path, 1)
    (tmp_path / "1/state/_METADATA").write_text("{")
    fields, _ = checkpoint.restore_fields(folder, {"params": ABSTRACT.params}, 1)
    assert_same_bits(fields["params"], make_state(1).params)
    with pytest.raises(DamagedCheckpoint, match=r"1 is damaged \(state/_METADATA has 1 bytes, "):
        checkpoint.verified(folder, 1)


def test_a_checkpoint_of_another_step_under_this_name_is_damage(tmp_path):
    folder = saved_at(tmp_path, 1, make=make_one)
    (tmp_path / "1").rename(tmp_path / "5")
    with pytest.raises(DamagedCheckpoint, match="5 is damaged .it holds step 1"):
        checkpoint.verified(folder, 5)


def test_a_reader_passes_a_damaged_checkpoint_and_renames_nothing(tmp_path, capsys):
    folder = saved_at(tmp_path, 1, 2, make=make_one)
    (tmp_path / "2/meta/metadata").write_text("{}")
    assert checkpoint.newest_good(folder, lambda step: checkpoint.verified(folder, step)) == 1
    assert capsys.readouterr().err.startswith(f"gptjax: {folder}/2 is damaged (meta/metadata has 2 bytes, ")
    assert checkpoint.steps(folder) == [1, 2]


def test_with_no_good_one_left_nothing_starts_over_however_often_it_is_tried(tmp_path):
    folder = saved_at(tmp_path, 1, 2, make=make_one)
    for step in (1, 2):
        shutil.rmtree(tmp_path / f"{step}/state")
    for _ in range(2):
        with pytest.raises(BadInput, match=r"every checkpoint is damaged \(1.damaged, 2.damaged\)"):
            checkpoint.newest_good(folder, lambda step: checkpoint.verified(folder, step), quarantine=True)


def test_a_second_quarantine_of_a_step_takes_another_name(tmp_path):
    for name in ("4", "4.damaged", "5"):
        (tmp_path / name).mkdir()
    assert integrity.quarantine(f"{tmp_path}/4") == f"{tmp_path}/4.damaged-1"
    assert integrity.quarantined(str(tmp_path)) == ["4.damaged", "4.damaged-1"]


def test_an_older_checkpoint_that_orbax_cannot_open_is_put_aside_too(tmp_path):
    checkpoints = Checkpoints(str(tmp_path), keep_last=3, keep_every=0)
    for step in (1, 2, 3):
        checkpoints.save(step, make_one(step), {}, 1.0)
    checkpoints.close()
    folder = str(tmp_path)
    (tmp_path / "1/metrics/metrics").write_text("{")
    assert checkpoint.newest_good(folder, lambda step: checkpoint.verified(folder, step), quarantine=True) == 3
    assert checkpoint.steps(folder) == [2, 3]
    Checkpoints(folder, keep_last=3, keep_every=0).close()


def test_in_an_object_store_names_and_sizes_are_held(monkeypatch):
    """Such a store keeps checksums of its own, and bills every byte that is read."""
    folder = "memory://run/checkpoints/7"
    fs, root = integrity.file_system(folder)
    fs.pipe_file(f"{root}/meta/metadata", b"{}")
    fs.pipe_file(f"{root}/params/d/a", b"abc")
    integrity.seal(folder, 7)
    assert integrity.verify(folder)["files"]["params/d/a"] == {"bytes": 3, "hash": None}
    fs.pipe_file(f"{root}/params/d/a", b"ab")
    with pytest.raises(DamagedCheckpoint, match="params/d/a has 2 bytes, 3 when it was saved"):
        integrity.verify(folder)
