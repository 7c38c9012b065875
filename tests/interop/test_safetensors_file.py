"""Files that lie about themselves are refused before anything is allocated; true ones are read as their makers mean."""

import json
import pathlib
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy

from gptjax.config import BadInput
from gptjax.interop import safetensors_file
from gptjax.interop.safetensors_file import TensorFile

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def write(path: pathlib.Path, header: object, data: bytes = bytes(8), length: int | None = None) -> pathlib.Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def test_a_file_of_the_library_is_read(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.full((2, 1, 2), 0.5, np.float16)}
    safetensors.numpy.save_file(arrays, tmp_path / "x.safetensors", {"format": "pt"})
    found = TensorFile(tmp_path / "x.safetensors")
    for name, array in arrays.items():
        np.testing.assert_array_equal(found.view(name), array)
        assert found.view(name).dtype == array.dtype


def test_the_library_reads_what_is_written(tmp_path):
    arrays = {"w": np.arange(8, dtype=np.float32).reshape(4, 2).T, "scalar": np.float32(3).reshape(())}
    shapes = {name: array.shape for name, array in arrays.items()}
    safetensors_file.write(tmp_path / "x", shapes, arrays.values())
    found = safetensors.numpy.load_file(tmp_path / "x")
    assert {name: array.tolist() for name, array in found.items()} == {
        name: array.tolist() for name, array in arrays.items()
    }


LIES = {
    "shorter than 8 bytes": (b"", b"", None, "too few"),
    "header past the end": ({"a": F32}, bytes(8), 2**62, "header claims"),
    "header negative": ({"a": F32}, bytes(8), 2**64 - 1, "header claims"),
    "not JSON": (b"\xff{", bytes(8), None, "not JSON"),
    "deep JSON": (b"[" * 100_000, bytes(8), None, "not JSON"),
    "a list": ([], b"", None, "not a JSON object"),
    "the same name twice": (b'{"a": 1, "a": 2}', b"", None, "stands there twice"),
    "not a row": ({"a": 7}, b"", None, "lacks dtype"),
    "no offsets": ({"a": {"dtype": "F32", "shape": [2]}}, bytes(8), None, "lacks dtype"),
    "unknown dtype": ({"a": F32 | {"dtype": "C64"}}, bytes(8), None, "unknown dtype"),
    "dtype a list": ({"a": F32 | {"dtype": []}}, bytes(8), None, "unknown dtype"),
    "shape not a list": ({"a": F32 | {"shape": 2}}, bytes(8), None, "impossible shape"),
    "shape negative": ({"a": F32 | {"shape": [-1, -2]}}, bytes(8), None, "impossible shape"),
    "shape a float": ({"a": F32 | {"shape": [2.0]}}, bytes(8), None, "impossible shape"),
    "shape true": ({"a": F32 | {"shape": [True, 2]}}, bytes(8), None, "impossible shape"),
    "shape past 64 bits": ({"a": F32 | {"shape": [2**40, 2**40]}}, bytes(8), None, "but has 8"),
    "offsets reversed": ({"a": F32 | {"data_offsets": [8, 0]}}, bytes(8), None, "impossible data_offsets"),
    "offsets three": ({"a": F32 | {"data_offsets": [0, 8, 8]}}, bytes(8), None, "impossible data_offsets"),
    "offsets past the end": ({"a": F32 | {"shape": [4], "data_offsets": [0, 16]}}, bytes(8), None, "whole"),
    "overlap": ({"a": F32, "b": F32 | {"data_offsets": [4, 12]}}, bytes(12), None, "b overlaps"),
    "hole": ({"a": F32, "b": F32 | {"data_offsets": [12, 20]}}, bytes(20), None, "4 bytes before b"),
    "trailing bytes": ({"a": F32}, bytes(9), None, "end at byte"),
    "truncated": ({"a": F32}, bytes(7), None, "whole"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused_before_memory_is_taken(lie, tmp_path):
    header, data, length, words = LIES[lie]
    path = write(tmp_path / "x.safetensors", header, data, length)
    if words == "too few":
        path.write_bytes(b"1234567")
    tracemalloc.start()
    with pytest.raises(BadInput, match=words) as caught:
        TensorFile(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert peak < 1e6 or lie == "deep JSON"


def test_a_file_with_any_bytes_changed_is_whole_or_refused(tmp_path):
    """Nothing but BadInput is raised, and every tensor of what opens can be read to its last byte."""
    true = write(tmp_path / "x", {"a": F32, "b": F32 | {"shape": [2, 1], "data_offsets": [8, 16]}}, bytes(16))
    content, rng, n_opened = true.read_bytes(), np.random.default_rng(0), 0
    for _ in range(600):
        changed = bytearray(content)
        for at in rng.integers(0, len(content), rng.integers(1, 3)):
            changed[at] = rng.choice(bytearray(b'0189-{}[],:."eF\x00\xff'))
        (tmp_path / "y").write_bytes(changed[: len(content) - (rng.random() < 0.1)])
        try:
            file = TensorFile(tmp_path / "y")
        except BadInput:
            continue
        n_opened += 1
        for name, entry in file.entries.items():
            if entry.dtype in safetensors_file.DTYPES:
                file.view(name).tobytes()
    assert 20 < n_opened < 400


@pytest.mark.parametrize("file", ["../x.safetensors", "/etc/passwd", "sub/x.safetensors", "x.bin", 7, None])
def test_an_index_names_no_file_outside_its_folder(file, tmp_path):
    write(tmp_path / "x.safetensors", {"a": F32})
    (tmp_path / safetensors_file.INDEX).write_text(json.dumps({"weight_map": {"a": file}}))
    with pytest.raises(BadInput, match="index.json: "):
        safetensors_file.open_folder(tmp_path)


def test_an_index_that_misplaces_a_tensor_is_refused(tmp_path):
    write(tmp_path / "x.safetensors", {"a": F32})
    (tmp_path / safetensors_file.INDEX).write_text(json.dumps({"weight_map": {"b": "x.safetensors"}}))
    with pytest.raises(BadInput, match="places b in x.safetensors, which lacks it"):
        safetensors_file.open_folder(tmp_path)


def test_a_pickle_is_refused_with_the_command_that_converts_it(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02")
    with pytest.raises(BadInput, match="pytorch_model.bin: is a pickle.*from_pretrained.*save_pretrained"):
        safetensors_file.open_folder(tmp_path)
