"""Every case of the catalogue is refused in one line that names its field or file, before anything is compiled."""

import functools
import os
import pathlib
import shlex
import shutil
import subprocess
import sys

import pytest
from jax._src import compiler

from gptjax import cli
from tests.commands.test_train import TINY, on_one_device
from tests.reliability import catalogue, catalogue_analysis, catalogue_audit, catalogue_files
from tests.reliability.catalogue import Case, Link

CASES = [*catalogue.CASES, *catalogue_files.CASES, *catalogue_analysis.CASES, *catalogue_audit.CASES]
IN_A_PROCESS = {  # of the above, those that also run as a user would run them
    "n_steps=0", "model.vocab_size=100", "a workdir that is no UTF-8",
    "a config that exits", "a text with a NUL", "a run whose record is cut", "a launch without a port",
}  # fmt: skip


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A folder with a finished run and the tokens it read."""
    folder = tmp_path_factory.mktemp("made")
    assert on_one_device(train(folder / "run", folder / "cache")) == 0
    return folder


def train(workdir: pathlib.Path, cache: pathlib.Path) -> list[str]:
    keys = TINY | {"save_every": "6", "eval_tokens": "64", "data.cache": str(cache)}
    flags = [f"--config.{key}={value}" for key, value in keys.items()]
    return ["train", "--config=configs/base.py", f"--workdir={workdir}", *flags]


def prepare(case: Case, made: pathlib.Path, tmp: pathlib.Path) -> tuple[list[str], str]:
    """The case's command line, once its files are there, and what must be said."""
    if "{run}" in case.words:
        shutil.copytree(made / "run", tmp / "run")
    for name, content in case.files.items():
        put(tmp / name, content)
    known = {
        "{tmp}": str(tmp),
        "{run}": str(tmp / "run"),
        "{nines}": "9" * 5000,
        "{train}": shlex.join(train(tmp / "new", made / "cache")),
    }
    fill = lambda text: functools.reduce(lambda text, key: text.replace(key, known[key]), known, text)
    return shlex.split(fill(case.words)), fill(case.says)


def put(path: pathlib.Path, content: str | bytes | None | Link) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if isinstance(content, Link):
        path.symlink_to(content.to)
    elif content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def assert_refused(code: int, error: str, says: str, tmp: pathlib.Path) -> None:
    assert code == cli.BAD_INPUT
    assert error.startswith("gptjax: ") and error.count("\n") == 1 and says in error
    assert not (tmp / "new").exists()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_refused_in_one_line_before_any_compile(case, made, tmp_path, capsys, monkeypatch):
    words, says = prepare(case, made, tmp_path)
    monkeypatch.setattr(compiler, "compile_or_get_cached", lambda *_, **__: pytest.fail("compiled"))
    for name, value in case.env.items():
        monkeypatch.setenv(name, value)
    code = cli.main(words)
    assert_refused(code, capsys.readouterr().err, says, tmp_path)


ALONE = [case for case in CASES if case.name in IN_A_PROCESS] + catalogue_files.ALONE


@pytest.mark.parametrize("case", ALONE, ids=lambda case: case.name)
def test_a_process_says_the_same_line_and_ends_with_2(case, made, tmp_path):
    words, says = prepare(case, made, tmp_path)
    command = [sys.executable, "-m", "gptjax.cli", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | case.env)
    assert_refused(done.returncode, done.stderr, says, tmp_path)


def test_the_catalogue_is_large_and_no_case_is_in_it_twice():
    names = [case.name for case in CASES]
    assert len(names) == len(set(names)) >= 200 and len(ALONE) == len(IN_A_PROCESS) + len(catalogue_files.ALONE)
