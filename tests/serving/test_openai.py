"""OpenAI's own client against the server: what it sends is understood, what it gets is what it expects."""

import asyncio
import concurrent.futures
from typing import Any

import jax
import numpy as np
import openai
import pytest

import gptjax
from gptjax import loaded

HELLO: Any = [{"role": "user", "content": "hello"}]
DRAWN = {
    "model": "talker",
    "prompt": "User: ",
    "max_tokens": 30,
    "temperature": 3.0,
    "extra_body": {"top_k": 12},
}


def streamed(chunks):
    """The texts of a stream by index, the finish reasons, and what the last chunk says of usage."""
    texts, finishes, usage = {}, {}, None
    for chunk in chunks:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            piece = choice.text if hasattr(choice, "text") else choice.delta.content
            texts[choice.index] = texts.get(choice.index, "") + (piece or "")
            finishes[choice.index] = choice.finish_reason or finishes.get(choice.index)
    return texts, finishes, usage


def test_the_model_is_listed_by_its_name(client):
    assert [model.id for model in client.models.list()] == ["talker"]
    assert client.models.retrieve("talker").id == "talker"
    with pytest.raises(openai.NotFoundError, match="none is called 'other'"):
        client.models.retrieve("other")


def test_a_chat_is_answered_up_to_where_the_user_would_speak(client):
    answer = client.chat.completions.create(model="talker", messages=HELLO, temperature=0)
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "hello, how are you?")
    assert choice.finish_reason == "stop"
    n_prompt, n_written = len("User: hello\nAssistant:"), len(" hello, how are you?\nUser:")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (n_prompt, n_written)
    assert answer.usage.total_tokens == n_prompt + n_written


def test_the_history_and_the_system_text_are_seen(client):
    messages = [
        *HELLO,
        {"role": "assistant", "content": "hello, how are you?"},
        {"role": "user", "content": "how are you"},
    ]
    ask = lambda messages: client.chat.completions.create(model="talker", messages=messages, temperature=0)
    assert ask(messages).choices[0].message.content == "I am well."
    parts = [{"role": "developer", "content": [{"type": "text", "text": "be "}, {"type": "text", "text": "brief"}]}]
    assert ask([*parts, *HELLO]).usage.prompt_tokens == len("be brief\n\nUser: hello\nAssistant:")


@pytest.mark.parametrize(
    "options", [{}, {"logprobs": True, "top_logprobs": 3}, {"n": 3}, {"stop": ["o", "xyz"]}], ids=str
)
def test_a_streamed_chat_is_the_whole_one(options, client):
    keys = {"model": "talker", "messages": HELLO, "temperature": 3.0, "seed": 5, "max_tokens": 30, **options}
    whole = client.chat.completions.create(**keys)
    chunks = list(client.chat.completions.create(**keys, stream=True, stream_options={"include_usage": True}))
    texts, finishes, usage = streamed(chunks)
    assert texts == {choice.index: choice.message.content for choice in whole.choices}
    assert finishes == {choice.index: choice.finish_reason for choice in whole.choices}
    assert usage == whole.usage
    if "logprobs" in options:
        choices = [choice for chunk in chunks for choice in chunk.choices if choice.logprobs]
        told = [entry for choice in choices for entry in choice.logprobs.content]
        assert told == whole.choices[0].logprobs.content


def test_a_stream_comes_in_pieces(client):
    chunks = list(client.completions.create(**DRAWN, seed=3, stream=True))
    assert len(chunks) > 5 and chunks[0].usage is None


def test_the_async_client_streams(served):
    async def talk():
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none") as client:
            chunks = await client.chat.completions.create(model="talker", messages=HELLO, temperature=0, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])

    assert asyncio.run(talk()) == "hello, how are you?"


def test_a_seed_gives_one_text_and_no_seed_gives_many(client):
    text = lambda **keys: client.completions.create(**DRAWN, **keys).choices[0].text
    assert text(seed=1) == text(seed=1) != text(seed=2)
    assert len({text() for _ in range(3)}) == 3


def test_a_stop_string_ends_a_completion_and_is_not_told(client):
    ask = lambda **keys: client.completions.create(model="talker", prompt="User: hel", temperature=0, **keys).choices[0]
    assert ask(max_tokens=10).text == "lo\nAssista" and ask(max_tokens=10).finish_reason == "length"
    stopped = ask(stop="Assis")
    assert (stopped.text, stopped.finish_reason) == ("lo\n", "stop")


def test_prompts_of_a_list_are_answered_in_order_n_times_each(client):
    ask = lambda prompt, **keys: client.completions.create(**DRAWN | {"prompt": prompt, "seed": 4} | keys).choices
    both = ask(["User: ", [104, 101]], n=2, echo=True)
    assert [choice.index for choice in both] == [0, 1, 2, 3]
    assert [choice.text for choice in both[:2]] == ["User: " + choice.text for choice in ask("User: ", n=2)]
    assert [choice.text for choice in both[2:]] == ["he" + choice.text for choice in ask([[104, 101]], n=2)]
    assert both[0].text != both[1].text


def test_an_answers_log_probabilities_spell_it(client):
    keys = {"model": "talker", "messages": HELLO, "temperature": 0, "max_tokens": 9}
    (choice,) = client.chat.completions.create(**keys, logprobs=True, top_logprobs=4).choices
    entries = choice.logprobs.content
    assert (
        bytes(byte for entry in entries for byte in entry.bytes) == b" hello, h"
        and choice.message.content == "hello, h"
    )
    for entry in entries:
        assert len(entry.top_logprobs) == 4 and entry.top_logprobs[0].token == entry.token
        assert entry.top_logprobs[0].logprob == pytest.approx(entry.logprob, abs=1e-5)
        assert sorted((top.logprob for top in entry.top_logprobs), reverse=True) == [
            top.logprob for top in entry.top_logprobs
        ]
    (without,) = client.chat.completions.create(**keys).choices
    assert without.logprobs is None


def test_log_probabilities_are_those_of_the_model(client, talker):
    """Those of an echoed prompt and of what was written after it, likeliest tokens too."""
    (choice,) = client.completions.create(**DRAWN, seed=8, logprobs=5, echo=True).choices
    nats_TV = np.asarray(jax.nn.log_softmax(loaded.load(talker).logits(choice.text)))
    told = choice.logprobs
    assert told.tokens == list(choice.text) and told.text_offset == list(range(len(choice.text)))
    assert told.token_logprobs[0] is None and told.top_logprobs[0] is None
    for position, character in enumerate(choice.text[1:]):
        assert told.token_logprobs[position + 1] == pytest.approx(nats_TV[position, ord(character)], abs=1e-4)
        top = max(told.top_logprobs[position + 1].values())
        assert top == pytest.approx(nats_TV[position].max(), abs=1e-4)


def test_a_prompt_can_be_scored_alone(client):
    keys = {"model": "talker", "prompt": "User: hello", "max_tokens": 0, "echo": True}
    (choice,) = client.completions.create(**keys, logprobs=1).choices
    assert (choice.text, choice.finish_reason) == ("User: hello", "length") and len(choice.logprobs.tokens) == 11
    (choice,) = client.completions.create(**keys).choices
    assert choice.text == "User: hello" and choice.logprobs is None


def test_many_clients_at_once_get_the_texts_that_each_gets_alone(served, client):
    """Sixteen, twice as many as there are rows of the engine by default, some streaming, each its own seed."""

    def ask(number, client):
        keys = DRAWN | {"seed": number, "max_tokens": 10 + number, "stop": ["zz"] if number % 3 else None}
        if number % 2:
            return streamed(client.completions.create(**keys, stream=True))[0][0]
        return client.completions.create(**keys).choices[0].text

    alone = [ask(number, client) for number in range(16)]
    assert len(set(alone)) == 16

    def talk(number):
        with served.client() as client:
            return [ask((number + n) % 16, client) for n in range(3)]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        together = list(pool.map(talk, range(16)))
    assert together == [[alone[(number + n) % 16] for n in range(3)] for number in range(16)]


def test_the_texts_are_those_of_the_library(client, talker):
    text = client.completions.create(model="talker", prompt="User: ", max_tokens=20, temperature=0).choices[0].text
    assert gptjax.load(talker).generate("User: ", max_tokens=20) == "User: " + text


def test_options_beyond_openais_are_served_as_extra_fields(client):
    plain = client.completions.create(**DRAWN, seed=1).choices[0].text
    one = client.completions.create(**DRAWN | {"extra_body": {"top_k": 1}}, seed=1).choices[0].text
    likeliest = client.completions.create(**DRAWN | {"temperature": 0}).choices[0].text
    assert one == likeliest != plain


@pytest.mark.prove
def test_five_hundred_requests_of_sixteen_clients_meet_no_error(served, client):
    """Whole and streamed, with and without stop strings; each text is the one that its request gets alone."""

    def ask(number, client):
        keys = DRAWN | {"seed": number % 40, "max_tokens": 1 + number % 60, "stop": "you" if number % 3 else None}
        if number % 2:
            return streamed(client.completions.create(**keys, stream=True))[0][0]
        return client.completions.create(**keys).choices[0].text

    def talk(first):
        with served.client() as client:
            return {number: ask(number, client) for number in range(first, 500, 16)}

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        together = {number: text for texts in pool.map(talk, range(16)) for number, text in texts.items()}
    assert together == {number: ask(number, client) for number in range(500)}
