"""Bodies of /v1/completions and /v1/chat/completions, read: what is wrong is refused by the name of its field."""

import difflib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from gptjax.data.templates import ROLES, Message
from gptjax.generation import engine, sampling
from gptjax.generation.sampling import Sampling
from gptjax.serving.refusal import Refused

MOST_CHOICES, MOST_PROMPTS, MOST_STOPS = 128, 128, 4
COMPLETION_TOKENS = 16  # where a completion asks for no number; a chat answer may fill the context
MOST_LOGPROBS = 5  # of a completion, as OpenAI has it
INT64 = 2**63

BOTH = (
    "model", "n", "stream", "stream_options", "max_tokens", "temperature", "top_p", "frequency_penalty", "stop", "seed",
    "top_k", "min_p", "repetition_penalty",
)  # fmt: skip
OF_CHAT = ("messages", "max_completion_tokens", "logprobs", "top_logprobs")
OF_COMPLETIONS = ("prompt", "logprobs", "echo")
IGNORED = ("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key")  # change no text
NEUTRAL: dict[str, tuple[Any, ...]] = {  # what is not served, and the values that ask for nothing
    "presence_penalty": (0,), "logit_bias": ({},), "best_of": (1,), "suffix": ("",), "tools": ([],),
    "tool_choice": ("none", "auto"), "functions": ([],), "function_call": ("none", "auto"),
    "parallel_tool_calls": (True, False), "response_format": ({"type": "text"},), "modalities": (["text"],),
    "audio": (), "prediction": (), "reasoning_effort": ("none",), "verbosity": (), "web_search_options": (),
}  # fmt: skip


class Wanted(NamedTuple):
    """A request. Of `prompts` each is text or token ids; a chat has `messages` instead."""

    model: str | None
    prompts: list[str | list[int]]
    messages: list[Message]
    n: int
    n_tokens: int | None  # None: what the context leaves
    options: Sampling
    seed: int | None
    stops: tuple[str, ...]
    nats: bool
    n_likeliest: int
    echo: bool
    stream: bool
    with_usage: bool


def read(content: bytes, chat: bool) -> Wanted:
    """Raises Refused."""
    try:
        given = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Refused(f"the body is not JSON ({error})") from error
    if not isinstance(given, dict):
        raise Refused("the body is not a JSON object")
    given = {name: value for name, value in given.items() if value is not None}
    check_names(given, chat)
    n_tokens = given.get("max_completion_tokens", given.get("max_tokens", None if chat else COMPLETION_TOKENS))
    stream = flag(given, "stream")
    if chat:
        nats, n_likeliest = flag(given, "logprobs"), whole(given, "top_logprobs", 0, engine.MOST_LIKELY, 0)
        if n_likeliest and not nats:
            raise Refused("top_logprobs: needs logprobs=true", "top_logprobs")
    else:
        nats, n_likeliest = "logprobs" in given, whole(given, "logprobs", 0, MOST_LOGPROBS, 0)
    echo = not chat and flag(given, "echo")
    if n_tokens is not None:
        name = "max_completion_tokens" if "max_completion_tokens" in given else "max_tokens"
        whole({name: n_tokens}, name, 0 if echo else 1, INT64, 1)
    return Wanted(
        model=text(given, "model") if "model" in given else None,
        prompts=[] if chat else prompts_of(given),
        messages=messages_of(given) if chat else [],
        n=whole(given, "n", 1, MOST_CHOICES, 1),
        n_tokens=n_tokens,
        options=options_of(given),
        seed=whole(given, "seed", -INT64, INT64 - 1, 0) % 2**32 if "seed" in given else None,
        stops=stops_of(given),
        nats=nats,
        n_likeliest=n_likeliest,
        echo=echo,
        stream=stream,
        with_usage=stream and usage_of(given),
    )


def check_names(given: dict[str, Any], chat: bool) -> None:
    known = (*BOTH, *(OF_CHAT if chat else OF_COMPLETIONS))
    for name, value in given.items():
        if name in NEUTRAL:
            if not any(
                value == neutral and type(value) is type(neutral) or value == neutral == 0 for neutral in NEUTRAL[name]
            ):
                raise Refused(f"{name}: is not served; leave it out", name, code="unsupported_parameter")
        elif name not in known and name not in IGNORED:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise Refused(f"{name}: no such field{hint}", name, code="unknown_parameter")


def flag(given: dict[str, Any], name: str) -> bool:
    if name not in given:
        return False
    if not isinstance(given[name], bool):
        raise Refused(f"{name}: must be true or false", name)
    return given[name]


def whole(given: dict[str, Any], name: str, least: int, most: int, missing: int) -> int:
    if name not in given:
        return missing
    value = given[name]
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise Refused(f"{name}: must be a whole number from {least} to {most}", name)
    return value


def text(given: dict[str, Any], name: str) -> str:
    value = given[name]
    if not isinstance(value, str) or any("\ud800" <= character <= "\udfff" for character in value):
        raise Refused(f"{name}: must be a string of Unicode characters", name)
    return value


def options_of(given: dict[str, Any]) -> Sampling:
    found = {}
    for name, (least, most, included, meaning) in sampling.LIMITS.items():
        if name not in given:
            continue
        value = given[name]
        number = isinstance(value, int if name == "top_k" else int | float) and not isinstance(value, bool)
        if not number or not (least < value <= most or (included and value == least)):
            word = "from" if included else "above"
            raise Refused(f"{name}: must be a number {word} {least} up to {most} ({meaning})", name)
        found[name] = value
    return Sampling(**found)


def stops_of(given: dict[str, Any]) -> tuple[str, ...]:
    if "stop" not in given:
        return ()
    several = given["stop"] if isinstance(given["stop"], list) else [given["stop"]]
    stops = tuple(text({"stop": stop}, "stop") for stop in several)
    if len(stops) > MOST_STOPS or not all(stops):
        raise Refused(f"stop: must be a string, or up to {MOST_STOPS}, none of them empty", "stop")
    return stops


def usage_of(given: dict[str, Any]) -> bool:
    asked = given.get("stream_options", {})
    if not isinstance(asked, dict) or set(asked) - {"include_usage", "include_obfuscation"}:
        raise Refused("stream_options: has include_usage alone", "stream_options")
    return flag(asked, "include_usage")


def prompts_of(given: dict[str, Any]) -> list[str | list[int]]:
    """A string, several, token ids, or several lists of those."""
    if "prompt" not in given:
        raise Refused("prompt: is missing", "prompt")
    value = given["prompt"]
    several = value if isinstance(value, list) and value and not are_ids(value) else [value]
    if len(several) > MOST_PROMPTS:
        raise Refused(f"prompt: has {len(several)} texts; at most {MOST_PROMPTS}", "prompt")
    return [one if isinstance(one, list) and are_ids(one) else text({"prompt": one}, "prompt") for one in several]


def are_ids(value: Sequence[Any]) -> bool:
    return bool(value) and all(isinstance(one, int) and not isinstance(one, bool) for one in value)


def messages_of(given: dict[str, Any]) -> list[Message]:
    several = given.get("messages")
    if not isinstance(several, list) or not several:
        raise Refused("messages: must be a list of messages, at least one", "messages")
    return [message_of(one, f"messages[{number}]") for number, one in enumerate(several)]


def message_of(value: Any, place: str) -> Message:
    if not isinstance(value, dict):
        raise Refused(f"{place}: must be an object with role and content", place)
    role = "system" if value.get("role") == "developer" else value.get("role")
    if role not in ROLES:
        raise Refused(f"{place}.role: must be one of {', '.join(ROLES)}, developer", f"{place}.role")
    content = value.get("content")
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    if not all(isinstance(part, dict) and part.get("type") == "text" and "text" in part for part in parts):
        raise Refused(f"{place}.content: must be text, or parts of type text", f"{place}.content")
    return Message(role, "".join(text({f"{place}.content": part["text"]}, f"{place}.content") for part in parts))
