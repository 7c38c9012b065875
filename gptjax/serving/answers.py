"""What is sent back, in OpenAI's shapes: whole answers, the chunks of a stream, log-probabilities, usage."""

import codecs
import secrets
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from gptjax.data.tokenizers import Tokenizer
from gptjax.serving.scheduler import Token


class Heading(NamedTuple):
    """What every chunk of one answer begins with."""

    id: str
    created: int  # seconds since 1970
    model: str
    fingerprint: str  # of weights and programs
    chat: bool

    def whole(self, choices: list[dict], usage: dict) -> dict[str, Any]:
        """The body of an answer that is no stream."""
        return self.shaped("chat.completion" if self.chat else "text_completion", choices, {"usage": usage})

    def chunk(self, choices: list[dict], usage: dict[str, Any]) -> dict[str, Any]:
        """`usage` is {} where nobody asked for it, {"usage": None} before the last where somebody did."""
        return self.shaped("chat.completion.chunk" if self.chat else "text_completion", choices, usage)

    def shaped(self, kind: str, choices: list[dict], usage: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
            **usage,
        }


def heading(model: str, fingerprint: str, chat: bool) -> Heading:
    """A new one for each request: its id is drawn, its time is now."""
    name = f"{'chatcmpl' if chat else 'cmpl'}-{secrets.token_hex(12)}"
    return Heading(name, int(time.time()), model, fingerprint, chat)


def usage(n_prompt: int, n_written: int) -> dict[str, int]:
    """`usage` of an answer: tokens, the end of text included where it was written."""
    return {"prompt_tokens": n_prompt, "completion_tokens": n_written, "total_tokens": n_prompt + n_written}


def choice(index: int, text: str, nats: dict | None, finish: str | None, chat: bool, chunk: bool) -> dict[str, Any]:
    """An entry of `choices`, of a stream's chunk or of a whole answer; a last piece without text has an empty delta."""
    if not chat:
        said: dict[str, Any] = {"text": text}
    elif chunk:
        said = {"delta": {"content": text} if text or not finish else {}}
    else:
        said = {"message": {"role": "assistant", "content": text, "refusal": None}}
    return {"index": index, **said, "logprobs": nats, "finish_reason": finish}


def first_delta(index: int) -> dict[str, Any]:
    """The chunk that begins an answer of a chat."""
    delta = {"role": "assistant", "content": "", "refusal": None}
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}


def chat_logprobs(tokens: Sequence[Token], tokenizer: Tokenizer) -> dict[str, Any]:
    """`logprobs` of a chat's choice, in nats; of completions it has another shape, which is below."""

    def entry(token: int, nats: float | None) -> dict[str, Any]:
        return {"token": label(token, tokenizer), "logprob": nats, "bytes": list(tokenizer.spelled(token)) or None}

    content = [
        entry(token.id, token.nats) | {"top_logprobs": [entry(*pair) for pair in token.likeliest]} for token in tokens
    ]
    return {"content": content, "refusal": None}


def completion_logprobs(tokens: Sequence[Token], tokenizer: Tokenizer, offset: int) -> dict[str, Any]:
    """`offset` is the number of characters before the first of the tokens."""
    offsets, characters = [], codecs.getincrementaldecoder("utf-8")("replace")
    for token in tokens:
        offsets.append(offset)
        offset += len(characters.decode(tokenizer.spelled(token.id)))
    likeliest = [[*token.likeliest, *([] if token.nats is None else [(token.id, token.nats)])] for token in tokens]
    return {
        "tokens": [label(token.id, tokenizer) for token in tokens],
        "token_logprobs": [token.nats for token in tokens],
        "top_logprobs": [{label(other, tokenizer): nats for other, nats in pairs} or None for pairs in likeliest],
        "text_offset": offsets,
    }


def label(token: int, tokenizer: Tokenizer) -> str:
    """A token as a string that no other has: its text, a special one's name, `bytes:` where it is half a character."""
    spelled = tokenizer.spelled(token)
    try:
        if spelled:
            return spelled.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in spelled)
    return next((name for name, number in tokenizer.special.items() if number == token), f"<|{token}|>")
