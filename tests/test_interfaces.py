"""The interfaces that docs/architecture.md lists: each is there under its name, and says what it does."""

import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
NAMED = re.compile(r"(?<![\w.])([a-z_]+)\.([A-Za-z_]\w*)\(")  # `file.function(`


def defined() -> dict[tuple[str, str], list[str | None]]:
    """(file's stem, name of a function or class): its docstring, in each file of that stem which has the name."""
    found = {}
    for file in (ROOT / folder for folder in ("gptjax", "launch")):
        for path in sorted(file.rglob("*.py")):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    found.setdefault((path.stem, node.name), []).append(ast.get_docstring(node))
    return found


def test_every_interface_exists_and_says_what_it_does():
    page = (ROOT / "docs/architecture.md").read_text()
    listed = set(NAMED.findall(page.partition("## Interfaces")[2]))
    docstrings = defined()
    assert len(listed) > 90
    assert sorted(listed - set(docstrings)) == []
    assert sorted(name for name in listed if not all(docstrings[name])) == []
