"""What a shell would start: Bash reads the text itself, and a handler notes each program that it does not find."""

import pathlib
import re
import shlex
import subprocess

HANDLER = """
command_not_found_handle() { printf '%s\\0' "$@" >> "$STARTED"; printf '\\x1e' >> "$STARTED"; }
source() { command_not_found_handle source "$@"; }
.() { command_not_found_handle source "$@"; }
"""


def typed(text: str, language: str = "") -> str:
    """What is typed of a block; in a `console`, the lines behind a prompt."""
    if language != "console":
        return text
    return "\n".join(re.findall(r"^\$ ((?:.*\\\n)*.*)", text, re.MULTILINE))


def started(text: str, folder: pathlib.Path, scratch: pathlib.Path, whole: bool = True) -> list[list[str]]:
    """The words of each command that the text starts in the folder, in order; nothing is started.

    Not `whole` is a text that goes into folders which are not there.
    """
    handler, note = scratch / "handler.sh", scratch / "started"
    handler.write_text(HANDLER)
    note.write_bytes(b"")
    environment = {"PATH": "/nonexistent", "BASH_ENV": str(handler), "STARTED": str(note)}
    ended = subprocess.run(["/bin/bash", "-c", text], cwd=folder, env=environment, capture_output=True, text=True)
    assert not (whole and ended.stderr), f"{text}\n{ended.stderr}"
    commands = note.read_bytes().decode().split("\x1e")[:-1]
    return [command.split("\0")[:-1] for command in commands]


def words(text: str) -> list[str]:
    """Of one command in prose."""
    return shlex.split(text)
