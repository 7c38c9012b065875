"""Text from text: prompts encoded, what a model writes decoded as it grows, ended by stop strings, the best kept."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from gptjax.config import BadInput
from gptjax.data.tokenizers import Tokenizer
from gptjax.generation import engine
from gptjax.generation.decode import Prompt, Writer, Written
from gptjax.generation.sampling import Sampling

HALF = "\ufffd"  # what stands for the bytes of a character that is not whole yet
STOP_EVERY = 8  # tokens after which stop strings are looked for


class Completion(NamedTuple):
    """A text and the tokens that it was decoded from."""

    text: str  # without the stop string, or the end of text, that ended it
    tokens: np.ndarray  # int32, up to the last that the text needs
    nats: np.ndarray  # float32, their log-probabilities where these were asked for
    finish: str  # "stop", "end" or "length"

    def mean_nats(self) -> float:
        """The log-probability of a token, on average: what `best_of` goes by, so length neither helps nor harms."""
        return float(self.nats.mean())


OnText = Callable[[int, str], None]  # (number of the completion, what its text grew by)


class Growing:
    """One text as its tokens arrive."""

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str]):
        self.tokenizer, self.stops = tokenizer, stops
        self.n_tokens = 0  # looked at
        self.text = ""  # of them
        self.shown = 0  # characters
        self.stopped = False

    def grow(self, tokens: Sequence[int], finished: bool = False) -> str:
        """What can be shown now and was not: a half character waits, and what may become a stop string."""
        if not self.stopped:
            self.read(tokens)
        held = 0 if finished or self.stopped else self.held()
        piece = self.text[self.shown : len(self.text) - held]
        self.shown += len(piece)
        return piece

    def read(self, tokens: Sequence[int]) -> None:
        """With stop strings token by token, so that a text ends at the same token however many arrive at once."""
        for n in range(self.n_tokens + 1, len(tokens) + 1) if self.stops else [len(tokens)]:
            self.n_tokens, self.text = n, self.tokenizer.decode(tokens[:n])
            places = [place for place in (self.text.find(stop) for stop in self.stops) if place >= 0]
            if places:
                self.text, self.stopped = self.text[: min(places)], True
                return

    def held(self) -> int:
        whole = self.text.rstrip(HALF)
        most = max((len(stop) for stop in self.stops), default=0)
        tails = [
            n for n in range(1, most) if any(stop.startswith(whole[-n:]) for stop in self.stops) and n <= len(whole)
        ]
        return len(self.text) - len(whole) + max(tails, default=0)


def complete(
    writer: Writer,
    tokenizer: Tokenizer,
    prompts: Sequence[str | list[int]],
    *,
    n_tokens: int,
    options: Sampling,
    seed: int = 0,
    samples: int = 1,
    best_of: int = 0,
    stops: Sequence[str] = (),
    nats: bool = False,
    on_text: OnText | None = None,
) -> list[list[Completion]]:
    """For each prompt, a text or its tokens, `samples` texts; the likeliest a token, best first, of `best_of` where
    that is above 0.

    A text ends before the first of the stop strings, at an end of text, or after `n_tokens`. `on_text` is given each
    text piece by piece, a token at a time. Raises BadInput, which names the flag.
    """
    if best_of and best_of < samples:
        raise BadInput(f"--best_of={best_of}: must be at least --samples={samples}, the texts that are kept")
    if any(not stop for stop in stops):
        raise BadInput("--stop: is empty; give at least one character")
    n, end = best_of or samples, tokenizer.end_of_text
    encoded = [tokenizer.encode(prompt).tolist() if isinstance(prompt, str) else prompt for prompt in prompts]
    asked = [Prompt(tokens, seed, sample) for tokens in encoded for sample in range(n)]
    growing = [Growing(tokenizer, stops) for _ in asked]

    def on_tokens(number: int, tokens: list[int]) -> bool:
        piece = growing[number].grow(tokens)
        if on_text is not None and piece:
            on_text(number, piece)
        return growing[number].stopped

    written = writer.write(
        asked,
        n_tokens=n_tokens,
        options=options,
        end=end,
        nats=nats or best_of > 0,
        every=1 if on_text is not None else STOP_EVERY if stops else engine.MOST_STEPS,
        on_tokens=on_tokens if stops or on_text is not None else None,
    )
    made = []
    for number, text in enumerate(written):
        piece = growing[number].grow(text.tokens.tolist(), finished=True)
        if on_text is not None and piece:
            on_text(number, piece)
        made.append(completion(growing[number], text, end))
    groups = [made[first : first + n] for first in range(0, len(made), n)]
    if best_of:
        groups = [sorted(group, key=Completion.mean_nats, reverse=True)[:samples] for group in groups]
    return groups


def completion(text: Growing, written: Written, end: int) -> Completion:
    n = text.n_tokens
    tokens_T, nats_T = written.tokens[:n], written.nats[:n]
    finish = "stop" if text.stopped else "end" if n and tokens_T[-1] == end else "length"
    return Completion(text.text, tokens_T, nats_T, finish)
