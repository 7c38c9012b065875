"""What is left in memory once a step is compiled."""

import pathlib
import subprocess
import sys

import pytest

from gptjax.commands import train

PROGRAM = """
import pathlib, re
from gptjax.commands import train
held = lambda: int(re.search(r"VmRSS:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
def compile():
    blocks = [bytearray(20_000) for _ in range(10_000)]  # 200 MB, each too small for a mapping of its own
    kept = blocks[::500]  # so that the heap cannot shrink from its end
    return kept
before = held()
kept = train.compiled(compile)
print(held() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap is Linux's")
def test_what_the_compiler_freed_is_given_back():
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=pathlib.Path.cwd(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 50_000, "kB"


def test_the_executable_is_what_comes_back():
    assert train.compiled(lambda: 7) == 7
