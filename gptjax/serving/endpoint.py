"""One request for text: read, put in the queue, and answered whole or as a stream of events."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from gptjax.config import BadInput
from gptjax.data.tokenizers import Tokenizer
from gptjax.generation.dialogue import Dialogue
from gptjax.serving import answers, door, wanted
from gptjax.serving.answers import Heading
from gptjax.serving.refusal import Refused
from gptjax.serving.scheduler import Asked, Scheduler, Token
from gptjax.serving.telling import Echo, Telling
from gptjax.serving.wanted import Wanted

DONE = "data: [DONE]\n\n"
CLOSED = 499  # nginx's number for a client that left; nobody reads it


class Service(NamedTuple):
    """A model that is served, and what one request may take."""

    name: str
    fingerprint: str  # of weights and programs: answers of one are comparable by seed
    created: int
    tokenizer: Tokenizer
    dialogue: Dialogue
    scheduler: Scheduler
    most_bytes: int
    most_seconds: float

    def model(self) -> dict[str, Any]:
        """The entry of GET /v1/models."""
        return {"id": self.name, "object": "model", "created": self.created, "owned_by": "gptjax"}

    def check_model(self, name: str) -> None:
        """Raises Refused (404) for any name but this server's."""
        if name != self.name:
            message = f"model: none is called {name!r}; this server has {self.name!r}"
            raise Refused(message, "model", status=404, code="model_not_found")


class Prompt(NamedTuple):
    tokens: list[int]
    text: str  # what an echo tells


class Endpoint:
    """POST /v1/completions or /v1/chat/completions."""

    def __init__(self, service: Service, chat: bool):
        self.service, self.chat = service, chat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, service = Request(scope, receive), self.service
        deadline = asyncio.get_running_loop().time() + service.most_seconds
        try:
            async with asyncio.timeout_at(deadline):
                asked = wanted.read(await door.read_body(request, service.most_bytes), self.chat)
                if asked.model is not None:
                    service.check_model(asked.model)
                prompts = await run_in_threadpool(self.prompts, asked)
        except TimeoutError:
            raise Refused("the request did not arrive in time", status=408) from None
        except ClientDisconnect:
            return
        shown = self.shown(asked, prompts)
        telling = Telling(service.scheduler, service.tokenizer, self.texts(asked, prompts), shown, deadline)
        heading = answers.heading(service.name, service.fingerprint, self.chat)
        answer = Answer(heading, service, asked, prompts, telling)
        try:
            response = answer.streamed() if asked.stream else await answer.whole(request)
            await response(scope, receive, send)
        finally:
            telling.leave()

    def prompts(self, asked: Wanted) -> list[Prompt]:
        tokenizer = self.service.tokenizer
        if self.chat:
            try:
                return [Prompt(self.service.dialogue.prompt(asked.messages), "")]
            except BadInput as error:
                raise Refused(str(error), "messages") from error
        found = []
        for one in asked.prompts:
            tokens = tokenizer.encode(one).tolist() if isinstance(one, str) else one
            if not tokens:
                raise Refused("prompt: is empty; give at least one character", "prompt")
            if min(tokens) < 0 or max(tokens) >= tokenizer.vocab_size:
                raise Refused(f"prompt: token ids are from 0 to {tokenizer.vocab_size - 1}", "prompt")
            found.append(Prompt(tokens, one if isinstance(one, str) else tokenizer.decode(one)))
        return found

    def texts(self, asked: Wanted, prompts: list[Prompt]) -> list[Asked]:
        seed = secrets.randbits(32) if asked.seed is None else asked.seed
        return [
            Asked(
                prompt=prompt.tokens,
                n_tokens=self.room(asked, len(prompt.tokens)),
                options=asked.options,
                seed=seed,
                sample=sample,
                stops=(*asked.stops, *(self.service.dialogue.stops if self.chat else ())),
                nats=asked.nats,
                n_likeliest=asked.n_likeliest,
                prompt_nats=asked.echo and asked.nats,
                streamed=asked.stream,
            )
            for prompt in prompts
            for sample in range(asked.n)
        ]

    def room(self, asked: Wanted, n_prompt: int) -> int:
        """How many tokens a text may have. Raises Refused where they do not fit the context."""
        context, field = self.service.scheduler.context, "messages" if self.chat else "prompt"
        least = 0 if asked.echo else 1
        n_tokens = max(least, context - n_prompt) if asked.n_tokens is None else asked.n_tokens
        if n_prompt + n_tokens > context:
            raise Refused(
                f"{field}: {n_prompt} tokens and {n_tokens} to write are more than the {context} of the context",
                field,
                code="context_length_exceeded",
            )
        return n_tokens

    def shown(self, asked: Wanted, prompts: list[Prompt]) -> list[Callable[[str], str]]:
        """For each text what makes of its pieces what is seen."""
        if self.chat:
            return [self.service.dialogue.opening() for _ in range(asked.n)]
        return [Echo(prompt.text if asked.echo else "") for prompt in prompts for _ in range(asked.n)]


class Answer:
    """What goes back for the texts of one request."""

    def __init__(self, heading: Heading, service: Service, asked: Wanted, prompts: Sequence[Prompt], telling: Telling):
        self.heading, self.service, self.asked, self.telling = heading, service, asked, telling
        self.n_prompt = sum(len(prompt.tokens) for prompt in prompts)

    async def whole(self, request: Request) -> Response:
        """Waits for all texts, as long as somebody waits for it."""
        texts, gone = asyncio.create_task(self.telling.all()), asyncio.create_task(left(request))
        try:
            await asyncio.wait({texts, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not texts.done():
                return Response(status_code=CLOSED)
            chat = self.heading.chat
            choices = [
                answers.choice(number, text.text, self.logprobs(text.tokens, 0), text.finish, chat, chunk=False)
                for number, text in enumerate(texts.result())
            ]
            n_written = sum(text.n_tokens for text in texts.result())
            return JSONResponse(self.heading.whole(choices, answers.usage(self.n_prompt, n_written)))
        finally:
            texts.cancel()
            gone.cancel()

    def streamed(self) -> Response:
        return StreamingResponse(self.events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    async def events(self) -> AsyncIterator[str]:
        """The chunks, then [DONE]; an error in between is an event too, and the last."""
        try:
            async for chunk in self.chunks():
                yield f"data: {json.dumps(chunk)}\n\n"
            yield DONE
        except Refused as refused:
            yield f"data: {json.dumps(refused.body())}\n\n"

    async def chunks(self) -> AsyncIterator[dict[str, Any]]:
        heading, unknown = self.heading, {"usage": None} if self.asked.with_usage else {}
        if heading.chat:
            for number in range(len(self.telling.jobs)):
                yield heading.chunk([answers.first_delta(number)], unknown)
        lengths, written = [0] * len(self.telling.jobs), [0] * len(self.telling.jobs)  # characters, tokens
        async for number, piece in self.telling:
            written[number] = piece.n_tokens
            if piece.text or piece.finish or (piece.tokens and self.asked.nats):
                nats = self.logprobs(piece.tokens, lengths[number])
                lengths[number] += len(piece.text)
                yield heading.chunk(
                    [answers.choice(number, piece.text, nats, piece.finish, heading.chat, chunk=True)], unknown
                )
        if self.asked.with_usage:
            yield heading.chunk([], {"usage": answers.usage(self.n_prompt, sum(written))})

    def logprobs(self, tokens: list[Token], offset: int) -> dict[str, Any] | None:
        if not self.asked.nats:
            return None
        if self.heading.chat:
            return answers.chat_logprobs(tokens, self.service.tokenizer)
        return answers.completion_logprobs(tokens, self.service.tokenizer, offset)


async def left(request: Request) -> None:
    """Returns when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
