"""Texts out of prompts: any number of prompts of any lengths, each with its own seed, in the rows of one engine."""

import collections
import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from gptjax.config import BadInput, ModelConfig
from gptjax.generation import engine, sampling, weights
from gptjax.generation.engine import NONE, Engine, Text
from gptjax.generation.network import Machine
from gptjax.generation.sampling import Sampling


class Prompt(NamedTuple):
    """What a text goes on from. The same tokens, seed and sample are the same text, whatever is written beside it."""

    tokens: Sequence[int]
    seed: int = 0
    sample: int = 0  # which of several texts of one seed


class Written(NamedTuple):
    """What came after a prompt, without the prompt."""

    tokens: np.ndarray  # int32; the end of text, where it was reached, is the last
    nats: np.ndarray  # float32: each token's log-probability by the model alone; zeros where nobody asked


OnTokens = Callable[[int, list[int]], bool]  # (number of the prompt, all its tokens so far) -> whether it may stop


class Order(NamedTuple):
    """What is asked of all texts of one call."""

    n_tokens: int
    options: Sampling
    end: int
    nats: bool
    every: int
    on_tokens: OnTokens | None


@dataclasses.dataclass
class Writing:
    """A text under way."""

    number: int
    prompt: Prompt
    n_tokens: int  # at most
    tokens: list[int]
    nats: list[float]
    stopped: bool = False

    def missing(self) -> int:
        return 0 if self.stopped else self.n_tokens - len(self.tokens)

    def add(self, tokens: Sequence[int], nats: Sequence[float], order: Order) -> None:
        self.tokens += tokens
        self.nats += nats
        self.stopped = bool(self.tokens and self.tokens[-1] == order.end)
        if order.on_tokens is not None and tokens and order.on_tokens(self.number, self.tokens):
            self.stopped = True


class Writer:
    """A model that is ready to write."""

    def __init__(self, packed: dict, machine: Machine):
        self.packed, self.machine, self.cfg = packed, machine, machine.cfg
        self.engines: dict[int, Engine] = {}

    def write(
        self,
        prompts: Sequence[Prompt],
        *,
        n_tokens: int,
        options: Sampling,
        end: int = NONE,
        nats: bool = False,
        every: int = engine.MOST_STEPS,
        on_tokens: OnTokens | None = None,
    ) -> list[Written]:
        """What each prompt, in order, goes on with: `n_tokens`, or fewer up to the token `end`.

        `on_tokens` is called for a text after every `every` of its tokens or so. A text whose context is full goes on
        from its second half. Raises BadInput for an empty prompt, and for options that cannot be.
        """
        sampling.check(options)
        if any(len(prompt.tokens) == 0 for prompt in prompts):
            raise BadInput("--prompt: is empty; give at least one character")
        order = Order(n_tokens, options, end, nats, every, on_tokens)
        texts = [Writing(number, prompt, n_tokens, [], []) for number, prompt in enumerate(prompts)]
        waiting: dict[int, collections.deque[Writing]] = collections.defaultdict(collections.deque)
        for text in texts:
            waiting[self.length(len(text.prompt.tokens) + n_tokens)].append(text)
        for length, queue in waiting.items():
            self.write_queue(self.engine(length), queue, order)
        return [Written(np.asarray(t.tokens, np.int32), np.asarray(t.nats, np.float32)) for t in texts]

    def length(self, n: int) -> int:
        """The slots for a text of n tokens in all: by this text alone, so that its numbers are."""
        return engine.bucket(n, self.cfg.context, least=64)

    def engine(self, length: int) -> Engine:
        """One with rows of `length` slots; asking for another length lets go of the last one's cache."""
        if length not in self.engines:
            self.engines = {length: Engine(self.packed, self.machine, length)}  # one cache is kept
        return self.engines[length]

    def write_queue(self, rows: Engine, queue: collections.deque[Writing], order: Order) -> None:
        """Gives each row that is free the next text, until all are written."""
        under_way: dict[int, Writing] = {}
        while queue or under_way:
            for row in range(rows.n_rows):
                if row not in under_way and queue:
                    under_way[row] = queue.popleft()
                    self.begin(rows, row, under_way[row], order)
            tokens_RM, nats_RM, _ = rows.advance(order.every, order.nats)
            for row, text in list(under_way.items()):
                chosen_M = tokens_RM[row] != NONE
                made = tokens_RM[row, chosen_M].tolist()
                text.add(made, nats_RM[row, chosen_M].tolist(), order)
                if text.missing() <= 0:
                    rows.release(row)
                    del under_way[row]
                elif len(made) < tokens_RM.shape[1]:  # its context is full
                    self.begin(rows, row, text, order)

    def begin(self, rows: Engine, row: int, text: Writing, order: Order) -> None:
        """Puts a text into a row, with as much of it as leaves half of the context."""
        context, so_far = self.cfg.context, [*text.prompt.tokens, *text.tokens]
        seen = so_far[-max(1, context // 2) :] if len(so_far) >= context else so_far
        left = max(1, min(text.missing(), context - len(seen)))
        seed, end, options = (text.prompt.seed, text.prompt.sample), order.end, order.options
        token, nats, _ = rows.admit(row, Text(seen, left, seed, end, options, text.prompt.tokens, text.tokens))
        text.add([token], [nats], order)


def writer(params: dict, cfg: ModelConfig, precision: str = "float32") -> Writer:
    """A writer with a copy of the weights in a row of `weights.PRECISIONS`, on the devices where they lie."""
    packed = weights.pack(params, cfg, precision)
    return Writer(packed, engine.on(packed, cfg))


def generate(
    params: dict,
    prompt: np.ndarray,
    cfg: ModelConfig,
    *,
    n_tokens: int,
    n_samples: int = 1,
    seed: int = 0,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> np.ndarray:
    """(n_samples, n_tokens) token ids continuing the token ids of a prompt, of any length.

    Raises BadInput without a prompt.
    """
    options = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    prompts = [Prompt(np.asarray(prompt).tolist(), seed, sample) for sample in range(n_samples)]
    return np.stack([w.tokens for w in writer(params, cfg).write(prompts, n_tokens=n_tokens, options=options)])


def ragged(tokens_BT: Int[np.ndarray, "B T"], real_BT: Bool[np.ndarray, "B T"]) -> list[Prompt]:
    """The prompts of a padded batch, wherever its padding stands."""
    return [Prompt(tokens_T[real_T].tolist()) for tokens_T, real_T in zip(tokens_BT, real_BT, strict=True)]


def until_end(tokens_T: np.ndarray, end_of_text: int) -> np.ndarray:
    """The tokens before the first end of text."""
    ends = np.flatnonzero(tokens_T == end_of_text)
    return tokens_T[: ends[0]] if len(ends) else tokens_T
