"""Tiny whole runs for the draws: on the synthetic corpus, in this process or in several that share what is compiled."""

import json
import pathlib
import time

import pytest

from gptjax import cli, mesh
from tests.tiny import mesh_of

TINY = {
    "n_steps": "12",
    "batch_tokens": "128",
    "log_every": "1",
    "eval_every": "0",
    "eval_tokens": "256",
    "save_every": "4",
    "sample_tokens": "4",
    "sample_prompt": "the",
    "optim.warmup_steps": "2",
    "optim.schedule": "constant",
    "model.context": "16",
    "model.n_layers": "2",
    "model.d_model": "32",
    "model.d_hidden": "64",
    "data.corpora": "synthetic",
}


def overrides(**changes: object) -> list[str]:
    """The keys of a tiny run, with some changed ("__" for the dot)."""
    keys = TINY | {key.replace("__", "."): value for key, value in changes.items()}
    return [f"{key}={value}" for key, value in keys.items()]


def command(workdir: pathlib.Path, cache: pathlib.Path, **changes: object) -> list[str]:
    """The words of `gptjax train` for a tiny run in a directory, with some keys changed."""
    flags = [f"--config.{override}" for override in overrides(data__cache=cache, **changes)]
    return ["train", "--config=configs/base.py", f"--workdir={workdir}", *flags]


def alone(words: list[str]) -> int:
    """The command's exit code in this process, on one of its devices."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mesh, "make", lambda cfg: mesh_of(1, 1, 1, 1))
        return cli.main(words)


def rows(workdir: pathlib.Path) -> list[dict]:
    """The whole lines of metrics.jsonl so far."""
    log = workdir / "metrics.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")] if log.exists() else []


def wait_for_lines(workdir: pathlib.Path, n: int, children: list) -> None:
    """Returns once a run of these processes has written n lines of training."""
    deadline = time.monotonic() + 120
    while sum("train/nll" in row for row in rows(workdir)) < n:
        if any(child.poll() is not None for child in children) or time.monotonic() > deadline:
            raise AssertionError([child.communicate()[1] for child in children if child.poll() is not None])
        time.sleep(0.005)


def losses(workdir: pathlib.Path) -> dict[int, float]:
    """{step: training loss}, later lines winning."""
    return {row["step"]: row["train/nll"] for row in rows(workdir) if "train/nll" in row}
