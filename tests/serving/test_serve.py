"""`gptjax serve` as a process: what it refuses, how it ends, and what it never tells."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys

import httpx2
import pytest
from starlette.applications import Starlette

from gptjax import cli
from gptjax.commands import serve
from gptjax.serving.scheduler import Scheduler
from gptjax.training import source
from tests.serving.conftest import FLAGS

TOKEN = "a-token-that-nobody-prints"


@contextlib.contextmanager
def started(*flags, **variables):
    """A server in a process of its own, and its address once it answers."""
    command = [sys.executable, "-m", "gptjax.cli", "serve", "--port=0", *flags]
    env = os.environ | {"GLIBC_TUNABLES": "", **variables}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as server:
        assert server.stdout is not None
        try:
            lines = [server.stdout.readline() for _ in range(2)]
            url = re.search(r"http://[\d.]+:\d+", "".join(lines))
            assert url is not None, lines + server.stdout.readlines()
            yield server, server.stdout, url[0], lines
        finally:
            server.kill()


def test_sigterm_lets_what_is_under_way_end(talker):
    """Another request, a new one, is no longer taken; the token is in no line of the log."""
    ask = {"prompt": "User: ", "max_tokens": 120, "temperature": 0, "stream": True}
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with started(f"--from={talker}", GPTJAX_TOKEN=TOKEN) as (server, stdout, url, lines):
        with httpx2.stream("POST", f"{url}/v1/completions", json=ask, headers=headers, timeout=60) as answer:
            parts = answer.iter_text()
            first = next(parts)
            server.send_signal(signal.SIGTERM)
            rest = "".join(parts)
        assert "[DONE]" not in first and rest.endswith("data: [DONE]\n\n") and '"finish_reason": "length"' in rest
        output = "".join(lines) + stdout.read()
        assert server.wait(20) == 0
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(f"{url}/health")
    assert TOKEN not in output and "with a token" in output and "Traceback" not in output


def refused(capsys, *flags):
    """The one line with which the command ends."""
    assert cli.main(["serve", "--from=/nowhere", *flags]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (
            ["--host=0.0.0.0"],
            "--host=0.0.0.0: others could reach it, so it needs a token: set GPTJAX_TOKEN, or --token",
        ),
        (["--host=::"], "needs a token"),
        (["--token="], "--token: must be printable ASCII"),
        (["--token=two words"], "--token: must be printable ASCII"),
        (["--port=70000"], "--port=70000: must be at most 65535"),
        (["--rows=0"], "--rows=0: must be at least 1"),
        (["--rows=65"], "--rows=65: must be at most 64"),
        (["--max_queue=-1"], "--max_queue=-1: must be at least 0"),
        (["--max_body=0"], "--max_body=0: must be at least 1"),
        (["--timeout=0"], "--timeout=0: must be at least 1"),
        (["--timeout=nan"], "--timeout=nan: must be at"),
        (["--precision=int4"], "--precision=int4: must be one of"),
        (["--host=no.such.host.invalid", "--token=x"], "--host=no.such.host.invalid --port=8000: cannot listen there"),
        (["--tokn=x"], "serve has no flag --tokn=x; did you mean --token?"),
        (["--port=0"], "/nowhere: not a run directory"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(flags, says, capsys, monkeypatch):
    monkeypatch.delenv(serve.TOKEN, raising=False)
    err = refused(capsys, *flags)
    assert says in err and "two words" not in err


def test_a_port_that_is_taken_is_named(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        err = refused(capsys, f"--port={port}")
    assert f"--port={port}: cannot listen there: Address already in use; name another port" in err


def test_a_context_beyond_the_models_is_refused(talker, capsys):
    assert cli.main(["serve", f"--from={talker}", "--port=0", "--context=500"]) == 2
    assert "--context=500: must be at most model.context=128" in capsys.readouterr().err


def test_the_fingerprint_changes_with_what_could_change_a_text(talker):
    given, asked = source.open_run(str(talker)), FLAGS._replace(folder=str(talker))
    several = [asked, asked._replace(rows=7), asked._replace(context=32), asked._replace(precision="int8")]
    found = [serve.fingerprint(given, one, native) for one in several for native in (True, False)]
    assert len(set(found)) == 8 and serve.fingerprint(given, asked._replace(max_queue=3), True) == found[0]


def test_a_missing_package_names_the_extra(monkeypatch, capsys):
    for name in [*sys.modules]:
        if name.startswith(("gptjax.serving", "gptjax.commands.serve")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette.applications", None)
    monkeypatch.delattr("gptjax.commands.serve", raising=False)
    assert "serve needs pip install 'gptjax[serve]'" in refused(capsys, "--port=0")


def test_a_server_without_an_engine_ends(monkeypatch, capsys):
    """With the code that says to try again."""
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)
    monkeypatch.setattr(Scheduler, "run", lambda self: [][0])
    serve.work(Scheduler.__new__(Scheduler))
    assert codes == [1] and "the engine cannot go on: IndexError" in capsys.readouterr().err


def test_the_tokens_are_compared_without_telling_where_they_differ(monkeypatch):
    from gptjax.serving import door

    compared = []
    monkeypatch.setattr(door.hmac, "compare_digest", lambda *both: compared.append(both) or True)
    door.Door(Starlette(), TOKEN).check(door.Headers({"authorization": "Bearer x"}), "/v1/models")
    assert compared == [(b"x", TOKEN.encode())]
