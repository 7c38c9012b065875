"""The table of trials: one event has one writer, on a disk, in memory and in a bucket."""

import os
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest
from moto.s3.responses import S3Response
from moto.server import ThreadedMotoServer

from gptjax.config import BadInput
from launch import table as tables
from launch.table import State, Table

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def s3():
    """A local S3; the bucket `sweeps` in it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    one_at_a_time = threading.Lock()

    def atomic(answer: Callable) -> Callable:
        """S3 does one thing at a time with an object; moto's threads share one request's words and write in turns."""

        def answered(*request):
            with one_at_a_time:
                return answer(*request)

        return answered

    with pytest.MonkeyPatch.context() as patch:
        for name in ("key_response", "bucket_response"):
            patch.setattr(S3Response, name, atomic(getattr(S3Response, name)))
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
            patch.setenv(name, value)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        fsspec.filesystem("s3").mkdir("sweeps")
        yield "s3://sweeps"
        fsspec.get_filesystem_class("s3").clear_instance_cache()
    server.stop()


@pytest.fixture(params=["folder", "memory", "s3"])
def root(request, tmp_path) -> str:
    unique = uuid.uuid4().hex
    if request.param == "folder":
        return str(tmp_path / "table")
    return (
        f"memory://{unique}/table" if request.param == "memory" else f"{request.getfixturevalue('s3')}/{unique}/table"
    )


def test_a_trial_is_its_highest_event(root):
    table = Table(root)
    assert table.latest() == {} and table.get("a") == State()
    first = State().next("submitted", batch="one")
    assert table.append("a", first)
    second = first.next("running", attempt=1, result={"eval/nll": "NaN"})
    assert table.append("a", second) and table.append("b", State().next("cancelled"))
    for reader in (table, Table(root)):
        assert reader.latest() == {"a": second, "b": reader.get("b")}
        assert reader.get("a") == second and reader.get("b").state == "cancelled"
    assert second.batch == "one" and second.event == 2 and second.process == os.getpid()


def test_of_two_who_saw_the_same_state_one_alone_goes_on(root):
    one, other = Table(root), Table(root)
    seen = one.get("a")
    assert one.append("a", seen.next("submitted", batch="one"))
    assert not other.append("a", seen.next("submitted", batch="other"))
    assert other.get("a").batch == "one"


def test_many_who_write_at_once_lose_no_event_and_double_none(root):
    n_writers, n_each = (8, 25) if "s3" not in root else (4, 6)

    def write(writer: int) -> int:
        table, refused = Table(root), 0
        for number in range(n_each):
            while not table.append("a", table.get("a").next("waiting", why=f"{writer}/{number}")):
                refused += 1
        return refused

    with ThreadPoolExecutor(n_writers) as pool:
        refused = sum(pool.map(write, range(n_writers)))
    table = Table(root)
    assert table.get("a").event == n_writers * n_each
    texts = table.store.read([("a", event) for event in range(1, n_writers * n_each + 1)])
    whys = {table.parsed("a", number, text).why for number, text in enumerate(texts, 1)}
    assert whys == {f"{writer}/{number}" for writer in range(n_writers) for number in range(n_each)}
    assert refused or "s3" in root, "nobody ever met another: this shows nothing"


def test_an_answer_that_was_lost_is_no_refusal(root):
    table, state = Table(root), State().next("submitted", batch="mine")
    assert table.append("a", state)
    if "://" in root:
        assert table.append("a", state), "what lies there is this very event"
    assert not table.append("a", State().next("submitted", batch="another's"))


def test_a_half_written_event_is_seen_by_nobody(tmp_path, monkeypatch):
    table = Table(str(tmp_path))

    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(tables.os, "link", dies)
    with pytest.raises(KeyboardInterrupt):
        table.append("a", State().next("done"))
    assert Table(str(tmp_path)).latest() == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"state": "lost", "event": 1}', '{"state": "done", "event": 2}'])
def test_a_damaged_event_is_named(tmp_path, text):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "00001.json").write_text(text)
    with pytest.raises(BadInput, match="a/00001.json is damaged"):
        Table(str(tmp_path)).latest()


def test_a_store_without_conditional_puts_is_refused():
    with pytest.raises(BadInput, match="has no conditional put; use a folder, or one of s3, gs"):
        Table("ftp://host/table")


def test_a_folder_that_comes_to_be_while_it_is_listed_holds_no_event_yet(s3, monkeypatch):
    """s3fs lists what is below; where nothing was, it asks for the folder itself, which may be there by then."""
    store = tables.Bucket(f"{s3}/{uuid.uuid4().hex}/table")
    monkeypatch.setattr(store.fs, "find", lambda folder: [f"{folder}/"])
    assert store.newest(None) == {} and store.newest(["trial"]) == {}


def test_what_is_listed_before_it_is_given_is_asked_for_again(s3, monkeypatch):
    store = tables.Bucket(f"{s3}/{uuid.uuid4().hex}/table")
    assert store.create("a", 1, b"event")
    given, asked = store.fs.cat_file, []

    def late(path: str) -> bytes:
        asked.append(path)
        if len(asked) == 1:
            raise FileNotFoundError(path)
        return given(path)

    monkeypatch.setattr(store.fs, "cat_file", late)
    assert store.read([("a", 1)]) == [b"event"] and len(asked) == 2
