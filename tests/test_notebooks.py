"""The notebooks as they are committed, and run: the first in this process with small sizes, all of them as a reader
would (`make prove`)."""

import importlib
import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from gptjax import mesh
from notebooks import tidy
from tests.tiny import mesh_of

NAMES = ["1_train", "2_gpt2", "3_sweep", "4_inside", "5_privacy"]
ROOT = tidy.FOLDER.parent


def read(name: str) -> dict:
    return json.loads((tidy.FOLDER / f"{name}.ipynb").read_text())


def code(name: str, **sizes: object) -> list[str]:
    """The code of a notebook's cells, with some of its sizes changed; each must be one of them."""
    cells = ["".join(cell["source"]) for cell in read(name)["cells"] if cell["cell_type"] == "code"]
    for size, value in sizes.items():
        cells[1], n = re.subn(rf"^{size} = .*$", f"{size} = {value!r}", cells[1], flags=re.MULTILINE)
        assert n == 1, f"{name} has no size {size}"
    return cells


def test_these_are_all_notebooks():
    assert [file.stem for file in tidy.files()] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_committed_tidy(name):
    """No outputs, no counts, nobody's metadata; the repository and the version of pyproject.toml."""
    text = (tidy.FOLDER / f"{name}.ipynb").read_text()
    assert text == tidy.tidied(text), "python -m notebooks.tidy"


@pytest.mark.parametrize(
    "change",
    [
        lambda notebook: notebook["cells"][1].update(execution_count=3, id="a1b2"),
        lambda notebook: notebook["cells"][1]["outputs"].append({"output_type": "stream", "text": "1"}),
        lambda notebook: notebook["cells"][1]["metadata"].update(collapsed=True),
        lambda notebook: notebook.update(metadata={"colab": {"provenance": []}}, nbformat_minor=5),
        lambda notebook: notebook["cells"][1]["source"].append("\n\n"),
        lambda notebook: renamed(notebook, "OWNER/gptjax", "me/gptjax"),
        lambda notebook: renamed(notebook, tidy.tag(), "v0.0.7"),
    ],
)
def test_tidying_takes_back_what_a_reader_changes(change):
    text, notebook = (tidy.FOLDER / "1_train.ipynb").read_text(), read("1_train")
    change(notebook)
    assert notebook != read("1_train") and tidy.tidied(json.dumps(notebook)) == text


def renamed(notebook: dict, name: str, other: str) -> None:
    for cell in notebook["cells"]:
        cell["source"] = [line.replace(name, other) for line in cell["source"]]


@pytest.mark.parametrize("name", NAMES)
def test_the_first_cell_installs_the_release_where_gptjax_is_missing(name, tmp_path, monkeypatch):
    """On a machine without gptjax: the checkout of the version's tag, with extras that there are."""
    told = []

    def run(words, check):
        told.append(list(map(str, words)))
        (tmp_path / "gptjax-checkout/configs").mkdir(parents=True, exist_ok=True)
        (tmp_path / "gptjax-checkout/configs/base.py").touch()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(subprocess, "run", run)
    exec(code(name)[0], {})
    clone, install = told
    assert clone[:2] == ["git", "clone"] and clone[-2:] == [tidy.project()["urls"]["Repository"], "gptjax-checkout"]
    assert f"--branch={tidy.tag()}" in clone
    (extras,) = re.findall(r"^\./gptjax-checkout\[(.*)\]$", install[-1])
    assert install[:3] == [sys.executable, "-m", "pip"]
    assert set(extras.split(",")) <= set(tidy.project()["optional-dependencies"])
    assert pathlib.Path.cwd() == tmp_path / "gptjax-checkout"


def test_the_first_cell_is_the_same_in_all_but_for_the_extras():
    assert len({re.sub(r'extras = "[^"]*"', "", code(name)[0]) for name in NAMES}) == 1


def test_the_first_cell_installs_nothing_where_gptjax_is_there(monkeypatch):
    monkeypatch.chdir(tidy.FOLDER)  # where Jupyter starts a notebook
    monkeypatch.setattr(subprocess, "run", lambda *words, **more: pytest.fail("a process was started"))
    exec(code("1_train")[0], {})
    assert pathlib.Path.cwd() == ROOT


@pytest.mark.parametrize("name", NAMES)
def test_links_go_to_files_and_headings_that_there_are(name):
    text = "".join("".join(cell["source"]) for cell in read(name)["cells"] if cell["cell_type"] == "markdown")
    here = re.escape(f"https://github.com/{tidy.repository()}/blob/{tidy.tag()}/")
    links = re.findall(rf"\({here}([^)#]+)#?([^)]*)\)", text)
    assert links
    for file, anchor in links:
        lines = (ROOT / file).read_text().splitlines()
        titles = [re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()) for line in lines if line.startswith("#")]
        assert not anchor or anchor in [title.replace(" ", "-") for title in titles], f"{file}#{anchor}"
    others = re.findall(r"\(([\w.]+\.ipynb)\)", text)
    assert all((tidy.FOLDER / other).is_file() for other in others)


def test_readme_opens_each_in_colab():
    readme = (ROOT / "README.md").read_text()
    for file in tidy.files():
        assert tidy.badge(file) in readme and tidy.badge(file) in "".join(read(file.stem)["cells"][0]["source"])


@pytest.fixture
def figures(monkeypatch):
    """The names of the axes of every picture that is shown, instead of showing it."""
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    shown = []

    def show():
        figure = plt.gcf()
        figure.canvas.draw()
        shown.append([axis.get_ylabel() for axis in figure.axes])
        plt.close("all")

    monkeypatch.setattr(plt, "show", show)
    return shown


def run_here(name: str, monkeypatch: pytest.MonkeyPatch, **sizes: object) -> dict:
    """Runs the cells one after another, on one of the virtual devices; what they defined."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(mesh, "make", lambda cfg: mesh_of(1, 1, 1, 1))
    found: dict = {"__name__": "__main__"}
    for number, cell in enumerate(code(name, **sizes)):
        exec(compile(cell, f"{name}, code cell {number}", "exec"), found)
    return found


SMALL = {"LAYERS, WIDTH": (1, 32), "STEPS": 8, "EVAL_TOKENS": 2048, "WRITTEN": 8}


def test_the_first_notebook_runs(tmp_path, monkeypatch, figures, capsys):
    found = run_here("1_train", monkeypatch, **SMALL, RUNS=str(tmp_path))
    said = capsys.readouterr().out
    assert f"first loss {found['first']:.3f} nats" in said and "is done: 8 of 8 steps" in said
    assert figures == [["nats a byte"]]
    losses = found["log"].series("eval/nll").value
    assert found["first"] == pytest.approx(np.log(256), abs=0.5) and losses[-1] < found["first"] - 0.5


@pytest.mark.prove
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_from_top_to_bottom_in_a_kernel(name, tmp_path, monkeypatch):
    """At its own sizes, started beside its file as Jupyter does; `make prove PYTHON=python3.12` for Colab's Python."""
    nbclient, nbformat = map(importlib.import_module, ("nbclient", "nbformat"))  # of the [notebooks] extra

    monkeypatch.delenv("XLA_FLAGS")  # the tests' own: eight devices and quick compiles
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # GPT-2's stand-in, wherever this runs
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    notebook = nbformat.read(tidy.FOLDER / f"{name}.ipynb", as_version=4)
    sizes = next(cell for cell in notebook.cells if cell.source == code(name)[1])
    sizes.source = code(name, RUNS=str(tmp_path))[1]
    client = nbclient.NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(tidy.FOLDER)}})
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output.output_type == "error"]
