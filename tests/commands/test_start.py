"""What `gptjax train` loads before its first step."""

import os
import subprocess
import sys

from gptjax import cli

NOT_EVERY_RUN = (  # needs these: each is imported where it is used
    "array_record", "grain", "matplotlib", "pyarrow", "safetensors", "sentencepiece", "tensorboardX",
    "tensorflow_datasets", "tokenizers", "trackio", "wandb",
)  # fmt: skip


def test_training_loads_no_package_that_only_some_runs_use():
    program = "import sys, gptjax.commands.train\nprint(*sorted(set(sys.argv) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program, *NOT_EVERY_RUN], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []


def test_a_command_starts_anew_once_with_huge_pages(monkeypatch):
    """Whoever has settings of glibc's allocator keeps them, and a call from Python starts no process."""
    started = []
    monkeypatch.setattr(os, "execv", lambda path, argv: started.append((path, argv, os.environ["GLIBC_TUNABLES"])))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "gptjax.cli", "generate"])
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    assert cli.main(["generate", "--from=nowhere", "--prompt=x"]) == 2 and not started
    cli.ask_for_huge_pages()
    cli.ask_for_huge_pages()
    again = [sys.executable, "-m", "gptjax.cli", "generate"]
    assert started == [(sys.executable, again, "glibc.malloc.hugetlb=1")]
