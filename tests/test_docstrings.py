"""A name of gptjax/ or launch/ that another file uses has a docstring, its own or that of what it overrides.

Seen is what an import leads to, through files that pass a name on too; and, of a class that is so used, each method
whose name follows a dot in a file which imports anything of the class's. Not seen are names in strings and tables (the
engines' functions), methods of objects that reach a file by other ways, and bases that are not of this house.
"""

import ast
import json
import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.test_floors import ROOT, imports, top

DEFINING = ("gptjax", "launch")
USING = (*DEFINING, "experiments", "configs", "benchmarks", "notebooks")
Node = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Source(NamedTuple):
    """A file: what it defines, and what it says of others."""

    path: str
    nodes: dict[str, Node]  # functions and classes, and methods as Class.method
    names: dict[str, str]  # what it imports, by its own name for it
    dotted: set[str]  # "config.load" and the like, which begin with one of these names
    attributes: set[str]  # of anything


Sources = dict[str, Source]  # by the name under which a file is imported


def read(root: pathlib.Path) -> Sources:
    found = {}
    for file in (file for folder in USING for kind in ("py", "ipynb") for file in (root / folder).rglob(f"*.{kind}")):
        path = file.relative_to(root).as_posix()
        tree = ast.parse(program(file), path)
        said = [one for one in imports(tree, path) if one.name]
        names = {top(one.name): one.module if one.name == top(one.name) else top(one.module) for one in said}
        chains = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
        dotted = {text for text in map(word, chains) if top(text) in names}
        module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        found[module] = Source(path, defined(tree), names, dotted, {node.attr for node in chains})
    return found


def program(file: pathlib.Path) -> str:
    """Its Python; of a notebook that of all cells, without the lines that are the kernel's own."""
    if file.suffix == ".py":
        return file.read_text()
    cells = json.loads(file.read_text())["cells"]
    lines = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return re.sub("^[%!].*", "", lines, flags=re.MULTILINE)


def defined(tree: ast.Module) -> dict[str, Node]:
    found = {node.name: node for node in tree.body if isinstance(node, Node)}
    classes = [node for node in found.values() if isinstance(node, ast.ClassDef)]
    return found | {f"{one.name}.{node.name}": node for one in classes for node in one.body if isinstance(node, Node)}


def word(node: ast.expr) -> str:
    """A chain of names as it is written, such as config.load; what hangs on a call or the like begins with a dot."""
    if isinstance(node, ast.Attribute):
        return f"{word(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def origin(text: str, module: str, sources: Sources) -> tuple[str, str]:
    """The file, and the name in it, that a word of a file leads to; "" for what is not of this house.

    `config.Config` is Config of gptjax.keys, which config imports.
    """
    first, _, rest = text.partition(".")
    if first not in sources[module].names:
        return module, text
    parts = f"{sources[module].names[first]}.{rest}".removesuffix(".").split(".")
    for n in range(len(parts), 0, -1):
        if (found := ".".join(parts[:n])) in sources:
            return origin(".".join(parts[n:]), found, sources)
    return "", text


def bare(root: pathlib.Path) -> list[str]:
    """The names under `root` that are used elsewhere and say nothing, as "file:line: what"."""
    sources = read(root)
    users: dict[tuple[str, str], set[str]] = {}  # of a name in a file, and of the file, which is the name "": the files
    for module, source in sources.items():
        for found, name in {origin(text, module, sources) for text in source.dotted | set(source.names)}:
            for key in {(found, name), (found, "")}:
                users.setdefault(key, set()).add(source.path)
    return sorted(
        f"{sources[module].path}:{node.lineno}: {name} is used by {min(by)} and has no docstring"
        for module in sources
        if top(module) in DEFINING
        for name, node, by in used(module, sources, users)
        if by and not documented(module, name, sources)
    )


def used(module: str, sources: Sources, users: dict[tuple[str, str], set[str]]) -> Iterator[tuple[str, Node, set[str]]]:
    """What a file defines without a leading underscore, with the other files that use it."""
    source = sources[module]
    others = {key: users.get((module, key), set()) - {source.path} for key in ("", *source.nodes)}
    near = [one for one in sources.values() if one.path in others[""]]
    for name, node in source.nodes.items():
        owner, _, last = name.rpartition(".")
        calling = {one.path for one in near if last in one.attributes} if owner and others[owner] else set()
        if not last.startswith("_"):
            yield name, node, calling if owner else others[name]


def documented(module: str, name: str, sources: Sources) -> bool:
    """Whether inspect.getdoc finds a docstring: its own, or of a method that of one it overrides."""
    nodes, (owner, _, last) = sources[module].nodes, name.rpartition(".")
    if name in nodes and ast.get_docstring(nodes[name]):
        return True
    over = nodes.get(owner)
    above = [origin(word(base), module, sources) for base in over.bases] if isinstance(over, ast.ClassDef) else []
    return any(documented(found, f"{base}.{last}", sources) for found, base in above if found)


def test_what_other_files_use_says_what_its_name_cannot():
    assert bare(ROOT) == []


# The checker itself, on a house of a few small files.

SAYS = '"""Words."""'
SOUND = {
    "gptjax/keys.py": f"class Config:\n    {SAYS}\n    def size(self):\n        {SAYS}\n    def own(self): ...\n",
    "gptjax/config.py": "from gptjax.keys import Config\ndef _load(): ...\ndef alone(): ...\nalone()\n",
    "gptjax/corpora.py": "from gptjax import config\n"
    f"class Text(config.Config):\n    {SAYS}\n    def size(self): ...\n",
    "launch/use.py": "from gptjax import config, corpora\ncorpora.Text().size()\nconfig._load()\nx.own\nx.alone\n",
    "experiments/one.py": "def made(): ...\n",
    "benchmarks/all.py": "from experiments import one\none.made()\n",
}
MADE, BARE = "def made(): ...\n", "made is used by launch/use.py and has no docstring"
CELLS = [("markdown", "1 = 2"), ("code", "%pip install x\nfrom gptjax import config"), ("code", "config.made")]
NOTEBOOK = json.dumps({"cells": [{"cell_type": kind, "source": [text]} for kind, text in CELLS]})
PLANTED = [
    (
        {"gptjax/config.py": MADE, "launch/use.py": "from gptjax import config\nconfig.made"},
        f"gptjax/config.py:1: {BARE}",
    ),
    ({"gptjax/config.py": MADE, "launch/use.py": "def f():\n    import gptjax.config\n    gptjax.config.made"}, BARE),
    ({"gptjax/config.py": MADE, "launch/use.py": "from gptjax.config import made as done"}, BARE),
    (
        {"gptjax/config.py": SOUND["gptjax/config.py"] + MADE, "notebooks/1.ipynb": NOTEBOOK},
        "gptjax/config.py:5: made is used by notebooks/1.ipynb",
    ),
    ({"gptjax/config.py": "async " + MADE, "launch/use.py": "from gptjax import config as c\nc.made"}, BARE),
    (
        {"gptjax/new.py": MADE, "gptjax/config.py": SOUND["gptjax/config.py"] + "from gptjax.new import made"},
        "used by gptjax/config.py",
    ),
    (
        {"gptjax/keys.py": SOUND["gptjax/keys.py"].replace(SAYS, "", 1)},
        "gptjax/keys.py:1: Config is used by gptjax/config",
    ),
    (
        {"launch/use.py": "from gptjax import keys, corpora\nx.own"},
        "gptjax/keys.py:5: Config.own is used by launch/use",
    ),
    (
        {"gptjax/corpora.py": f"class Text:\n    {SAYS}\n    def size(self): ..."},
        "3: Text.size is used by launch/use.py",
    ),
]


def written(root: pathlib.Path, files: dict[str, str]) -> pathlib.Path:
    for path, source in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(source)
    return root


def test_a_sound_house_is_not_blamed(tmp_path):
    assert bare(written(tmp_path, SOUND)) == []


@pytest.mark.parametrize(("files", "says"), PLANTED)
def test_a_name_that_says_nothing_is_found_once(tmp_path, files, says):
    (problem,) = bare(written(tmp_path, SOUND | files))
    assert says in problem
