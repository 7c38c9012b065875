"""A tiny model that has learned one dialogue by heart, served in a thread of the tests' own process."""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import openai
import pytest

from gptjax.commands import serve
from gptjax.serving.endpoint import Service
from tests.commands.test_train import TINY, on_one_device

TALK = "User: hello\nAssistant: hello, how are you?\nUser: how are you\nAssistant: I am well.\n"
KEYS = TINY | {
    "n_steps": "100",
    "batch_tokens": "512",
    "log_every": "100",
    "eval_every": "0",
    "eval_tokens": "128",
    "save_every": "0",
    "sample_tokens": "1",
    "model.context": "128",
    "model.d_model": "64",
    "model.d_hidden": "128",
    "optim.name": "muon",
    "optim.peak_lr": "1e-2",
}
FLAGS = serve.Asked(
    folder="", host="127.0.0.1", port=0, token=None, model=None, context=0, precision="float32", rows=6,
    max_queue=64, max_body=100_000, timeout=60.0,
)  # fmt: skip


class Served(NamedTuple):
    url: str
    service: Service

    def client(self, token: str = "none") -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=token, max_retries=0)


@pytest.fixture(scope="session")
def talker(tmp_path_factory):
    """The folder of a run trained on one dialogue."""
    folder = tmp_path_factory.mktemp("talker")
    (folder / "talk.txt").write_text(TALK * 400)
    keys = KEYS | {"data.corpora": f"text:{folder}/talk.txt", "data.cache": str(folder / "cache")}
    flags = [f"--config.{key}={value}" for key, value in keys.items()]
    assert on_one_device(["train", "--config=configs/base.py", f"--workdir={folder}/talker", *flags]) == 0
    return folder / "talker"


@contextlib.contextmanager
def serving(asked: serve.Asked) -> Iterator[Served]:
    service = serve.opened(asked)
    server = serve.make_server(service, asked.token, asked.timeout)
    with serve.listen(asked.host, asked.port) as listening, serve.working(service):
        thread = threading.Thread(target=lambda: server.run(sockets=[listening]))
        thread.start()
        try:
            yield Served(serve.address(listening), service)
        finally:
            server.should_exit = True
            thread.join()


def until(true, seconds=10):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="session")
def served(talker):
    with serving(FLAGS._replace(folder=str(talker))) as served:
        yield served


@pytest.fixture
def client(served):
    with served.client() as client:
        yield client
