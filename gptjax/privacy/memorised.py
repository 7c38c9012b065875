"""What a model keeps of canaries: of each the log-probability of its code and of other codes in its place."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Float, Float64, Int64

from gptjax.config import BadInput, ModelConfig
from gptjax.data.tokenizers import Tokenizer
from gptjax.evaluation import continuations
from gptjax.privacy import canaries, exposure
from gptjax.privacy.canaries import Canaries
from gptjax.privacy.extraction import Asked


class Measured(NamedTuple):
    """Of each canary, planted or not."""

    nats: list[Float[np.ndarray, " T"]]  # of the tokens of its code
    ranked_N: Float64[np.ndarray, " N"]  # exposure in bits, by rank
    fitted_N: Float64[np.ndarray, " N"]  # and by the fitted density
    above_N: Float64[np.ndarray, " N"]  # nats of its code beyond the mean of the others: what one run's bound goes by


class Groups(NamedTuple):
    """The same canaries by what became of them."""

    planted_N: Bool[np.ndarray, " N"]
    repeats_N: Int64[np.ndarray, " N"]

    def of(self, repeats: int) -> Bool[np.ndarray, " N"]:
        """Those of this number of repeats, the ones that were not planted included."""
        return self.repeats_N == repeats

    @property
    def all_repeats(self) -> list[int]:
        """Ascending, each once."""
        return sorted(set(self.repeats_N.tolist()))


def groups(found: Canaries) -> Groups:
    """In the order of the canaries."""
    planted = np.array([canary.planted for canary in found.canaries], np.bool_)
    return Groups(planted, np.array([canary.repeats for canary in found.canaries], np.int64))


def measure(
    params: dict,
    cfg: ModelConfig,
    tokenizer: Tokenizer,
    found: Canaries,
    *,
    n_others: int,
    seed: int,
    on: Mesh | None,
    tell: Callable[[int], None],
) -> Measured:
    """Scores every code among `n_others` drawn in its place, or all there are. Raises BadInput where the model's
    context is too short for a canary."""
    rng, pairs, sizes = np.random.default_rng(seed), [], []
    for canary in found.canaries:
        others = exposure.others(found.alphabet, canary.code, n_others, rng)
        pairs += [canaries.split_tokens(found, canary, code, tokenizer) for code in [canary.code, *others]]
        sizes.append(1 + len(others))
    check_length(pairs, cfg)
    nats = continuations.token_nats(params, cfg, pairs, on=on, tell=tell)
    sums = np.array([np.sum(nats_T, dtype=np.float64) for nats_T in nats])
    first_N = np.cumsum([0, *sizes[:-1]])
    each = [(float(sums[first]), sums[first + 1 : first + size]) for first, size in zip(first_N, sizes, strict=True)]
    return Measured(
        [nats[first] for first in first_N],
        np.array([exposure.by_rank(one, others) for one, others in each], np.float64),
        np.array([exposure.by_fit(one, others, found.bits) for one, others in each], np.float64),
        np.array([one - others.mean() for one, others in each], np.float64),
    )


def code_nats(
    params: dict, cfg: ModelConfig, tokenizer: Tokenizer, found: Canaries, on: Mesh | None
) -> list[Float[np.ndarray, " T"]]:
    """Of each canary the log-probabilities of the tokens of its code alone."""
    pairs = [canaries.split_tokens(found, canary, canary.code, tokenizer) for canary in found.canaries]
    check_length(pairs, cfg)
    return continuations.token_nats(params, cfg, pairs, on=on)


def check_length(pairs: list, cfg: ModelConfig) -> None:
    longest = max(len(before) + len(code) for before, code in pairs) - 1
    if longest > cfg.context:
        raise BadInput(f"--canaries: a canary has {longest} tokens before its last, and model.context is {cfg.context}")


def asked(found: Canaries, tokenizer: Tokenizer) -> list[Asked]:
    """What a model is asked for, of every canary that was planted."""
    made = []
    for canary in found.canaries:
        if canary.planted:
            before, code = canaries.split_tokens(found, canary, canary.code, tokenizer)
            made.append(Asked(before, tokenizer.decode(code), len(code)))
    return made
