"""Holds the house to docs/architecture.md, whose tables are read from the page itself, and its code to its manners."""

import ast
import io
import pathlib
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from typing import NamedTuple

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = ("gptjax", "launch", "configs", "experiments", "benchmarks", "tests")
OUTSIDE = ("configs", "experiments", "launch", "tests")
PICKLES = ("pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve")
MAX_LINES = 299
LONG: dict[str, str] = {}  # path: why it may be longer
ALSO_NO_JAX = (  # for config files, and for plan
    "model/presets.py",
    "model/adapters.py",
    "model/table.py",
    "training/factors.py",
)
PATHS = re.compile(r"`([\w/]+(?:\.py|/))`")  # a `file.py` or `folder/` below gptjax/


class House(NamedTuple):
    floors: dict[str, int]  # file or folder below gptjax/: its floor; the longest name that fits a file wins
    doors: dict[str, list[str]]  # vendor: the files and folders that may import it
    no_jax: list[str]


class Import(NamedTuple):
    line: int
    module: str  # "gptjax.model.gpt" or a name in it, "gptjax.config.BadInput"
    name: str = ""  # by which the file says it


def read_house(root: pathlib.Path) -> House:
    text = (root / "docs/architecture.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    floors = {path: int(left) for left, right in rows if left.isdigit() for path in PATHS.findall(right)}
    vendors = [row[0] for row in rows].index("vendor")
    doors = {left: PATHS.findall(re.sub(r"\(.*\)", "", right)) for left, right in rows[vendors + 2 :]}
    no_jax = [path for line in re.findall("(.*) import no jax", text) for path in PATHS.findall(line)]
    return House(floors, doors, [*no_jax, *ALSO_NO_JAX])


def problems(root: pathlib.Path) -> list[str]:
    """Everything under `root` that the house does not allow, as "file:line: what"."""
    house = read_house(root)
    files = {file.relative_to(root).as_posix(): file for folder in FOLDERS for file in (root / folder).rglob("*.py")}
    found, graph = [], {}
    for path, file in sorted(files.items()):
        source = file.read_text()
        tree = ast.parse(source, path)
        used = list(imports(tree, path))
        found += manners(path, source, tree, used)
        if path.startswith("launch/"):
            found += [f"{path}:{line}: launch imports no jax" for line, module, _ in used if top(module) == "jax"]
        if path.startswith("gptjax/"):
            found += doors(path, used, house)
            graph[path] = [(line, owner(module, files)) for line, module, _ in used if top(module) == "gptjax"]
            found += upward(path, graph[path], house)
    return found + cycles(graph)


def imports(tree: ast.AST, path: str) -> Iterator[Import]:
    """Every import of a file, those inside functions and by importlib's name too."""
    package = path.removesuffix(".py").split("/")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name, alias.asname or alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield Import(node.lineno, f"{module}.{alias.name}", alias.asname or alias.name)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from (Import(arg.lineno, str(arg.value)) for arg in node.args if isinstance(arg, ast.Constant))


def top(module: str) -> str:
    return module.partition(".")[0]


def owner(module: str, files: dict) -> str:
    """The file that an imported gptjax name lives in."""
    parts = module.split(".")
    candidates = ("/".join(parts[:n]) + end for n in range(len(parts), 0, -1) for end in (".py", "/__init__.py"))
    return next((path for path in candidates if path in files), "gptjax/__init__.py")


def fits(path: str, names: list[str]) -> bool:
    """Whether a file of gptjax is one of the files, or in one of the folders, named."""
    inside = path.removeprefix("gptjax/")
    return any(inside == name.removeprefix("gptjax/") or name[-1] == "/" and inside.startswith(name) for name in names)


def floor_of(path: str, house: House) -> int | None:
    names = [name for name in house.floors if fits(path, [name])]
    return house.floors[max(names, key=len)] if names else None


def upward(path: str, used: list[tuple[int, str]], house: House) -> Iterator[str]:
    here = floor_of(path, house)
    if here is None:
        yield f"{path}:1: has no floor; give it one in docs/architecture.md"
        return
    for line, target in used:
        there, same_room = floor_of(target, house), room(path) == room(target)
        if there is not None and (there > here or there == here and not same_room):
            yield f"{path}:{line}: floor {here} imports {target} of floor {there}"


def room(path: str) -> str:
    return path.rpartition("/")[0].split("/")[1] if path.count("/") > 1 else ""


def doors(path: str, used: list[Import], house: House) -> Iterator[str]:
    for line, module, _ in used:
        if top(module) in OUTSIDE:
            yield f"{path}:{line}: gptjax never imports {top(module)}"
        if top(module) in house.doors and not fits(path, house.doors[top(module)]):
            only = ", ".join(house.doors[top(module)]) or "no file of gptjax"
            yield f"{path}:{line}: the door of {top(module)} is {only}"
        if top(module) in ("jax", "jaxlib") and fits(path, house.no_jax):
            yield f"{path}:{line}: this file imports no jax"


def cycles(graph: dict[str, list[tuple[int, str]]]) -> list[str]:
    """One problem for each import that closes a circle."""
    found, done = [], set()

    def visit(way: list[str]) -> None:
        for line, target in graph.get(way[-1], []):
            if target in way:
                found.append(f"{way[-1]}:{line}: imports {target} in a circle")
            elif target not in done:
                visit([*way, target])
        done.add(way[-1])

    for path in graph:
        if path not in done:
            visit([path])
    return found


def manners(path: str, source: str, tree: ast.AST, used: list[Import]) -> Iterator[str]:
    """What holds for every file, whichever its floor."""
    n_lines = len(source.splitlines())
    if n_lines > MAX_LINES and path not in LONG:
        yield f"{path}:{n_lines}: has more than {MAX_LINES} lines; a file is one subject"
    if path.endswith("/utils.py"):
        yield f"{path}:1: name a file after its subject"
    for line, module, _ in used:
        if module == "__future__.annotations":
            yield f"{path}:{line}: annotations from __future__ switch the shape checks off"
        if top(module) in PICKLES:
            yield f"{path}:{line}: {top(module)} executes what it reads"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from (f"{path}:{node.lineno}: {what}" for what in bad_call(node))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and re.search(r"type:\s*ignore|pyright:", token.string):
            yield f"{path}:{token.start[0]}: repair the type instead of silencing the checker"


def bad_call(node: ast.Call) -> Iterator[str]:
    name, args = ast.unparse(node.func), [ast.unparse(arg) for arg in node.args]
    if re.search(r"(\b|_)(cfg|config)\.get$", name):
        yield f"{name}() hides a default; every key exists"
    if name == "getattr" and len(args) == 3 and re.search(r"(\b|_)(cfg|config)$", args[0]):
        yield f"getattr({args[0]}, ..., default) hides a default; every key exists"
    if any(keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False" for keyword in node.keywords):
        yield "allow_pickle executes what it reads"


def loading_jax(root: pathlib.Path) -> str:
    """Which module that must start without jax loads it, "" if none; each is imported in a fresh interpreter."""
    house = read_house(root)
    files = [
        file.relative_to(root).as_posix() for folder in ("gptjax", "launch") for file in (root / folder).rglob("*.py")
    ]
    lean = [path for path in files if path.startswith("launch/") or fits(path, [*house.no_jax, "cli.py"])]
    modules = [path.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".") for path in sorted(lean)]
    program = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    if 'jax' in sys.modules: sys.exit(f'{name} loads jax')\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *modules], cwd=root, capture_output=True, text=True)
    return done.stderr.strip()


def test_the_house_is_as_the_page_says():
    assert problems(ROOT) == []


def test_what_must_start_at_once_loads_no_jax():
    assert loading_jax(ROOT) == ""


# The checker itself, on a house of a few small files.

SOUND = {
    "gptjax/__init__.py": "import gptjax.cli\n",
    "gptjax/cli.py": "def run():\n    import jax\n    from gptjax.training import loop\n",
    "gptjax/config.py": "import gptjax.keys\nBadInput = {}\nprint(BadInput.get('cfg', 1), '# type: ignore')\n",
    "gptjax/keys.py": "\n" * MAX_LINES,
    "gptjax/tree.py": "import jax\nfrom gptjax.config import BadInput\n",
    "gptjax/model/gpt.py": "import flax.linen as nn\nfrom gptjax import tree\nfrom gptjax.model import blocks\n",
    "gptjax/model/blocks.py": "import jax\nprint(getattr(jax.config, 'jax_enable_x64'))\n",
    "gptjax/training/loop.py": "from gptjax.model.gpt import forward\nfrom . import step\n",
    "gptjax/training/step.py": "import numpy as np\nnp.load('x', allow_pickle=False)\n",
    "gptjax/evaluation/likelihood.py": "from gptjax.training import step\n",
    "gptjax/evaluation/tasks.py": "from gptjax.evaluation import likelihood\n",
    "gptjax/planning/plan.py": "",
    "launch/__init__.py": "",  # a folder without it would be looked up elsewhere too
    "launch/sweep.py": "from gptjax import config\n",
}
PLANTED = [
    ("gptjax/model/new.py", "from gptjax.training import step", "floor 1 imports gptjax/training/step.py of floor 2"),
    ("gptjax/config.py", "import gptjax.model.blocks", "floor 0 imports gptjax/model/blocks.py of floor 1"),
    ("gptjax/model/new.py", "def f():\n    from ..cli import main", "floor 1 imports gptjax/cli.py of floor 6"),
    ("gptjax/model/new.py", "from gptjax import __version__", "floor 1 imports gptjax/__init__.py of floor 6"),
    ("gptjax/data/new.py", "from gptjax.model.gpt import init", "floor 1 imports gptjax/model/gpt.py of floor 1"),
    ("gptjax/planning/chips.py", "from . import plan", "floor 1 imports gptjax/planning/plan.py of floor 4"),
    ("gptjax/training/step.py", "from gptjax.training import loop", "in a circle"),
    ("gptjax/keys.py", "from gptjax.keys import KEYS", "in a circle"),
    ("gptjax/attic/new.py", "", "has no floor"),
    ("gptjax/training/new.py", "from configs import base", "gptjax never imports configs"),
    ("gptjax/training/new.py", "import launch.sweep", "gptjax never imports launch"),
    ("gptjax/training/new.py", "from tests import tiny", "gptjax never imports tests"),
    ("gptjax/training/new.py", "def f():\n    import experiments.one", "gptjax never imports experiments"),
    ("gptjax/training/new.py", "from flax import struct", "the door of flax is model/"),
    ("gptjax/training/new.py", "importlib.import_module('flax.linen')", "the door of flax is model/"),
    ("gptjax/training/loop.py", "import orbax.checkpoint as ocp", "the door of orbax is training/checkpoint.py"),
    ("gptjax/data/batches.py", "import grain", "the door of grain is no file of gptjax"),
    ("gptjax/data/batches.py", "import tensorflow_datasets", "the door of tensorflow_datasets is data/corpora.py"),
    ("gptjax/config.py", "import ml_collections", "the door of ml_collections is no file of gptjax"),
    ("gptjax/config.py", "def f():\n    import jax.numpy as jnp", "imports no jax"),
    ("gptjax/runs/log.py", "import jax", "imports no jax"),
    ("gptjax/model/presets.py", "import jax", "imports no jax"),
    ("launch/sweep.py", "import jax", "imports no jax"),
    ("gptjax/tree.py", "from __future__ import annotations", "switch the shape checks off"),
    ("launch/sweep.py", "import pickle", "pickle executes what it reads"),
    ("tests/test_new.py", "import numpy as np\nnp.load('x', allow_pickle=True)", "allow_pickle executes"),
    ("gptjax/model/utils.py", "", "name a file after its subject"),
    ("gptjax/tree.py", "def f(cfg):\n    return cfg.get('x', 1)", "cfg.get() hides a default"),
    ("experiments/new.py", "def f(self):\n    return self.model_cfg.get('x')", "self.model_cfg.get() hides a default"),
    ("gptjax/tree.py", "def f(config):\n    return getattr(config, 'x', 1)", "hides a default"),
    ("gptjax/tree.py", "x: int = 'a'  # type: ignore[assignment]", "repair the type"),
    ("tests/test_new.py", "x: int = 'a'  # pyright: ignore", "repair the type"),
    ("configs/new.py", "\n" * (MAX_LINES + 1), "has more than 299 lines"),
]


@pytest.fixture
def plant(tmp_path):
    """Writes files into a small house with this project's page; returns its root."""

    def write(files: dict[str, str]) -> pathlib.Path:
        page = (ROOT / "docs/architecture.md").read_text()
        for path, source in {"docs/architecture.md": page, **SOUND, **files}.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(source)
        return tmp_path

    return write


def test_a_sound_house_has_no_problems(plant):
    assert problems(plant({})) == []
    assert loading_jax(plant({})) == ""


@pytest.mark.parametrize(("path", "source", "says"), PLANTED)
def test_a_planted_fault_is_found_once(plant, path, source, says):
    (problem,) = problems(plant({path: source}))
    assert problem.startswith(f"{path}:") and says in problem


def test_jax_behind_another_import_is_found(plant):
    assert loading_jax(plant({"gptjax/runs/log.py": "import gptjax.tree"})) == "gptjax.runs.log loads jax"


def test_the_page_is_what_is_held(plant):
    page = (ROOT / "docs/architecture.md").read_text()
    moved = page.replace("| flax | `model/` |", "| flax | `training/` |").replace("`training/` |\n| 3", "|\n| 3")
    found = "\n".join(problems(plant({"docs/architecture.md": moved})))
    assert "gptjax/model/gpt.py:1: the door of flax is training/" in found
    assert "gptjax/training/loop.py:1: has no floor" in found
