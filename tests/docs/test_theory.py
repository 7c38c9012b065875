"""docs/theory.md quotes code beside its equations: every quoted line stands so in the function that the page names."""

import re
import textwrap

import pytest

from tests.docs.source import ROOT, lines_of

PAGE = (ROOT / "docs/theory.md").read_text()
QUOTE = re.compile(r"\[`(\S+)`\]\(\.\./(\S+)\), `(\S+)`(?:(?!\n#|```|\]\().)*?:\n\n```python\n(.*?)```", re.DOTALL)
SUBJECTS = (  # headings
    "Maximum likelihood",
    "Perplexity and bits a byte",
    "The residual stream",
    "LayerNorm",
    "Attention",
    "The redundant Z",
    "MLP",
    "AdamW",
    "Sampling",
    "BLEU and ROUGE",
    "Scaling laws",
    "LoRA",
    "DP-SGD",
)
QUOTES = QUOTE.findall(PAGE)


def after(lines: list[str], part: list[str]) -> list[str] | None:
    """The lines that follow the part, whatever blanks all of its lines begin with; None where it is not there."""
    wanted = textwrap.dedent("\n".join(part))
    for first in range(len(lines) - len(part) + 1):
        window = lines[first : first + len(part)]
        if textwrap.dedent("\n".join(window)) == wanted:
            return lines[first + len(part) :]
    return None


@pytest.mark.parametrize("shown, path, name, code", QUOTES, ids=[f"{quote[1]}:{quote[2]}" for quote in QUOTES])
def test_a_quote_is_in_the_function_that_it_names(shown, path, name, code):
    assert shown == path
    lines = lines_of(path, name)
    for part in re.split(r"^ *\.\.\.\n", code, flags=re.MULTILINE):
        left = after(lines, part.splitlines())
        assert left is not None, f"{path}, {name} has no such lines (any more), in this order:\n{part}"
        lines = left


def test_every_block_is_a_quote():
    assert len(QUOTES) == PAGE.count("```python\n") == PAGE.count("```") / 2


def test_every_subject_has_its_equation_and_its_code():
    sections = dict(re.findall(r"^##+ (.*?)\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE))
    lacking = [name for name in SUBJECTS if "$$" not in sections[name] or "Held by `" not in sections[name]]
    assert not lacking
    assert [name for name in SUBJECTS if "```python" not in sections[name]] == ["The redundant Z"]  # which has none


def test_the_tests_that_hold_it_are_there():
    named = re.findall(r"`(tests/\S+?)::(\w+)`", PAGE)
    assert len(named) > 20
    missing = [f"{path}::{name}" for path, name in named if f"\ndef {name}(" not in (ROOT / path).read_text()]
    assert not missing
