"""The Dockerfiles, which have never been built: what they name is there. By hand: hadolint docker/*.Dockerfile"""

import pathlib
import re
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(params=FILES, ids=lambda file: file.name)
def lines(request):
    """The instructions of a Dockerfile, (instruction, words), and first its comments."""
    text = request.param.read_text()
    comments = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    return [("#", comments), *re.findall(r"^([A-Z]+) (.*)$", text, re.M)]


def test_there_is_one_for_each_accelerator():
    assert [file.name for file in FILES] == ["gpu.Dockerfile", "tpu.Dockerfile"]


def test_what_it_copies_and_names_is_there(lines):
    copied = [word for kind, words in lines if kind == "COPY" for word in words.split()[:-1] if word[0] != "-"]
    named = re.findall(r"(?:--file |--config=)(\S+)", lines[0][1])
    assert len(copied) == 6 and len(named) == 2
    assert not [path for path in (*copied, *named) if not (ROOT / path).exists()]
    before = copied[: copied.index(".")]
    assert {"pyproject.toml", "setup.py", "README.md", "LICENSE", "gptjax/version.py"} <= set(before)  # pip reads them


def test_its_extras_and_its_command_are_the_projects(lines):
    (extras,) = re.findall(r"--editable '\.\[(.*)\]'", "\n".join(words for _, words in lines))
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    assert dict(lines)["CMD"].startswith('["gptjax"') and "gptjax" in PROJECT["scripts"]


def test_it_is_pinned_not_root_and_says_that_it_never_ran(lines):
    assert re.fullmatch(r"python:3\.12\.\d+-slim-bookworm", dict(lines)["FROM"])
    assert dict(lines)["USER"] == "$UID" and ("ARG", "UID=1000") in lines
    assert "never run" in lines[0][1]


def test_it_leaves_the_checkout_at_its_working_directory(lines):
    """As `--on.image` of a JobSet must have it: pods run `python -m launch.job` where the image starts."""
    kinds = [kind for kind, _ in lines]
    assert dict(lines)["WORKDIR"] == "/gptjax" and lines[kinds.index("USER") - 1] == ("COPY", "--chown=gptjax . .")
    left_out = (ROOT / ".dockerignore").read_text().split()
    assert not {"launch", "configs", "experiments", "gptjax"} & set(left_out) and {".git", ".venv"} <= set(left_out)
