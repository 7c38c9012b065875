"""What is handed out: one version, extras that exist, and a wheel and an sdist that hold what they should."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile

import pytest

from gptjax.version import VERSION

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS_ALONE = (".ci/run", ".gitignore")  # tracked, but of no use outside the repository
BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"


def tracked() -> set[str]:
    """The files that git keeps, and those it would be told to keep; of an sdist or an archive, all but what is made."""
    if not (ROOT / ".git").exists():
        of_tree = (path for path in ROOT.rglob("*") if path.is_file())
        names = (path.relative_to(ROOT).as_posix() for path in of_tree)
        return {name for name in names if not re.match(r"\.venv|runs/|.*__pycache__|.*\.egg-info|\.\w+_cache", name)}
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in done.stdout.splitlines() if (ROOT / name).is_file()}


def test_the_version_is_one():
    assert PROJECT["dynamic"] == ["version"]  # of gptjax/version.py
    assert f"\nversion: {VERSION}\n" in (ROOT / "CITATION.cff").read_text()
    assert (ROOT / "CHANGELOG.md").read_text().startswith(f"# Changelog\n\n## {VERSION}")


def test_a_copied_folder_is_a_command(tmp_path):
    """Without metadata of an installed package, as on a machine without a network."""
    shutil.copytree(ROOT / "gptjax", tmp_path / "gptjax", ignore=shutil.ignore_patterns("__pycache__"))
    program = (
        "import importlib.metadata, runpy, sys; importlib.metadata.version = None; sys.argv = ['gptjax', '--version']"
    )
    words = ["-c", f"{program}; runpy.run_module('gptjax', run_name='__main__')"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == f"gptjax {VERSION}\n"


def test_the_licence_is_whole():
    text = (ROOT / "LICENSE").read_text()
    assert len(text.split()) == 1581 and text.split()[:4] == ["Apache", "License", "Version", "2.0,"]
    assert PROJECT["license"] == "Apache-2.0" and "license: Apache-2.0" in (ROOT / "CITATION.cff").read_text()


def test_every_extra_that_is_named_exists():
    named = {}
    for name in sorted(tracked()):
        if name.endswith((".py", ".md", ".toml")) and name != "tests/test_packaging.py":
            for extras in re.findall(r"gptjax\[([a-z\d,]+)\]", (ROOT / name).read_text()):
                named |= dict.fromkeys(extras.split(","), name)
    assert len(named) > 10
    assert not set(named) - set(PROJECT["optional-dependencies"])


def test_the_manifest_names_every_folder():
    """Else a new folder would be missing from the sdist, and nobody would see it."""
    grafted = set(re.findall(r"^graft (\w+)$", (ROOT / "MANIFEST.in").read_text(), re.M))
    assert {name.split("/")[0] for name in tracked() if "/" in name} - {".ci"} <= grafted


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist of this tree, unpacked, and the wheel that is built from it; as `python -m build` does."""
    out = tmp_path_factory.mktemp("built")
    for name in tracked():
        (out / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (out / "tree" / name).write_bytes((ROOT / name).read_bytes())
    build(out / "tree", "build_sdist", out)
    (sdist,) = out.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(out, filter="data")
    build(out / sdist.name.removesuffix(".tar.gz"), "build_wheel", out)
    return out


def build(tree: pathlib.Path, what: str, out: pathlib.Path) -> None:
    done = subprocess.run([sys.executable, "-c", BUILD, what, str(out)], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.prove
def test_the_sdist_is_the_checkout(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        files = {member.name.partition("/")[2] for member in archive if member.isfile()}
    made = {name for name in files if name.startswith("gptjax.egg-info/")} | {"PKG-INFO", "setup.cfg"}
    assert files - made == tracked() - set(OURS_ALONE)


@pytest.mark.prove
def test_the_wheel_is_the_package_and_its_configs(built):
    (wheel,) = built.glob("*.whl")
    assert wheel.name == f"gptjax-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        files = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = {name for name in tracked() if name.startswith("gptjax/")}
    configs = {f"gptjax/shipped/{name}" for name in tracked() if re.fullmatch(r"configs/(?!__init__)\w+\.py", name)}
    assert files == package | configs


@pytest.mark.prove
def test_an_empty_folder_is_enough_for_the_wheel(built, tmp_path):
    """In an environment of its own, with this one's dependencies beside it and no checkout: a run, and text of it."""
    place, (wheel,) = tmp_path / "venv", built.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    install = f"-m pip --python {place}/bin/python install --quiet --no-deps --no-index {wheel}".split()
    subprocess.run([sys.executable, *install], check=True, env=env)
    (site,) = place.glob("lib/python*/site-packages")
    (site / "beside.pth").write_text(sysconfig.get_path("purelib"))  # reads no .pth there, so no checkout

    def run(*words: str) -> str:
        program, *rest = words
        command = [place / "bin" / program, *rest]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("gptjax", "--version") == f"gptjax {VERSION}\n"
    tiny = ["n_steps=4", "optim.warmup_steps=1", "eval_every=0", "eval_tokens=8192", "sample_tokens=4", "mesh.data=-1"]
    run("gptjax", "train", "--config=configs/smoke.py", "--workdir=run", *(f"--config.{key}" for key in tiny))
    assert len(run("gptjax", "generate", "--from=run", "--prompt=def ", "--max_tokens=4")) > len("def ")
    (tmp_path / "configs").mkdir()  # one's own, beside which those of the wheel stay in sight
    for file, above in (("configs/own.py", "smoke"), ("mine.py", "own")):
        text = f"from configs import {above}\n\n\ndef get_config():\n    return {above}.get_config()\n"
        (tmp_path / file).write_text(text)
    assert "820,608 parameters" in run("gptjax", "plan", "--config=mine.py", "--topology=v5e:2x2", "--no_compile")
    assert run("python", "-c", "import gptjax; print(gptjax.__file__)").startswith(str(site))
