"""Who waits, who leaves, what takes too long, and what happens when the engine fails."""

import concurrent.futures
import contextlib
import json
import threading
import time

import httpx2
import openai
import pytest

from tests.serving.conftest import FLAGS, serving, until

ASK = {"model": "talker", "prompt": "User: ", "max_tokens": 100, "temperature": 0}
ROWS = FLAGS.rows


@pytest.fixture(scope="module")
def tight(talker):
    """A server where two texts may wait."""
    with serving(FLAGS._replace(folder=str(talker), max_queue=2)) as tight:
        yield tight


@pytest.fixture(scope="module")
def hasty(talker):
    """A server that gives a request one second."""
    with serving(FLAGS._replace(folder=str(talker), timeout=1.0)) as hasty:
        yield hasty


@pytest.fixture
def held(tight):
    """A server whose engine takes no step until it is let go."""
    with holding(tight) as go:
        yield tight, go


@contextlib.contextmanager
def holding(served):
    scheduler, go = served.service.scheduler, threading.Event()
    advance = scheduler.engine.advance
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler.engine, "advance", lambda *words: go.wait(20) and advance(*words))
        try:
            yield go
        finally:
            go.set()
            until(lambda: not n_texts(served))


def n_texts(served):
    return len(served.service.scheduler.waiting) + len(served.service.scheduler.rows)


@contextlib.contextmanager
def asking(served, n):
    """n requests under way, each from a client of its own."""
    with concurrent.futures.ThreadPoolExecutor(n) as pool, served.client() as client:
        yield [pool.submit(lambda: client.completions.create(**ASK)) for _ in range(n)]


def test_a_full_queue_says_when_to_come_again(held):
    served, go = held
    with asking(served, ROWS + 2) as answers:
        until(lambda: n_texts(served) == ROWS + 2)
        refused = httpx2.post(f"{served.url}/v1/completions", json=ASK)
        go.set()
        assert all(answer.result().choices[0].text for answer in answers)
    assert refused.status_code == 429 and refused.headers["Retry-After"] == "1"
    assert refused.json()["error"]["type"] == "rate_limit_error"


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_gives_its_row_back(stream, held):
    served, go = held
    with httpx2.Client() as client, contextlib.suppress(httpx2.ReadTimeout):
        asked = ASK | {"stream": stream}
        with client.stream("POST", f"{served.url}/v1/completions", json=asked, timeout=0.3) as answer:
            for _ in answer.iter_bytes():
                pass
    (job,) = served.service.scheduler.rows.values()
    until(lambda: job.cancelled, seconds=1)
    go.set()
    until(lambda: not served.service.scheduler.rows, seconds=1)
    assert len(job.ids) < 10


def test_who_waits_and_leaves_is_not_written_for(held):
    served, go = held
    with asking(served, ROWS) as answers:
        until(lambda: n_texts(served) == ROWS)
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.post(f"{served.url}/v1/completions", json=ASK, timeout=0.2)
        until(lambda: n_texts(served) == ROWS, seconds=1)
        go.set()
        assert len([answer.result() for answer in answers]) == ROWS


@pytest.mark.parametrize("stream", [False, True])
def test_a_text_that_takes_too_long_is_an_error(stream, hasty):
    took = pytest.raises(openai.APIError, match="took too long")
    with holding(hasty), hasty.client() as client, took as caught:
        for _ in client.completions.create(**ASK, stream=True) if stream else [client.completions.create(**ASK)]:
            pass
    if not stream:
        assert isinstance(caught.value, openai.APIStatusError) and caught.value.status_code == 504


def test_a_body_that_does_not_come_is_given_up(hasty):
    def parts():
        yield b"{"
        time.sleep(1.3)
        yield b"}"

    answer = httpx2.post(f"{hasty.url}/v1/completions", content=parts(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 408


@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_of_the_engine_is_told_and_the_next_text_is_written(stream, tight, monkeypatch, capfd):
    def fail(*words):
        raise RuntimeError("RESOURCE_EXHAUSTED: of a test")

    with tight.client() as client:
        whole = client.completions.create(**ASK).choices[0].text
        with monkeypatch.context() as patch, pytest.raises(openai.APIError, match="the server lost this text"):
            patch.setattr(tight.service.scheduler.engine, "advance", fail)
            for _ in client.completions.create(**ASK, stream=True) if stream else [client.completions.create(**ASK)]:
                pass
        assert client.completions.create(**ASK).choices[0].text == whole
    assert tight.service.scheduler.engine.n_rows == ROWS
    assert capfd.readouterr().err == "gptjax: 1 texts were lost: RuntimeError: RESOURCE_EXHAUSTED: of a test\n"


def test_texts_that_end_make_room_while_others_go_on(held):
    """Two texts more than rows, of different lengths: rows are taken over one by one, not all at once."""
    served, go = held
    scheduler, seen = served.service.scheduler, []
    ask = lambda n: httpx2.post(f"{served.url}/v1/completions", json=ASK | {"max_tokens": 20 + 5 * n}, timeout=60)
    with concurrent.futures.ThreadPoolExecutor(ROWS + 2) as pool, pytest.MonkeyPatch.context() as patch:
        answers = [pool.submit(ask, n) for n in range(ROWS + 2)]
        until(lambda: n_texts(served) == ROWS + 2)
        advance = scheduler.engine.advance
        look = lambda: seen.append(set(map(id, scheduler.rows.values())))
        patch.setattr(scheduler.engine, "advance", lambda *words: look() or advance(*words))
        go.set()
        assert {answer.result().status_code for answer in answers} == {200}
    full = [jobs for jobs in seen if len(jobs) == ROWS]
    assert any(0 < len(jobs & other) < ROWS for jobs, other in zip(full, full[1:], strict=False))


def test_events_are_one_line_of_json_each(tight):
    answer = httpx2.post(f"{tight.url}/v1/completions", json=ASK | {"stream": True, "max_tokens": 5})
    assert (
        answer.headers["content-type"].startswith("text/event-stream") and answer.headers["cache-control"] == "no-store"
    )
    *lines, done, rest = answer.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    assert len({json.loads(line.removeprefix("data: "))["id"] for line in lines}) == 1
