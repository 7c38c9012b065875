"""Texts that many ask for, in the rows of one engine: whoever waits gets the next row that is free.

One thread owns the engine. Others hand in jobs and are told of each by a call from that thread. All rows have one cache
length, so a text depends on its prompt, its options and its seed, whoever is served beside it.
"""

import collections
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array

from gptjax.data.tokenizers import Tokenizer
from gptjax.generation import engine, scoring
from gptjax.generation.completion import Growing
from gptjax.generation.decode import Writer
from gptjax.generation.engine import NONE, Engine, Likeliest, Text
from gptjax.generation.sampling import Sampling

EVERY = 4  # steps between two looks at who waits, who left and what text stops, where nobody watches a text grow

QUIET_S = 3.0  # without a request, after which a program is compiled that nobody asked for yet


class Asked(NamedTuple):
    """One text that somebody wants."""

    prompt: list[int]
    n_tokens: int  # at most; with the prompt not more than the context
    options: Sampling
    seed: int
    sample: int  # which of several texts of one seed
    stops: tuple[str, ...]
    nats: bool  # whether log-probabilities are told
    n_likeliest: int  # how many tokens are told beside each
    prompt_nats: bool  # whether the prompt's own tokens are told first
    streamed: bool  # whether the text is told as it grows


class Token(NamedTuple):
    """A token as it was chosen, or as it stands in a prompt."""

    id: int
    nats: float | None  # None: nothing stands before it
    likeliest: list[tuple[int, float]]  # (token, nats), best first


class Piece(NamedTuple):
    """What a text grew by; the last has a `finish`, "stop" or "length"."""

    text: str
    tokens: list[Token]  # without the end of text
    n_tokens: int  # chosen so far, with it
    finish: str | None


class Job:
    """A text that waits or is under way. `tell` is called from the engine's thread, with pieces or what went wrong."""

    def __init__(self, asked: Asked, tokenizer: Tokenizer, tell: Callable[[Piece | Exception], None]):
        self.asked, self.end, self.tell = asked, tokenizer.end_of_text, tell
        self.growing = Growing(tokenizer, asked.stops)
        self.ids: list[int] = []
        self.tokens: list[Token] = []
        self.text, self.told = "", 0  # text that nobody was told yet, and tokens that somebody was
        self.cancelled = False  # set by anybody

    def add(self, ids: Sequence[int], nats: Sequence[float], likeliest: Likeliest) -> bool:
        """Takes new tokens and tells what can be shown; whether the text has ended."""
        self.ids += ids
        self.tokens += [
            Token(token, nat, pairs(likeliest.tokens[n], likeliest.nats[n], self.asked.n_likeliest))
            for n, (token, nat) in enumerate(zip(ids, nats, strict=True))
        ]
        at_end = bool(self.ids) and self.ids[-1] == self.end
        full = at_end or len(self.ids) >= self.asked.n_tokens
        if not (full or self.asked.stops or self.asked.streamed):
            return False
        self.text += self.growing.grow(self.ids, finished=full)
        ended = full or self.growing.stopped
        if ended or (self.asked.streamed and self.text):
            finish = ("stop" if at_end or self.growing.stopped else "length") if ended else None
            whole = self.tokens[self.told : self.growing.n_tokens]
            self.told = self.growing.n_tokens
            shown = whole[:-1] if whole and whole[-1].id == self.end else whole
            self.tell(Piece(self.text, shown, self.growing.n_tokens, finish))
            self.text = ""
        return ended


def pairs(tokens_K: Array | np.ndarray, nats_K: Array | np.ndarray, n: int) -> list[tuple[int, float]]:
    """Without the rows that pad the vocabulary."""
    return [(int(t), float(x)) for t, x in zip(tokens_K[:n], nats_K[:n], strict=True) if x > -np.inf]


class Full(Exception):
    """As many texts wait as may."""


class Scheduler:
    """`run` is the thread's; `submit`, `cancel` and `close` are everybody's."""

    def __init__(self, writer: Writer, tokenizer: Tokenizer, context: int, n_rows: int, most_waiting: int):
        self.writer, self.tokenizer, self.context, self.most_waiting = writer, tokenizer, context, most_waiting
        self.waiting: collections.deque[Job] = collections.deque()
        self.rows: dict[int, Job] = {}  # the engine's thread alone changes it
        self.changed = threading.Condition()
        self.closing = False
        self.engine = Engine(writer.packed, writer.machine, context, n_rows)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Puts jobs in the queue, all or none. Raises Full."""
        with self.changed:
            if len(self.waiting) + len(jobs) > self.most_waiting + self.engine.n_rows - len(self.rows):
                raise Full
            self.waiting += jobs
            self.changed.notify()

    def cancel(self, jobs: Sequence[Job]) -> None:
        """Nobody wants these any more: their rows are free at the next step."""
        with self.changed:
            for job in jobs:
                job.cancelled = True
            self.waiting = collections.deque(job for job in self.waiting if not job.cancelled)

    def close(self) -> None:
        """Ends `run` once nothing waits and nothing is under way."""
        with self.changed:
            self.closing = True
            self.changed.notify()

    def run(self) -> None:
        """Until `close`. While nobody asks for anything it compiles what prompts of other lengths will need."""
        cold = sorted({engine.bucket(n, self.context) for n in range(1, self.context)}, reverse=True)
        while not self.closing or self.waiting or self.rows:
            try:
                if self.wait(QUIET_S if cold else None):
                    self.turn()
                elif cold:
                    self.read(min(cold.pop(), self.context - 1))
            except Exception as error:  # of XLA or of memory; the state of the rows may be lost with it
                self.fail(error)

    def wait(self, seconds: float | None) -> bool:
        """Whether there is something to do, for which it waits."""
        with self.changed:
            self.changed.wait_for(lambda: self.closing or self.waiting or self.rows, seconds)
            return bool(self.waiting or self.rows)

    def turn(self) -> None:
        """One look at the queue, then a step or a few."""
        for row, job in list(self.rows.items()):
            if job.cancelled:
                self.release(row)
        while (taken := self.take()) is not None:
            self.begin(*taken)
        if not self.rows:
            return
        asked = [job.asked for job in self.rows.values()]
        every = 1 if any(one.streamed for one in asked) else EVERY
        nats, n_likeliest = any(one.nats for one in asked), max(one.n_likeliest for one in asked)
        tokens_RM, nats_RM, likeliest = self.engine.advance(every, nats, n_likeliest > 0)
        for row, job in list(self.rows.items()):
            n = int(np.sum(tokens_RM[row] != NONE))
            found = Likeliest(likeliest.tokens[row], likeliest.nats[row])
            if job.add(tokens_RM[row, :n].tolist(), nats_RM[row, :n].tolist(), found):
                self.release(row)

    def take(self) -> tuple[int, Job] | None:
        """The next job, and the row that is free for it."""
        free = [row for row in range(self.engine.n_rows) if row not in self.rows]
        with self.changed:
            if not free or not self.waiting:
                return None
            self.rows[free[0]] = self.waiting.popleft()
            return free[0], self.rows[free[0]]

    def begin(self, row: int, job: Job) -> None:
        asked = job.asked
        if asked.prompt_nats or not asked.n_tokens:
            before = self.scored(asked) if asked.prompt_nats else []
            job.tell(Piece("", before, 0, None if asked.n_tokens else "length"))
        if not asked.n_tokens:
            del self.rows[row]
            return
        text = Text(asked.prompt, asked.n_tokens, (asked.seed, asked.sample), job.end, asked.options, asked.prompt, ())
        token, nats, likeliest = self.engine.admit(row, text)
        first = Likeliest(likeliest.tokens[None], likeliest.nats[None])
        if job.add([token], [nats], first):
            self.release(row)

    def scored(self, asked: Asked) -> list[Token]:
        """The prompt's own tokens."""
        nats_T, likeliest = scoring.score(self.writer, asked.prompt)
        after = [
            Token(token, float(nats_T[n]), pairs(likeliest.tokens[n], likeliest.nats[n], asked.n_likeliest))
            for n, token in enumerate(asked.prompt[1:])
        ]
        return [Token(asked.prompt[0], None, []), *after]

    def release(self, row: int) -> None:
        self.engine.release(row)
        del self.rows[row]

    def fail(self, error: Exception) -> None:
        """Tells everybody under way, and goes on with empty rows."""
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        print(f"gptjax: {len(self.rows)} texts were lost: {reason}", file=sys.stderr, flush=True)
        for row in list(self.rows):
            self.rows.pop(row).tell(error)
        del self.engine.state  # before there is another
        self.engine = Engine(self.writer.packed, self.writer.machine, self.context, self.engine.n_rows)

    def warm(self) -> None:
        """Compiles a step, before anybody waits for it."""
        self.read(1)
        self.engine.advance(1, False)

    def read(self, n: int) -> None:
        """A prompt of n tokens that nobody asked for."""
        self.engine.admit(0, Text([0] * n, 1, (0, 0), NONE, Sampling(), [0], ()))
        self.engine.release(0)
