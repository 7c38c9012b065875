"""Runs that the tests of this room share; each is trained once."""

import pytest

from tests.commands.test_train import TINY, on_one_device


@pytest.fixture(scope="session")
def command(tmp_path_factory):
    """The arguments of a tiny run in a directory, with some keys changed ("__" for the dot)."""
    cache = tmp_path_factory.mktemp("cache")

    def make(workdir, **changes):
        keys = TINY | {"data.cache": str(cache)} | {key.replace("__", "."): value for key, value in changes.items()}
        flags = [f"--config.{key}={value}" for key, value in keys.items()]
        return ["train", "--config=configs/base.py", f"--workdir={workdir}", *flags]

    return make


@pytest.fixture(scope="session")
def finished(tmp_path_factory, command):
    """A run of twelve steps."""
    workdir = tmp_path_factory.mktemp("runs") / "finished"
    assert on_one_device(command(workdir)) == 0
    return workdir
