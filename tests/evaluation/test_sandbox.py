"""Programs that go wrong on purpose, each held by the lock that it tries."""

import os
import time

import pytest

from gptjax.config import BadInput
from gptjax.evaluation import sandbox
from gptjax.evaluation.sandbox import LIMITS

SHORT = LIMITS._replace(timeout_s=2.0)
BOMB = "import os\nwhile True:\n    os.fork()\n"
SERVED = """
import socket
server = socket.socket()
server.bind(("127.0.0.1", 0))
server.listen()
socket.create_connection(server.getsockname(), 1)
"""
WRITTEN = "import os\nopen('a', 'w').write('#!/bin/sh')\nos.chmod('a', 0o700)\nos.execv('./a', ['a'])\n"
HOSTILE = [  # what it is called, the program, how it ends
    ("raises", "assert 1 == 2, 'no'", "AssertionError: no"),
    ("does not parse", "def f(:", "SyntaxError: invalid syntax"),
    ("leaves early with success", "import os; os._exit(0)", "ended early, with 0"),
    ("leaves by exit", "raise SystemExit(0)", "ended early, with 0"),
    ("bombs with forks", BOMB, "BlockingIOError"),
    ("takes all memory", "x = bytearray(2**30)", "MemoryError"),
    ("takes all CPU", "while True:\n    pass", "timed out"),
    ("sleeps", "import time; time.sleep(60)", "timed out"),
    ("prints without end", "while True:\n    print('x' * 4096)", "File too large"),
    ("writes a large file", "open('a', 'w').write('x' * 2**21)", "File too large"),
    ("writes many files", "for i in range(99):\n    open(f'{i}', 'w').write('x' * 2**19)", "No space left on device"),
    ("makes many files", "for i in range(2000):\n    open(f'{i}', 'w')", "No space left on device"),
    ("writes elsewhere", "open('/var/tmp/gptjax-escaped', 'w')", "PermissionError"),
    ("deletes elsewhere", "import os; os.rmdir('/usr/share/doc')", "PermissionError"),
    ("reads elsewhere", "open('/etc/passwd').read()", "PermissionError"),
    ("reads of processes", "open('/proc/self/environ').read()", "PermissionError"),
    ("runs a program it wrote", WRITTEN, "PermissionError"),
    ("calls out", "import socket; socket.create_connection(('1.1.1.1', 53), 1)", "Network is unreachable"),
    ("calls itself", SERVED, "Network is unreachable"),
    ("ends us", f"import os; os.kill({os.getpid()}, 9)", "ProcessLookupError"),
]  # fmt: skip


@pytest.mark.parametrize("name,program,ends", HOSTILE, ids=[name for name, *_ in HOSTILE])
def test_a_program_that(name, program, ends):
    outcome = sandbox.run(program, SHORT)
    assert not outcome.passed and ends in outcome.reason


def test_a_program_that_ends_has_passed_even_with_a_lone_surrogate():
    assert sandbox.run("import json, math, threading\nassert 'e\u0301' and math.pi > 3", SHORT) == (True, "passed")
    assert not sandbox.run("'\ud800'.nothing", SHORT).passed


def test_nothing_of_the_environment_is_passed_on(monkeypatch):
    monkeypatch.setenv("SECRET", "word")
    assert sandbox.run("import os\nassert set(os.environ) <= {'LC_CTYPE'}, os.environ", SHORT).passed


def test_a_program_finds_an_empty_folder_which_goes_with_it():
    found = (
        "import os\nassert os.listdir('.') == ['candidate.py'], os.listdir('.')\nopen('gptjax-left', 'w').write('x')"
    )
    assert sandbox.run(found, SHORT) == (True, "passed")
    assert sandbox.run(found, SHORT).passed
    assert not os.path.exists("/tmp/gptjax-left") and not os.path.exists("/gptjax-left")


def test_what_it_started_ends_with_it():
    word = f"gptjax{os.getpid()}"
    sandbox.run(f"import os, time\nos.fork()\nos.setsid() if os.getpid() > 2 else 0\n'{word}'\ntime.sleep(60)", SHORT)
    deadline = time.monotonic() + 2
    while (left := of_candidates()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def of_candidates() -> list[str]:
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                found += [entry] if b"candidate.py" in file.read().split(b"\0") else []
        except OSError:
            continue  # it has ended
    return found


def test_without_unshare_nothing_runs(monkeypatch):
    monkeypatch.setattr(sandbox.shutil, "which", lambda _: None)
    with pytest.raises(BadInput, match="needs Linux and unshare"):
        sandbox.run("1")


def test_where_a_namespace_is_not_allowed_nothing_runs(monkeypatch):
    monkeypatch.setattr(sandbox, "NAMESPACES", ("--no-such-namespace",))
    with pytest.raises(BadInput, match="does not allow what locks it down"):
        sandbox.run("1")


@pytest.mark.parametrize("step", ["CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446", "NO_NEW_PRIVILEGES = 38"])
def test_where_a_lock_fails_nothing_runs(step, monkeypatch):
    unknown = step.replace("444, 445, 446", "99999, 99999, 99999").replace("38", "9999")
    assert step in sandbox.LAUNCH
    monkeypatch.setattr(sandbox, "LAUNCH", sandbox.LAUNCH.replace(step, unknown))
    with pytest.raises(BadInput, match="Function not implemented|Invalid argument"):
        sandbox.run("1")
