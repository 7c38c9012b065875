"""Every command of every page, in blocks and in prose, could be typed: the real parsers take it."""

import re

import pytest

from tests.docs import pages, parsing, shell

TYPED = re.compile(r"((\w+=\S+ )*)(gptjax|python -m|make|pytest|pip install) ")


@pytest.mark.parametrize("page", pages.pages())
def test_the_commands_of_a_page_can_be_typed(page, tmp_path, monkeypatch):
    monkeypatch.chdir(pages.ROOT)
    for block in pages.read(page)[0]:
        if block.language not in pages.COMMANDS:
            continue
        typed, whole = shell.typed(block.text, block.language), block.label not in ("never run", "measured")
        for words in shell.started(typed, pages.ROOT, tmp_path, whole):
            try:
                parsing.read(words)
            except Exception as error:
                raise AssertionError(f"{block.name}: {words}: {error}") from error


@pytest.mark.parametrize("page", pages.pages())
def test_the_commands_in_the_prose_of_a_page_can_be_typed(page, monkeypatch):
    monkeypatch.chdir(pages.ROOT)
    known = parsing.known_flags()
    for span in pages.spans(pages.read(page)[1]):
        words = span.split(" < ")[0].replace("\\|", "|")
        try:
            if TYPED.match(f"{words} "):
                parsing.read(shell.words(words))
            elif words.startswith(("--", "... --")):
                parsing.read_words(words, known)
        except Exception as error:
            raise AssertionError(f"{page}: `{span}`: {error}") from error
