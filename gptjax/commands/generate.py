"""`gptjax generate`: text that continues a prompt."""

from gptjax.config import BadInput
from gptjax.generation import decode
from gptjax.training import source


def run(
    folder: str, prompt: str, max_tokens: int, temperature: float, top_k: int, top_p: float, seed: int, samples: int
) -> int:
    """Prints the prompt with each continuation, up to an end of text; returns the exit code. Raises BadInput."""
    if not prompt:
        raise BadInput("--prompt: is empty; give at least one character")
    for flag, value, least in [("max_tokens", max_tokens, 1), ("samples", samples, 1), ("top_k", top_k, 0)]:
        if value < least:
            raise BadInput(f"--{flag}={value}: must be at least {least}")
    if temperature < 0:
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
