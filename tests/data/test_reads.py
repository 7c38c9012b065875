"""What opening a corpus and reading a store leave unread: the cost of a start and of a batch."""

import pathlib

import pytest

from gptjax.config import BadInput
from gptjax.data import corpora, shards, text_files
from gptjax.data.alphabets import Bytes
from gptjax.data.corpora import open_corpus


def test_python_is_not_read_again_while_its_files_stand_unchanged(tmp_path, monkeypatch):
    library = tmp_path / "lib"
    (library / "pydoc_data").mkdir(parents=True)
    for name in ("abc", "cgi", "os", "pydoc_data/topics"):
        (library / f"{name}.py").write_text(f"import {name}\n" * 20)
    monkeypatch.setattr(corpora.sysconfig, "get_path", lambda name: str(library))
    of = lambda: open_corpus("python", tmp_path).fingerprint("train")
    first = of()
    with monkeypatch.context() as patch:
        patch.setattr(corpora.PythonLibrary, "documents", lambda *_: pytest.fail("read again"))
        assert of() == first
    (library / "os.py").write_text("import so\n" * 20)
    assert of() != first


def test_reading_a_window_asks_the_disk_for_no_more_than_it(tmp_path):
    """Of a store that is larger than memory, each window would else cost the disk's whole read-ahead."""
    store = shards.build(open_corpus("synthetic"), "train", Bytes({}), tmp_path)
    store.read(0, 5)
    maps = pathlib.Path("/proc/self/smaps").read_text().split(f"{store.folder}/tokens-00000.bin\n")
    assert len(maps) == 2 and "rr" in maps[1].partition("VmFlags:")[2].splitlines()[0].split()


def test_a_json_line_is_not_read_beyond_the_longest_that_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "LINE_BYTES", 100)
    (tmp_path / "a.jsonl").write_text('{"text": "short"}\n{"text": "' + "long" * 50 + '"}\n')
    with pytest.raises(BadInput, match=r"a\.jsonl, line 2: longer than 100 bytes"):
        list(open_corpus(f"text:{tmp_path}/a.jsonl").documents("train"))
