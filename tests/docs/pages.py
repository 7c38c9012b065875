"""The pages of this repository, and what stands in them as code.

A block is fenced, or indented by four blanks. `python` is run; no language, `sh` and `console` are commands; any other
language is shown and not run. A comment of its own line above a block says why it is not run by `make test`,

    <!-- block: never run, a TPU -->      what it needs is not at hand: the reason names hardware, a cloud or a hub
    <!-- block: prove -->                 it takes long: `make prove` runs it
    <!-- block: elsewhere, tests/x.py -->   that test runs it
    <!-- block: exits 2 -->               it is run, and its last command ends so

and `<!-- section: ... -->` says the same of all blocks up to the next heading. `python -m tests.docs.pages` lists them.
"""

import pathlib
import re
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[2]
COMMANDS, PYTHON = ("", "sh", "bash", "console"), "python"
SHOWN = ("text", "json", "jinja", "yaml", "toml", "ini", "bibtex", "make")
LABELS = ("", "never run", "measured", "prove", "elsewhere", "exits")
LABEL = re.compile(r" *<!-- (block|section): ([a-z]+(?: [a-z]+)?)((?:,? .*)?) -->")
CONTAINER = re.compile(r"([-*+]|\d+[.)]|!!!|\?\?\?\+?|===) ")


class Block(NamedTuple):
    """Code of a page: the line of its first line, its language, and what the page says of it."""

    page: str
    line: int
    language: str
    text: str
    label: str
    reason: str

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    for folder in ("docs", "experiments", "benchmarks"):
        found += sorted((ROOT / folder).rglob("*.md"))
    return [path.relative_to(ROOT).as_posix() for path in found]


def split(page: str, text: str) -> tuple[list[Block], str]:
    """The blocks of a page, and its prose, in which each line of a block is blank."""
    lines, blocks, prose = text.splitlines(), [], []
    label, section, in_list, at = ("", ""), ("", ""), False, 0
    while at < len(lines):
        line = lines[at]
        if said := LABEL.fullmatch(line):
            given = said[2], said[3].strip(", ")
            label, section = (given, section) if said[1] == "block" else (label, given)
            prose.append("")
            at += 1
        elif found := fenced(lines, at) or (indented(lines, at) if not in_list else None):
            blocks.append(Block(page, at + 1, *found[1:], *(label if label[0] else section)))
            label = "", ""
            prose += [""] * found[0]
            at += found[0]
        else:
            assert not (line.strip() and label[0]), f"{page}:{at}: a label that stands above no block"
            prose.append(line)
            if line.startswith("#"):
                section = "", ""
            if line.strip() and not line.startswith(" "):
                in_list = CONTAINER.match(line) is not None
            at += 1
    return blocks, "\n".join(prose)


def fenced(lines: list[str], at: int) -> tuple[int, str, str] | None:
    """The block that opens in this line: how many lines it has, its language, and its text."""
    fence = re.match(r"( *)(```+|~~~+) *\{?\.?([\w-]*)", lines[at])
    if fence is None:
        return None
    end = next(later for later in range(at + 1, len(lines)) if lines[later].strip() == fence[2])
    inside = "\n".join(line.removeprefix(fence[1]) for line in lines[at + 1 : end])
    return end + 1 - at, fence[3], inside


def indented(lines: list[str], at: int) -> tuple[int, str, str] | None:
    """The same of a block that is indented behind a blank line."""
    if not lines[at].startswith("    ") or lines[at - 1].strip():
        return None
    end = next((later for later in range(at, len(lines)) if re.match(" {0,3}[^ ]", lines[later])), len(lines))
    inside = "\n".join(line.removeprefix("    ") for line in lines[at:end])
    return end - at, "", inside.rstrip()


def read(page: str) -> tuple[list[Block], str]:
    return split(page, (ROOT / page).read_text())


def spans(prose: str) -> list[str]:
    """What stands in inline code."""
    return [span.strip() for _, span in re.findall(r"(`+)(.+?)\1(?!`)", prose)]


if __name__ == "__main__":
    for name in pages():
        for block in read(name)[0]:
            print(f"{block.name:60} {block.language or 'commands':10} {block.label or 'run':10} {block.reason}")
