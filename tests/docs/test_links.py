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


@pytest.mark.parametrize("page", [page for page in PAGES if page != "docs/comparison.md"])  # which names others' files
def test_files_that_a_page_names_are_there(page):
    """In code font, from the repository's root."""
    folders = "gptjax|tests|configs|docs|benchmarks|launch|experiments"
    named = re.findall(rf"`((?:{folders})/[\w./]+\.(?:py|md|json|png|svg|toml|gz))`", (ROOT / page).read_text())
    assert not [name for name in named if not (ROOT / name).exists()]


def test_every_row_about_hardware_says_how_far_it_came():
    """Of docs/accelerators.md: what was measured names no chip but the one that README names."""
    table = (ROOT / "docs/accelerators.md").read_text().split("## What runs where")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in table.splitlines() if line.startswith("|")][2:]
    assert len(rows) > 20
    assert {label for _, label, _ in rows} == {"measured", "compiled", "never run"}
    assert "no TPU, and nothing with two GPUs, has run it yet." in (ROOT / "README.md").read_text()
    chips = re.compile(r"TPU|GPU|H100|v5[ep]|accelerator")
    measured = [what for what, label, _ in rows if label == "measured"]
    assert not [what for what in measured if chips.search(re.sub(r"\b(one|an) H100\b", "", what))]
    assert [what for what in measured if "one H100" in what]


def test_the_reference_has_modules_of_every_room_once():
    """But for what is behind the command line."""
    pages = "".join(path.read_text() for path in sorted((ROOT / "docs/reference").glob("*.md")))
    modules = re.findall(r"^::: gptjax\.([\w.]+)$", pages, re.MULTILINE)
    assert len(modules) == len(set(modules)) > 70
    assert not [name for name in modules if not (ROOT / f"gptjax/{name.replace('.', '/')}.py").is_file()]
    rooms = {path.parent.name for path in (ROOT / "gptjax").glob("*/__init__.py")} - {"commands", "serving"}
    assert {name.split(".")[0] for name in modules if "." in name} == rooms
