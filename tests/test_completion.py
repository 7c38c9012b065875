"""Tab in a real bash, with what `gptjax completion bash` prints: what is offered, and what a Tab costs."""

import pathlib
import resource
import subprocess
import sys

import pytest

from gptjax import config
from gptjax.cli import COMMANDS, main
from gptjax.keys import CHOICES

ROOT = pathlib.Path(__file__).parents[1]
TAB = """
PATH="$1:$PATH"; source "$1/script"; COMP_LINE="$2"; COMP_POINT=${#2}; COMP_TYPE=9
_python_argcomplete gptjax
printf '%s\\n' "${COMPREPLY[@]}"
"""
OFFERED = [
    ("gptjax ", list(COMMANDS)),
    ("gptjax ev", ["evaluate"]),
    ("gptjax completion ", ["bash", "zsh", "fish"]),
    ("gptjax generate --to", ["--top_k", "--top_p"]),  # not --topology, which is of another command
    ("gptjax train --config.optim.", [f"--config.{key}" for key in config.key_types() if key.startswith("optim.")]),
    ("gptjax plan --config.optim.name=", list(CHOICES["optim.name"])),
    ("gptjax train --config.seed=3 --config.model.scan=", ["true", "false"]),
    ("gptjax train --config=configs/smo", ["configs/smoke.py", "configs/smoke_gpu.py"]),
    ("gptjax train --config=configs/ba", ["configs/base.py"]),
    ("gptjax train --workdir=te", ["tests/"]),
    ("gptjax generate --temperature=", []),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the program and the script for bash, as a shell has them."""
    folder = tmp_path_factory.mktemp("shell")
    (folder / "gptjax").write_text(f'#!/bin/sh\nexec {sys.executable} -m gptjax.cli "$@"\n')
    (folder / "gptjax").chmod(0o755)
    done = subprocess.run([folder / "gptjax", "completion", "bash"], cwd=ROOT, capture_output=True, check=True)
    (folder / "script").write_bytes(done.stdout)
    return folder


def tab(place: pathlib.Path, line: str) -> list[str]:
    done = subprocess.run(["bash", "--norc", "-c", TAB, "tab", place, line], cwd=ROOT, capture_output=True, text=True)
    return [word.strip() for word in done.stdout.split("\n") if word.strip()]


@pytest.mark.parametrize(("line", "offered"), OFFERED)
def test_a_tab_offers(place, line, offered):
    assert sorted(tab(place, line)) == sorted(offered)


def test_a_tab_among_flags_is_not_drowned_in_keys(place):
    assert tab(place, "gptjax train --c") == ["--config", "--change_optimizer"]


def test_a_tab_loads_nothing_heavy(place):
    program = "import sys, gptjax.cli, gptjax.completion; sys.exit(bool({'numpy', 'jax'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0
    costs = []  # CPU seconds of what a Tab starts, bash too
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert tab(place, "gptjax tr") == ["train"]
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        costs.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(costs) < 0.3


def test_another_shell_is_refused(capsys):
    assert main(["completion", "csh"]) == 2
    assert "choose from" in (said := capsys.readouterr().err) and "fish" in said
