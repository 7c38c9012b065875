"""Somebody who follows a page: a folder to type in, and what the page takes for granted there.

Programs are run in this process where that is possible, and at reduced size: `SMALLER`, `SHORTER` and `FEWER` say what
is changed, `SAID_OTHERWISE` which words are replaced, and `GIVEN` what lies in the folder beforehand, page by page.
"""

import contextlib
import io
import os
import pathlib
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from gptjax import cli, mesh
from launch import __main__ as launch
from launch import flags as launch_flags
from tests.docs import given
from tests.docs.pages import ROOT
from tests.tiny import mesh_of

SHORTER = {"n_steps": "2", "eval_every": "2", "eval_tokens": "512", "save_every": "1", "sample_tokens": "4",
           "log_every": "1", "optim.warmup_steps": "1"}  # fmt: skip
SMALLER = {"model.n_layers": "2", "model.d_model": "32", "model.d_hidden": "64"}  # where the page does not say it
SYNTHETIC = ("configs/smoke.py", "configs/base.py", "configs/gpt2_124m.py")  # where the page names no corpus
OF_GPT2 = {"model.n_layers": "3", "model.d_model": "24", "model.d_hidden": "40", "model.n_heads": "4",
           "model.n_kv_heads": "4", "model.context": "32", "model.bias": "True", "model.vocab_size": "261",
           "batch_tokens": "320"}  # fmt: skip
SIZES = {"configs/gpt2_124m.py": OF_GPT2, "configs/base.py": SMALLER | {"batch_tokens": "2048"}}
SAID_OTHERWISE = {
    "gs://bucket/runs": "runs/bucket",
    "hellaswag,lambada_openai": "python_module --harness_tasks=tests/evaluation/harness",
    "--harness=mine": "--harness=python_module",
    "--tasks hellaswag": "--include_path tests/evaluation/harness --tasks python_word --limit 2",
}
FEWER = {"evaluate": ["--limit=2"], "audit --from": ["--others=8", "--samples=1"], "generate": ["--max_tokens=8"]}


class Reader(NamedTuple):
    """A folder, one for what all pages share, and a port for servers."""

    folder: pathlib.Path
    shared: pathlib.Path
    port: int
    servers: list[subprocess.Popen]

    def said(self, text: str) -> str:
        """The text with names that are at hand, and a port that is free."""
        for theirs, ours in SAID_OTHERWISE.items():
            text = text.replace(theirs, ours)
        return text.replace(":8000", f":{self.port}")

    def run(self, words: list[str]) -> int:
        """The exit code of a command. Raises KeyError for a program that nobody here knows."""
        match words:
            case ["gptjax", "serve", *rest]:
                return self.serve(rest)
            case ["gptjax", *rest]:
                return cli.main(self.reduced(rest))
            case ["python", "-m", "launch", *rest]:
                return launch.main([word.replace("--trial=ID", f"--trial={a_trial(rest[1])}") for word in rest])
            case ["python", "-m", "gptjax.evaluation.harness", *rest]:  # which is imported by what is run before it
                return subprocess.run([sys.executable, "-m", "gptjax.evaluation.harness", *rest]).returncode
            case ["python", "-m", module, *rest]:
                return module_run(module, rest)
            case ["make", "test"] | ["source", ".venv/bin/activate"]:
                return 0  # this is a part of it, and in it
            case ["make", target]:
                return max((self.run(line) for line in recipe(target)), default=0)
            case ["pip", "install", *named]:
                return 0 if all(extra_exists(name) for name in named) else 1
            case ["curl", *_]:
                return subprocess.run([*words, "--fail", "--max-time", "60"], stdout=subprocess.DEVNULL).returncode
        raise KeyError(f"{shlex.join(words)}: no such program for a page")

    def reduced(self, words: list[str]) -> list[str]:
        """The same command at the size of a test."""
        said = {word.partition("=")[0] for word in words}
        for command, more in FEWER.items():
            if " ".join(words).startswith(command) and said.isdisjoint(word.partition("=")[0] for word in more):
                words = [*words, *more]
        if words[0] != "train":
            return words
        file = next(word.removeprefix("--config=") for word in words if word.startswith("--config="))
        keys = {"data.cache": str(self.shared / "cache"), **SIZES.get(file, SMALLER)}
        if file in SYNTHETIC:
            keys["data.corpora"] = "synthetic"
        keys = {key: value for key, value in keys.items() if f"--config.{key}" not in said} | SHORTER
        return [*words, *(f"--config.{key}={value}" for key, value in keys.items())]

    def serve(self, words: list[str]) -> int:
        """Starts a server, which is ended with the page."""
        command = [sys.executable, "-m", "gptjax.cli", "serve", *words, f"--port={self.port}"]
        self.servers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        said = iter(self.servers[-1].stdout or ())
        return 0 if any("http://" in line for line in said) else 1


def a_trial(sweep: str) -> str:
    """The id of the first trial of a sweep."""
    driver, *_ = launch.opened(*launch_flags.parsed(["plan", sweep]))
    return driver.trials[0].id


def module_run(module: str, words: list[str]) -> int:
    """The exit code of `python -m`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [module, *words])
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=False)
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def recipe(target: str) -> list[list[str]]:
    """The gptjax commands of a target of the Makefile."""
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found is not None, f"make {target}: no such target"
    lines = [line.strip().removeprefix("@.venv/bin/") for line in found[1].splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("gptjax ")]


def extra_exists(name: str) -> bool:
    """Whether a package of `pip install` is gptjax, or this checkout, with extras that it has."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    found = re.fullmatch(r"(?:gptjax|\.)(?:\[([\w,]+)\])?", name)
    return found is not None and set((found[1] or "").split(",")) - {""} <= set(extras)


@contextlib.contextmanager
def following(page: str, folder: pathlib.Path, shared: pathlib.Path, port: int) -> Iterator[Reader]:
    """A reader in a folder that looks like a checkout, where lies what the page takes for granted."""
    for name in ("configs", "experiments", "tests/evaluation/harness"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    reader = Reader(folder, shared, port, [])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(mesh, "make", lambda cfg: mesh_of(1, 1, 1, 1))
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Hello\n")))
        for name, value in {"XDG_CACHE_HOME": str(shared / "cache"), "HF_HUB_OFFLINE": "1"}.items():
            patch.setenv(name, value)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        for name, make in given.GIVEN.get(page, {}).items():
            make(reader, folder / name)
        try:
            yield reader
        finally:
            for server in reader.servers:
                server.terminate()
                server.wait(20)
