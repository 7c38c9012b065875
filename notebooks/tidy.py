"""Puts the notebooks into the form in which they are committed: python -m notebooks.tidy

Without outputs, so that a difference between two versions is one of text and code, and nobody reads figures that the
code no longer gives. The badge, the links and the first cell name the repository of pyproject.toml and the version.
"""

import functools
import json
import pathlib
import re
import tomllib
from typing import Any

from gptjax.version import VERSION

FOLDER = pathlib.Path(__file__).parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def files() -> list[pathlib.Path]:
    return sorted(FOLDER.glob("*.ipynb"))


@functools.cache
def project() -> dict[str, Any]:
    return tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())["project"]


def repository() -> str:
    """The address without https://github.com/, as OWNER/gptjax."""
    return project()["urls"]["Repository"].removeprefix("https://github.com/")


def tag() -> str:
    """Of the release that this code is: v0.1.0, also while that is still 0.1.0.dev0."""
    return "v" + VERSION.partition(".dev")[0]


def badge(file: pathlib.Path) -> str:
    """Markdown that opens a notebook in Colab."""
    address = f"https://colab.research.google.com/github/{repository()}/blob/{tag()}/notebooks/{file.name}"
    return f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({address})"


def tidied(text: str) -> str:
    """The notebook as it is committed. Cells have no ids (format 4.4): Jupyter draws them anew."""
    cells = [tidy_cell(cell) for cell in json.loads(text)["cells"]]
    whole = {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 4}
    return json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def tidy_cell(cell: dict[str, Any]) -> dict[str, Any]:
    source = named("".join(cell["source"]).rstrip())
    made = {"cell_type": cell["cell_type"], "metadata": {}, "source": source.splitlines(keepends=True)}
    return made | ({"execution_count": None, "outputs": []} if cell["cell_type"] == "code" else {})


def named(source: str) -> str:
    """With the repository and the tag of today wherever another stood."""
    source = re.sub(r"[\w.-]+/gptjax/blob/v[\w.]+/", f"{repository()}/blob/{tag()}/", source)
    first = f'REPOSITORY, TAG = "https://github.com/{repository()}", "{tag()}"'
    return re.sub(r"^REPOSITORY, TAG = .*$", first, source, flags=re.MULTILINE)


if __name__ == "__main__":
    for file in files():
        file.write_text(tidied(file.read_text()))
