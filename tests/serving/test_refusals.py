"""What the server does not do is refused in OpenAI's shape, by the name of the field."""

import json

import httpx2
import openai
import pytest

from tests.serving.conftest import FLAGS, serving

CHAT = {"messages": [{"role": "user", "content": "hello"}]}
TEXT = {"prompt": "hello"}
JSON = {"Content-Type": "application/json"}


def refused(served, body, headers=JSON, path=None):
    """(status, error) of a body as it is."""
    content = body if isinstance(body, str | bytes) else json.dumps(body)
    path = path or ("/v1/chat/completions" if '"messages":' in str(content) else "/v1/completions")
    answer = httpx2.post(served.url + path, content=content, headers=headers)
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    return answer.status_code, answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        (CHAT | {"presence_penalty": 0.5}, "presence_penalty", "is not served"),
        (CHAT | {"logit_bias": {"50": 1}}, "logit_bias", "is not served"),
        (CHAT | {"tools": [{"type": "function"}]}, "tools", "is not served"),
        (CHAT | {"response_format": {"type": "json_object"}}, "response_format", "is not served"),
        (TEXT | {"best_of": 2}, "best_of", "is not served"),
        (TEXT | {"suffix": "x"}, "suffix", "is not served"),
        (TEXT | {"temprature": 1}, "temprature", "no such field; did you mean temperature?"),
        (TEXT | {"messages_": 1} | {"prompt": ""}, "messages_", "no such field"),
        (CHAT | {"temperature": -1}, "temperature", "a number from 0 up to 100"),
        (CHAT | {"temperature": True}, "temperature", "a number"),
        (CHAT | {"top_p": 0}, "top_p", "above 0 up to 1"),
        (CHAT | {"top_k": 1.5}, "top_k", "a number"),
        (CHAT | {"n": 0}, "n", "from 1 to 128"),
        (CHAT | {"n": 100}, "n", "100 texts are asked for at once; at most 70"),
        (CHAT | {"max_tokens": 0}, "max_tokens", "from 1"),
        (CHAT | {"max_completion_tokens": "9"}, "max_completion_tokens", "a whole number"),
        (CHAT | {"max_tokens": 120}, "messages", "more than the 128 of the context"),
        (TEXT | {"prompt": "x" * 200}, "prompt", "200 tokens and 16 to write are more than the 128 of the context"),
        (TEXT | {"prompt": ""}, "prompt", "is empty"),
        (TEXT | {"prompt": []}, "prompt", "a string"),
        (TEXT | {"prompt": [256]}, "prompt", "token ids are from 0 to 255"),
        ('{"prompt": "\\ud800"}', "prompt", "Unicode"),
        (TEXT | {"prompt": ["a"] * 200}, "prompt", "at most 128"),
        ({}, "prompt", "is missing"),
        (TEXT | {"stop": ["a", ""]}, "stop", "none of them empty"),
        (TEXT | {"stop": ["a"] * 5}, "stop", "up to 4"),
        (TEXT | {"logprobs": 6}, "logprobs", "from 0 to 5"),
        (CHAT | {"logprobs": 3}, "logprobs", "true or false"),
        (CHAT | {"top_logprobs": 3}, "top_logprobs", "needs logprobs=true"),
        (CHAT | {"stream": "yes"}, "stream", "true or false"),
        (CHAT | {"stream": True, "stream_options": {"x": 1}}, "stream_options", "include_usage"),
        (CHAT | {"seed": 2**64}, "seed", "a whole number"),
        ({"messages": []}, "messages", "at least one"),
        ({"messages": ["hello"]}, "messages[0]", "an object"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role", "one of system"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content", "type text"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "a string"),
        ('{"prompt": ', None, "is not JSON"),
        ("[" * 100_000, None, "is not JSON"),
        ('["prompt"]', None, "not a JSON object"),
        (b'"\xff"', None, "is not JSON"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_a_field_that_cannot_be_is_named(body, param, says, served):
    status, error = refused(served, body)
    assert (status, error["param"], error["type"]) == (400, param, "invalid_request_error") and says in error["message"]


@pytest.mark.parametrize("field", [
    {"presence_penalty": 0}, {"presence_penalty": 0.0}, {"logit_bias": {}}, {"tools": []}, {"user": "me"},
    {"stop": None}, {"response_format": {"type": "text"}}, {"parallel_tool_calls": True}, {"tool_choice": "none"},
], ids=str)  # fmt: skip
def test_a_field_that_asks_for_nothing_is_taken(field, served):
    answer = httpx2.post(f"{served.url}/v1/chat/completions", json=CHAT | {"max_tokens": 1} | field)
    assert answer.status_code == 200


def test_openais_client_knows_what_was_wrong(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="talker", max_tokens=500, **CHAT)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
    with pytest.raises(openai.NotFoundError) as caught:
        client.completions.create(model="gpt-7", **TEXT)
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v1/none", 404), ("GET", "/v1/completions", 405), ("POST", "/", 405)]
)
def test_an_address_that_is_not_there_is_refused_in_the_same_shape(method, path, status, served):
    answer = httpx2.request(method, served.url + path)
    assert answer.status_code == status and path in answer.json()["error"]["message"]


def test_a_body_that_is_too_large_is_refused_while_it_comes(served):
    def parts():
        yield b'{"prompt": "'
        for _ in range(200):
            yield b"x" * 1000

    answer = httpx2.post(f"{served.url}/v1/completions", content=parts(), headers=JSON)
    assert answer.status_code == 413 and "larger than 100000 bytes" in answer.json()["error"]["message"]


def test_a_web_page_of_another_site_is_kept_out(served):
    """Without a token: neither what a browser sends unasked, nor a name of another's that points to this machine."""
    assert refused(served, TEXT, {"Content-Type": "text/plain"})[0] == 415
    status, error = refused(served, TEXT, JSON | {"Host": "evil.example:80"})
    assert status == 421 and "own machine" in error["message"]
    preflight = httpx2.options(f"{served.url}/v1/completions", headers={"Origin": "http://evil.example"})
    assert "access-control-allow-origin" not in preflight.headers
    for host in ("localhost:1", "127.0.0.1", "[::1]:80"):
        assert httpx2.get(f"{served.url}/v1/models", headers={"Host": host}).status_code == 200


@pytest.fixture(scope="module")
def guarded(talker):
    with serving(FLAGS._replace(folder=str(talker), token="s3cret", model="mine", context=64)) as guarded:
        yield guarded


def test_a_token_opens_every_path_but_those_that_tell_nothing(guarded):
    for token in ("wrong", "s3cret2", "s3cre"):
        with guarded.client(token) as client, pytest.raises(openai.AuthenticationError, match="a token is needed"):
            client.models.list()
    with guarded.client("s3cret") as client:
        assert client.models.list().data[0].id == "mine"
    for path, status in {"/": 200, "/health": 200, "/v1/models": 401, "/v1/none": 401}.items():
        assert httpx2.get(guarded.url + path).status_code == status
    assert refused(guarded, TEXT, JSON | {"Authorization": "Basic s3cret"})[0] == 401
    assert refused(guarded, TEXT, JSON | {"Authorization": "bearer s3cret", "Host": "any.example"}, "/v1/x")[0] == 404


def test_a_smaller_context_can_be_asked_for(guarded):
    status, error = refused(guarded, {"prompt": "x" * 60}, JSON | {"Authorization": "Bearer s3cret"})
    assert status == 400 and "more than the 64 of the context" in error["message"]
