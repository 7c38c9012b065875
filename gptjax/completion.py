"""Completion of the command line, by argcomplete: `eval "$(gptjax completion bash)"` in a shell's start file.

The shell starts `gptjax` anew at each Tab, so nothing here may load JAX or NumPy.
"""

import argparse
import os
from typing import NoReturn

import argcomplete
import argcomplete.shell_integration
from argcomplete.completers import BaseCompleter, ChoicesCompleter, DirectoriesCompleter, FilesCompleter

from gptjax import config
from gptjax.keys import CHOICES

FOLDERS, FILES = ("DIR", "DIR|NAME", "FOLDER", "RUN"), ("FILE", "GLOB", "NAME,...")
NOTHING = ChoicesCompleter({})  # argcomplete's own SuppressCompleter would hide the flag itself


def script(shell: str) -> str:
    """What bash, zsh or fish executes once, to ask `gptjax` at each Tab from then on."""
    return argcomplete.shell_integration.shellcode(["gptjax"], shell=shell)


def answer(parser: argparse.ArgumentParser) -> NoReturn:
    """Tells the shell that asks, through its variables, what may stand at the cursor, and ends the process."""
    word = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])].split(" ")[-1]
    for command in commands(parser):
        for action in (action for action in command._actions if action.choices is None):
            vars(action)["completer"] = completer(action)
        if word.startswith("--config.") and "--config" in command._option_string_actions:
            add_keys(command)  # else the hundred keys would hide the flags
    argcomplete.autocomplete(parser, always_complete_options=False)
    raise AssertionError("argcomplete ends the process")


def commands(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    (action,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return list(action.choices.values())


def completer(action: argparse.Action) -> BaseCompleter:
    """By the word that stands for the value in --help."""
    if action.dest == "config":
        return FilesCompleter(["py"])
    if action.metavar in FOLDERS:
        return DirectoriesCompleter()
    return FilesCompleter() if action.metavar in FILES else NOTHING


def add_keys(command: argparse.ArgumentParser) -> None:
    for key, kind in config.key_types().items():
        words: tuple[str, ...] = ("true", "false") if kind is bool else CHOICES.get(key, ())
        action = command.add_argument(f"--config.{key}", help=getattr(kind, "__name__", str(kind)))
        vars(action)["completer"] = ChoicesCompleter(dict.fromkeys(words, ""))
