"""Every relative link of the pages goes to a file that is there, and its anchor to a heading of it."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "experiments").rglob("*.md"),
        *(ROOT / "benchmarks").rglob("*.md"),
    ]
)
CODE = re.compile(r"^( *)(```+).*?^\1\2 *$|`[^`\n]+`", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)[^)]*\)|(?:src|href)=\"([^\"]+)\"")
HEADING = re.compile(r"^#+ +(.*?) *#*$", re.MULTILINE)


def links(page: str) -> list[str]:
    found = LINK.findall(CODE.sub("", (ROOT / page).read_text()))
    return [link for pair in found for link in pair if link and not re.match(r"[a-z]+:", link)]


def anchors(path: pathlib.Path) -> set[str]:
    """As GitHub makes them of headings: lower case, no punctuation, hyphens for blanks, a number for a second one."""
    seen: dict[str, int] = {}
    found = set()
    for heading in HEADING.findall(re.sub(r"^ *```.*?^ *```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if anchor in seen else anchor)
        seen[anchor] = seen.get(anchor, 0) + 1
    return found


def broken(page: str) -> list[str]:
    wrong = []
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        inside = target.resolve().is_relative_to(ROOT.resolve())
        if not (inside and target.exists()) or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", PAGES)
def test_links_go_somewhere(page):
    assert not broken(page)


def test_the_pages_are_all_there_is():
    assert {"README.md", "CONTRIBUTING.md", "docs/theory.md", "experiments/README.md"} <= set(PAGES)
    assert sum(len(links(page)) for page in PAGES) > 50


def test_a_link_to_nowhere_is_seen(tmp_path, monkeypatch):
    """To a file, to a heading, out of the repository; in code it is no link."""
    text = (
        "# A heading: one\n[a](b.md) [c](#a-heading-one) [d](#two) [e](../..) `[f](g.md)` [h](page.md#a-heading-one)\n"
    )
    (tmp_path / "page.md").write_text(text)
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    assert broken("page.md") == ["b.md", "#two", "../.."]
