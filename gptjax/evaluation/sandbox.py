"""Code that a model wrote, run where it can reach nothing: Linux only, and not at all where a part of it is missing.

`unshare` gives namespaces of its own for users, network (no interface is up), processes, IPC and mounts; inside,
`LAUNCH` mounts a small empty tmpfs over /tmp, sets resource limits, lets Landlock deny every file but Python's to read
and the tmpfs to write, and becomes the candidate. The environment is empty. Root gives way to a user that owns nothing,
for the kernel counts no processes of root. Each step that fails ends the launch: nothing runs half locked.

This holds programs that go wrong. It is no proof against one that attacks the kernel.
"""

import os
import pathlib
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import NamedTuple

from gptjax.config import BadInput

STRANGERS = range(61184, 65520)  # numbers of users that systemd too takes for services of a moment
READABLE = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/dev/null", "/dev/urandom")
NAMESPACES = ("--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child")
OF_USERS = ("--user", "--map-root-user")  # which lets anybody but root have the others
LOCKED = "gptjax-locked\n"  # is written once all is locked: without it, nothing of the candidate ran


class Limits(NamedTuple):
    """What a program may take; asking for more fails, or ends it."""

    timeout_s: float = 10.0  # of the clock, the launch included
    cpu_s: int = 10  # of each process
    memory: int = 2**29  # bytes of addresses of each process
    processes: int = 8  # threads count too
    file_bytes: int = 2**20  # of each file, and of what is printed
    disk_bytes: int = 2**24  # of all files


LIMITS = Limits()


class Outcome(NamedTuple):
    passed: bool
    reason: str  # "passed", "timed out", or the last line of the error


def run(program: str, limits: Limits = LIMITS) -> Outcome:
    """Whether a program gets to its end without an error. Raises BadInput where this machine cannot lock it down.

    The end writes a word that is drawn anew, so a program that leaves early with success has not passed.
    """
    unshare = shutil.which("unshare")
    if sys.platform != "linux" or unshare is None:
        raise BadInput("no code is run: locking it down needs Linux and unshare (util-linux)")
    word = secrets.token_hex(16)
    python = os.path.realpath(sys.executable)
    here = next(folder for folder in ("/tmp", "/mnt") if not sys.base_prefix.startswith(f"{folder}/"))
    readable = [path for path in (*READABLE, sys.base_prefix, python) if os.path.exists(path)]
    is_root = os.geteuid() == 0
    stranger = secrets.choice(STRANGERS) if is_root else 0
    numbers = (stranger, limits.cpu_s, limits.memory, limits.processes, limits.file_bytes, limits.disk_bytes)
    words = [
        unshare,
        *(() if is_root else OF_USERS),
        *NAMESPACES,
        python,
        "-IBS",
        "-c",
        LAUNCH,
        *map(str, numbers),
        python,
        sys.base_prefix,
        here,
        *readable,
    ]
    source = f"{program}\nprint({word!r}, flush=True)\n"
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        given.write(source.encode(errors="replace"))
        given.seek(0)
        process = subprocess.Popen(words, stdin=given, stdout=out, stderr=err, cwd="/", env={}, start_new_session=True)
        timed_out = False
        try:
            process.wait(limits.timeout_s)
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            stop(process)
        printed, said = (read(file, limits.file_bytes) for file in (out, err))
    if LOCKED not in said:
        last = said.strip().splitlines()[-1:] or [f"it ended with {process.returncode}"]
        raise BadInput(f"no code is run: this machine does not allow what locks it down ({last[0][:200]})")
    if timed_out:
        return Outcome(False, "timed out")
    if process.returncode == 0 and printed.endswith(f"{word}\n"):
        return Outcome(True, "passed")
    errors = said.split(LOCKED, 1)[1].strip().splitlines()
    return Outcome(False, errors[-1][:200] if errors else f"ended early, with {process.returncode}")


def read(file, most: int) -> str:
    file.seek(0)
    return file.read(most + len(LOCKED)).decode(errors="replace")


def stop(process: subprocess.Popen) -> None:
    """Ends `unshare` and its group; the first process of the namespace goes with them, and so do all others there."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # all have ended
    process.wait()


LAUNCH = pathlib.Path(__file__).with_name("locked.py").read_text()
