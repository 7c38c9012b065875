"""What `code` is judged by: functions of pip that stand nowhere in Python's library."""

import importlib.util
import itertools
import types

import pytest

from experiments import functions, leaks
from experiments.code import elsewhere
from experiments.code import examples as code
from gptjax.config import BadInput

NEW = 'def brew(self, cups):\n    """Make tea, if there is water."""\n    return self.kettle.pour(cups) or None\n'
LATIN = '# coding: latin-1\ndef tee():\n    """Für zwei."""\n    return 2\n'


def installed(monkeypatch, folder):
    found = folder and types.SimpleNamespace(submodule_search_locations=[str(folder)])
    monkeypatch.setattr(importlib.util, "find_spec", {"pip": found}.__getitem__)


def test_without_pip_one_line_says_so(monkeypatch):
    installed(monkeypatch, None)
    with pytest.raises(BadInput, match="functions of pip, which is not installed"):
        code.judged.__wrapped__()


def test_functions_are_taken_from_every_file_once_in_its_encoding(monkeypatch, tmp_path):
    (tmp_path / "_vendor").mkdir()
    (tmp_path / "_vendor/again.py").write_text(NEW)
    (tmp_path / "new.py").write_text(NEW)
    (tmp_path / "tea.py").write_bytes(LATIN.encode("latin-1"))
    installed(monkeypatch, tmp_path)
    assert [function.docstring for function in elsewhere.of_pip()] == ["Make tea, if there is water.", "Für zwei."]


def test_nothing_is_asked_for_that_stands_in_the_library_held_out_or_not(monkeypatch, tmp_path):
    """Neither as it is, nor a part of it under another name, nor another body for the same prompt."""
    (tmp_path / "new.py").write_text(NEW)
    for split in ("train", "valid"):
        library = sorted(filter(code.wanted, functions.of_split(split)), key=lambda function: len(function.text))
        short, other, long = library[0], library[1], library[-1]
        (tmp_path / f"same_{split}.py").write_text(short.text + "\n")
        (tmp_path / f"prompt_{split}.py").write_text(f"{other.documented}\n    return self.own_{split}\n")
        (tmp_path / f"part_{split}.py").write_text(long.text.replace(f"def {long.name}", "def own") + "\n    more()\n")
    installed(monkeypatch, tmp_path)
    monkeypatch.setattr(code, "ONE_IN", 1)
    assert code.judged.__wrapped__() == [code.pair(*functions.of_source(NEW))]


@pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="needs pip")
def test_a_third_of_pips_functions_is_asked_for_and_no_run_of_words_is_the_librarys():
    asked = code.examples("test")
    assert 0.25 < len(asked) / sum(map(code.wanted, elsewhere.of_pip())) < 0.4
    texts = ["".join(pair) for pair in asked]
    library = itertools.chain(functions.sources("train"), functions.sources("valid"))
    assert leaks.unseen(asked, texts, library) == asked
