"""Two jobs never train in one run directory, and a job that has died keeps nobody out."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys

import pytest

from gptjax.config import BadInput
from gptjax.training import lock
from gptjax.training.lock import RunLock

HOLD = "import sys; from gptjax.training.lock import RunLock; RunLock(sys.argv[1]).take(); print('held', flush=True); "


def test_the_other_job_is_named_and_its_death_frees_the_run(tmp_path):
    words = [sys.executable, "-c", HOLD + "sys.stdin.read()", str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(BadInput) as caught:
            RunLock(str(tmp_path)).take()
        assert f"--workdir={tmp_path}: process {other.pid} on {socket.gethostname()} is training" in str(caught.value)
        other.send_signal(signal.SIGKILL)
        other.wait()
        mine = RunLock(str(tmp_path))
        mine.take()
        assert str(os.getpid()) in (tmp_path / lock.NAME).read_text()
        mine.close()


def test_taking_it_twice_is_taking_it_once_and_closing_gives_it_back(tmp_path):
    mine, other = RunLock(str(tmp_path)), RunLock(str(tmp_path))
    mine.take()
    mine.take()
    with pytest.raises(BadInput):
        other.take()
    mine.close()
    other.take()
    other.close()


def test_a_file_system_without_locks_is_used_with_a_word(tmp_path, monkeypatch, capsys):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    mine = RunLock(str(tmp_path))
    mine.take()
    mine.close()
    assert "no locks there" in capsys.readouterr().err


def test_a_directory_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def read_only(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(BadInput, match=f"--workdir={tmp_path}: Read-only file system; name a directory"):
        RunLock(str(tmp_path)).take()


def test_an_object_store_has_no_lock():
    RunLock("gs://bucket/run").take()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"host": 1}', b'{"host": "a", "pid": "x"}'])
def test_a_holder_that_wrote_nothing_sensible_is_another_process(content):
    assert lock.told(content) == "another process"
