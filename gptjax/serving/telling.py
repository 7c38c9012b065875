"""The texts of one request, from the engine's thread into the event loop, piece by piece."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from gptjax.data.tokenizers import Tokenizer
from gptjax.serving.refusal import Refused
from gptjax.serving.scheduler import Asked, Full, Job, Piece, Scheduler, Token


class Written(NamedTuple):
    """One whole text."""

    text: str
    tokens: list[Token]
    n_tokens: int
    finish: str


class Telling:
    """An asynchronous iterator of (number of the text, its next piece). `leave` gives its rows back, whenever."""

    def __init__(
        self, scheduler: Scheduler, tokenizer: Tokenizer, asked: list[Asked], shown: list[Callable], deadline: float
    ):
        """`shown[number]` makes of each piece of a text what is to be seen; `deadline` is by the loop's clock.

        Raises Refused where the queue is full."""
        self.loop, self.pieces = asyncio.get_running_loop(), asyncio.Queue()
        self.scheduler, self.shown, self.deadline = scheduler, shown, deadline
        self.jobs = [Job(one, tokenizer, functools.partial(self.tell, number)) for number, one in enumerate(asked)]
        most = scheduler.most_waiting + scheduler.engine.n_rows
        if len(asked) > most:
            raise Refused(f"n: {len(asked)} texts are asked for at once; at most {most}", "n")
        try:
            scheduler.submit(self.jobs)
        except Full:
            raise Refused("too many requests wait; try again later", status=429, code="queue_full") from None

    def tell(self, number: int, piece: Piece | Exception) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self.loop.call_soon_threadsafe(self.pieces.put_nowait, (number, piece))

    async def __aiter__(self) -> AsyncIterator[tuple[int, Piece]]:
        missing = len(self.jobs)
        while missing:
            try:
                async with asyncio.timeout_at(self.deadline):
                    number, piece = await self.pieces.get()
            except TimeoutError:
                raise Refused("the text took too long", status=504, code="timeout") from None
            if isinstance(piece, Exception):
                raise Refused("the server lost this text; try again", status=500)
            missing -= piece.finish is not None
            yield number, piece._replace(text=self.shown[number](piece.text))

    async def all(self) -> list[Written]:
        """The texts, once all have ended, in the order they were asked for in. Raises Refused, as iterating does."""
        texts = [Written("", [], 0, "")] * len(self.jobs)
        async for number, piece in self:
            before = texts[number]
            tokens = [*before.tokens, *piece.tokens]
            texts[number] = Written(before.text + piece.text, tokens, piece.n_tokens, piece.finish or "")
        return texts

    def leave(self) -> None:
        """Nothing where all have ended."""
        self.scheduler.cancel(self.jobs)


class Echo:
    """What stands before the first piece of a text."""

    def __init__(self, before: str):
        self.before = before

    def __call__(self, piece: str) -> str:
        text, self.before = self.before + piece, ""
        return text
