"""A tiny run that is trained in this process, on one of its devices."""

import pathlib

import pytest

from gptjax import cli, mesh
from tests.reliability.test_interruptions import TINY
from tests.tiny import mesh_of


@pytest.fixture(scope="session")
def train(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")

    def train(run: pathlib.Path, n_steps: int, save_every: int) -> int:
        changed = TINY | {
            "data.cache": cache,
            "n_steps": n_steps,
            "save_every": save_every,
            "optim.schedule": "constant",
        }
        flags = [f"--config.{key}={value}" for key, value in changed.items()]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mesh, "make", lambda cfg: mesh_of(1, 1, 1, 1))
            return cli.main(["train", "--config=configs/base.py", f"--workdir={run}", *flags])

    return train


@pytest.fixture(scope="session")
def begun(train, tmp_path_factory):
    """A run with one checkpoint, at step 4."""
    run = tmp_path_factory.mktemp("begun") / "run"
    assert train(run, 4, 4) == 0
    return run
