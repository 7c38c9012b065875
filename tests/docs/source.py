"""The lines of this repository's files that a page names."""

import ast
import pathlib

ROOT = pathlib.Path(__file__).parents[2]


def lines_of(path: str, name: str) -> list[str]:
    """The source of a function, a method as Class.method, or what is assigned to a name, at the module's level."""
    text = (ROOT / path).read_text()
    found = ast.parse(text).body
    *classes, last = name.split(".")
    for one in classes:
        found = next(node.body for node in found if isinstance(node, ast.ClassDef) and node.name == one)
    for node in found:
        names = {getattr(node, "name", None)}
        if isinstance(node, ast.Assign):
            names = {target.id for target in node.targets if isinstance(target, ast.Name)}
        if last in names:
            return text.splitlines()[node.lineno - 1 : node.end_lineno]
    raise AssertionError(f"{path} has no {name}")
