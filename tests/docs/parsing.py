"""Commands that are read by the real parsers and not run: a flag that is renamed, a key or a file that is gone."""

import argparse
import importlib
import importlib.util
import re
import shlex
import sys
from typing import NoReturn

import pytest

from gptjax import config
from gptjax.flags import config_overrides, make_parser
from launch import flags as launch_flags
from launch.engines import ENGINES, settings
from tests.docs import reader
from tests.docs.pages import ROOT

OF_OTHERS = (
    "mkdir",
    "curl",
    "gcloud",
    "git",
    "scontrol",
    "srun",
    "kubectl",
    "apt-get",
    "perf",
    "cp",
)  # not ours to read
FLAGS_OF_OTHERS = {
    "--compile": "nanoGPT", "--device": "nanoGPT", "--gpus-per-node": "Slurm", "--gpus-per-task": "Slurm",
    "--xla_dump_module_metadata": "XLA", "--durations": "pytest", "--on": "launch",
}  # fmt: skip
PARSER = make_parser()
COMMANDS: dict[str, argparse.ArgumentParser] = next(
    action.choices for action in PARSER._actions if isinstance(action, argparse._SubParsersAction)
)
LAUNCH: dict[str, argparse.ArgumentParser] = next(
    action.choices for action in launch_flags.make_parser()._actions if isinstance(action, argparse._SubParsersAction)
)


class Parsed(Exception):
    """Ends a program that has read its flags."""


def read(words: list[str]) -> None:
    """Raises for a command that could not be typed so, whatever it would do."""
    while re.fullmatch(r"\w+=.*", words[0]):
        words = words[1:]
    match words:
        case ["gptjax", *rest]:
            read_gptjax(rest)
        case ["python", "-m", "launch", *rest]:
            read_launch(rest)
        case ["python", "-m", "pytest", *rest] | ["pytest", *rest]:
            read_pytest(rest)
        case ["python", "-m", module, *rest]:
            read_module(module, rest)
        case ["make", *targets]:
            for target in targets:
                assert target.isupper() or "=" in target or reader.recipe(target) is not None
        case ["pip", "install", *named]:
            named = named[1:] if named[:1] == ["-e"] else named
            assert all(reader.extra_exists(name) or " @ " in name for name in named), named
        case ["source", file]:
            assert file == ".venv/bin/activate"
        case [program, *_]:
            assert program in OF_OTHERS, f"{shlex.join(words)}: nobody knows this program"


def read_gptjax(words: list[str]) -> None:
    """A command whose every flag exists; where nothing is left out, the parser takes it whole, and its config loads."""
    if words == ["--help"] or not words:
        return
    parser = COMMANDS[words[0]]
    given = [word for word in words[1:] if word.startswith("--")]
    for word in given:
        read_flag(word, parser)
    required = {action.option_strings[0] for action in parser._actions if action.required and action.option_strings}
    names = {word.partition("=")[0] for word in given}
    if "--help" in names or "..." in words or not required <= names or len(words) == 1:
        return
    flags, rest = PARSER.parse_known_args(words)
    overrides = config_overrides(rest, flags)
    if "config" in flags and (ROOT / flags.config).is_file():
        config.load(ROOT / flags.config, overrides)


def read_flag(word: str, parser: argparse.ArgumentParser) -> None:
    """A flag of this command, or of its config."""
    name, _, value = word.partition("=")
    if not name.startswith("--config."):
        assert name in parser._option_string_actions, f"{parser.prog} has no flag {name}"
    elif (key := name.removeprefix("--config.")) != "KEY":
        kinds = config.key_types()
        assert key in kinds, f"there is no key {key}"
        config.parse(key, value, kinds[key]) if value else None


def read_launch(words: list[str]) -> None:
    if len(words) < 2:
        assert not words or words[0] in LAUNCH
        return
    asked, keys, given = launch_flags.parsed([word for word in words if word != "..."])
    for key in keys:
        read_flag(f"--config.{key}", PARSER)
    settings(asked.on, {}, given)
    theirs = asked.file.isupper() or asked.file == "experiments/my_question/sweep.py"  # which the reader writes
    assert (ROOT / asked.file).is_file() or theirs, f"{asked.file} is not there"


def read_pytest(words: list[str]) -> None:
    for word in words:
        file, _, test = word.partition("::")
        if file.endswith(".py"):
            assert (ROOT / file).is_file(), f"{file} is not there"
            assert f"def {test}" in (ROOT / file).read_text(), word


def read_module(module: str, words: list[str]) -> None:
    """A program of this repository; a benchmark reads its flags, and ends there."""
    assert importlib.util.find_spec(module) is not None, f"there is no module {module}"
    if not module.startswith("benchmarks.") or "ArgumentParser" not in source_of(module):
        return

    def parse(parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        real(parser, [word for word in words if word.startswith("--")])
        raise Parsed

    real = argparse.ArgumentParser.parse_args
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Parsed):
        patch.setattr(argparse.ArgumentParser, "parse_args", parse)
        patch.setattr(sys, "argv", [module, *words])
        importlib.import_module(module).main()


def source_of(module: str) -> str:
    return (ROOT / f"{module.replace('.', '/')}.py").read_text()


def known_flags() -> set[str]:
    """Every flag of this repository."""
    found = {name for parser in (*COMMANDS.values(), *LAUNCH.values()) for name in parser._option_string_actions}
    for file in (*ROOT.glob("benchmarks/*.py"), *ROOT.glob("experiments/*/*.py")):
        found |= set(re.findall(r'add_argument\(\s*"(--\w+)"', file.read_text()))
    return found | set(FLAGS_OF_OTHERS)


def read_words(span: str, known: set[str]) -> None:
    """Flags that stand alone in prose."""
    for word in shlex.split(span):
        name, _, value = word.partition("=")
        if name.startswith("--config."):
            read_flag(word, PARSER)
        elif name.startswith("--on."):
            key = name.removeprefix("--on.")
            assert key == "KEY" or any(key in vars(ENGINES[one].Settings()) for one in ENGINES), f"no engine has {key}"
        elif name.startswith("--"):
            assert name in known, f"nothing here has a flag {name}"
