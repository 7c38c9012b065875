"""`gptjax generate`: text that continues a prompt."""

import math

from gptjax.config import BadInput
from gptjax.generation import decode
from gptjax.training import source

LARGEST_INT = 2**31 - 1
LIMITS = {  # of each whole number, the least and the most; JAX drops the higher bits of a seed
    "max_tokens": (1, LARGEST_INT), "samples": (1, 2**16), "top_k": (0, LARGEST_INT), "seed": (0, 2**32 - 1),
}  # fmt: skip


def run(
    folder: str, prompt: str, max_tokens: int, temperature: float, top_k: int, top_p: float, seed: int, samples: int
) -> int:
    """Prints the prompt with each continuation, up to an end of text; returns the exit code. Raises BadInput."""
    for flag, word in [("from", folder), ("prompt", prompt)]:
        if not word:
            raise BadInput(f"--{flag}: is empty; give at least one character")
    if any("\ud800" <= character <= "\udfff" for character in prompt):
        raise BadInput(f"--prompt={prompt!r}: is not UTF-8")
    numbers = {"max_tokens": max_tokens, "samples": samples, "top_k": top_k, "seed": seed}
    for flag, (least, most) in LIMITS.items():
        if not least <= numbers[flag] <= most:
            near = "at least" if numbers[flag] < least else "at most"
            raise BadInput(f"--{flag}={numbers[flag]}: must be {near} {least if numbers[flag] < least else most}")
    if not 0 <= temperature < math.inf:
        raise BadInput(f"--temperature={temperature}: must be at least 0 (0 takes the likeliest token)")
    if not 0 < top_p <= 1:
        raise BadInput(f"--top_p={top_p}: must be above 0 and at most 1")
    given = source.open_run(folder)
    tokens_BT = decode.generate(
        given.params,
        given.tokenizer.encode(prompt),
        given.cfg.model,
        n_tokens=max_tokens,
        n_samples=samples,
        seed=seed,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
    )
    for number, tokens_T in enumerate(tokens_BT):
        if samples > 1:
            print(f"--- sample {number + 1} of {samples}")
        print(prompt + given.tokenizer.decode(decode.until_end(tokens_T, given.tokenizer.end_of_text)))
    return 0
