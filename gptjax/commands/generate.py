"""`gptjax generate`: text that continues prompts."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gptjax.config import BadInput
from gptjax.data.tokenizers import Tokenizer
from gptjax.generation import beam, completion, decode, sampling, weights
from gptjax.generation.completion import Completion
from gptjax.generation.decode import Writer
from gptjax.generation.sampling import Sampling
from gptjax.training import source

LARGEST_INT = 2**31 - 1
LIMITS = {  # of each whole number, the least and the most; JAX drops the higher bits of a seed
    "max_tokens": (1, LARGEST_INT), "samples": (1, 2**16), "top_k": (0, LARGEST_INT), "seed": (0, 2**32 - 1),
    "beams": (0, LARGEST_INT), "best_of": (0, 2**16),
}  # fmt: skip


TEMPERATURE = 0.8  # of a sample for which none was asked


class Request(NamedTuple):
    """The flags of the command, by their names."""

    folder: str
    prompt: list[str]
    max_tokens: int
    temperature: float | None
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    frequency_penalty: float
    stop: list[str]
    beams: int
    length_penalty: float
    seed: int
    samples: int
    best_of: int
    logprobs: bool
    stream: bool
    precision: str

    def options(self) -> Sampling:
        return Sampling(
            repetition_penalty=self.repetition_penalty,
            frequency_penalty=self.frequency_penalty,
            temperature=TEMPERATURE if self.temperature is None else self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
        )


def run(asked: Request) -> int:
    """Prints each prompt with its texts, up to an end of text; returns the exit code. Raises BadInput."""
    check(asked)
    given = source.open_run(asked.folder)
    writer = decode.writer(given.params, given.cfg.model, asked.precision)
    if asked.stream:
        print(asked.prompt[0], end="", flush=True)
        write(asked, writer, given.tokenizer, on_text=lambda number, piece: print(piece, end="", flush=True))
        print()
        return 0
    for number, texts in enumerate(write(asked, writer, given.tokenizer)):
        for sample, text in enumerate(texts):
            if len(texts) > 1 or len(asked.prompt) > 1:
                of_prompt = f"prompt {number + 1} of {len(asked.prompt)}, " if len(asked.prompt) > 1 else ""
                print(f"--- {of_prompt}sample {sample + 1} of {len(texts)}")
            print(asked.prompt[number] + text.text)
            if asked.logprobs:
                print_nats(text, given.tokenizer)
    return 0


def write(asked: Request, writer: Writer, tokenizer: Tokenizer, on_text=None) -> list[list[Completion]]:
    """The texts of each prompt."""
    if asked.beams:
        return [searched(asked, writer, tokenizer, prompt) for prompt in asked.prompt]
    return completion.complete(
        writer,
        tokenizer,
        asked.prompt,
        n_tokens=asked.max_tokens,
        options=asked.options(),
        seed=asked.seed,
        samples=asked.samples,
        best_of=asked.best_of,
        stops=asked.stop,
        nats=asked.logprobs,
        on_text=on_text,
    )


def searched(asked: Request, writer: Writer, tokenizer: Tokenizer, prompt: str) -> list[Completion]:
    """The best texts of a beam search."""
    found = beam.search(
        writer,
        tokenizer.encode(prompt).tolist(),
        n_tokens=asked.max_tokens,
        width=asked.beams,
        length_penalty=asked.length_penalty,
        end=tokenizer.end_of_text,
    )
    return [
        Completion(
            tokenizer.decode(text.tokens),
            np.asarray(text.tokens, np.int32),
            np.asarray(text.nats, np.float32),
            "end" if text.tokens[-1] == tokenizer.end_of_text else "length",
        )
        for text in found[: asked.samples]
    ]


def print_nats(text: Completion, tokenizer: Tokenizer) -> None:
    """Each token with its log-probability, and their mean."""
    for token, nats in zip(text.tokens.tolist(), text.nats.tolist(), strict=True):
        print(f"{nats:10.4f}  {tokenizer.decode([token])!r}")
    print(f"{text.mean_nats():10.4f}  nats a token on average ({text.finish})")


def check(asked: Request) -> None:
    """Raises BadInput for flags that cannot be, or cannot be together, before anything is opened."""
    if not asked.folder:
        raise BadInput("--from: is empty; give at least one character")
    if not all(asked.prompt):
        raise BadInput("--prompt: is empty; give at least one character")
    if not all(asked.stop):
        raise BadInput("--stop: is empty; give at least one character")
    for prompt in asked.prompt:
        if any("\ud800" <= character <= "\udfff" for character in prompt):
            raise BadInput(f"--prompt={prompt!r}: is not UTF-8")
    for flag, (least, most) in LIMITS.items():
        number = getattr(asked, flag)
        if not least <= number <= most:
            raise BadInput(f"--{flag}={number}: must be at {f'least {least}' if number < least else f'most {most}'}")
    if not abs(asked.length_penalty) <= 100:
        raise BadInput(f"--length_penalty={asked.length_penalty}: must be at least -100 and at most 100")
    if asked.precision not in weights.PRECISIONS:
        raise BadInput(f"--precision={asked.precision}: must be one of {', '.join(weights.PRECISIONS)}")
    sampling.check(asked.options())
    if asked.best_of and asked.best_of < asked.samples:
        raise BadInput(
            f"--best_of={asked.best_of}: must be at least --samples={asked.samples}, the texts that are kept"
        )
    if asked.beams > beam.MOST:
        raise BadInput(f"--beams={asked.beams}: must be at most {beam.MOST}")
    if asked.beams:
        refuse_beside("--beams searches and draws nothing", changed(asked, [*Sampling._fields, "stop", "best_of"]))
        if asked.samples > asked.beams:
            raise BadInput(
                f"--samples={asked.samples}: must be at most --beams={asked.beams}, the texts that are found"
            )
    if asked.stream:
        many = ["--prompt"] if len(asked.prompt) > 1 else []
        refuse_beside(
            "--stream shows one text as it grows", [*changed(asked, ["samples", "best_of", "beams", "logprobs"]), *many]
        )


def changed(asked: Request, flags: Sequence[str]) -> list[str]:
    """Those of the flags that are not as by default."""
    return [f"--{flag}" for flag in flags if getattr(asked, flag) != DEFAULTS[flag]]


def refuse_beside(why: str, flags: Sequence[str]) -> None:
    if flags:
        raise BadInput(f"{why}: drop {', '.join(flags)}")


DEFAULTS = {
    **Sampling()._asdict(), "temperature": None, "stop": [], "best_of": 0, "samples": 1, "beams": 0, "logprobs": False
}  # fmt: skip
