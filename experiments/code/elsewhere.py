"""Functions of another source than the corpus `python`: pip, and the packages that it carries along.

They stand beside Python's library, where that corpus does not look, and on nearly every machine.
"""

import importlib.util
import pathlib
import tokenize

from experiments import functions
from experiments.functions import Function
from gptjax.config import BadInput


def of_pip() -> list[Function]:
    """Every function, each body once, in the order of the files' names. Raises BadInput where pip is not installed."""
    spec = importlib.util.find_spec("pip")
    if spec is None or not spec.submodule_search_locations:
        raise BadInput("experiments/code: asks for functions of pip, which is not installed; python -m ensurepip")
    (root, *_) = spec.submodule_search_locations
    return functions.distinct(map(source, sorted(pathlib.Path(root).rglob("*.py"))))


def source(path: pathlib.Path) -> str:
    """Of a module, in the encoding that it names."""
    with tokenize.open(path) as file:
        return file.read()
