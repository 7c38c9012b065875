"""Exposure (Carlini et al. 2019, section 4): how far a secret stands out among the secrets it could have been.

With R secrets and the true one the r-th likeliest of them, exposure is log2 R - log2 r bits: log2 R where the model
would say it first, and by chance 1 / ln 2 = 1.44 bits on average, for then r is any rank.
"""

import math

import numpy as np
from jaxtyping import Float64
from scipy import special

MOST_SKEW = 0.99  # of a skew-normal density: 0.995


def chance(n_others: int) -> float:
    """The mean of by_rank for a model that knows nothing: every rank is as likely."""
    n = n_others + 1
    return math.log2(n) - math.lgamma(n + 1) / (n * math.log(2))


def by_rank(nats: float, others_N: Float64[np.ndarray, " N"]) -> float:
    """Of log-probability `nats` among N others drawn at random: log2 (N + 1) at most, which is exact where these are
    all others there are. One that is as likely counts as likelier."""
    rank = 1 + np.count_nonzero(others_N >= nats)
    return math.log2(len(others_N) + 1) - math.log2(rank)


def by_fit(nats: float, others_N: Float64[np.ndarray, " N"], bits: float) -> float:
    """The same from a skew-normal density fitted, by its moments, to the others (section 4.3); `bits` is log2 R.

    Says how rare a secret is that none of the others reaches. A guess about a tail: where others are many, by_rank is
    the measurement. NaN where the others are all alike.
    """
    if np.ptp(others_N) == 0:
        return math.nan
    z_N = (others_N - others_N.mean()) / others_N.std()
    skew = float(np.clip(-np.mean(z_N**3), -MOST_SKEW, MOST_SKEW))  # of what is less likely the further right
    part = abs(skew) ** (2 / 3)
    delta = math.copysign(math.sqrt(math.pi / 2 * part / (part + ((4 - math.pi) / 2) ** (2 / 3))), skew)
    scale = 1 / math.sqrt(1 - 2 * delta**2 / math.pi)
    at = -scale * delta * math.sqrt(2 / math.pi)
    z = ((others_N.mean() - nats) / others_N.std() - at) / scale
    share = float(special.ndtr(z) - 2 * special.owens_t(z, delta / math.sqrt(1 - delta**2)))
    return bits if share <= 2**-bits else max(0.0, -math.log2(share))


def others(alphabet: str, code: str, n: int, rng: np.random.Generator) -> list[str]:
    """`n` codes like this one, drawn without repetition, or all there are where those are not more."""
    length, base = len(code), len(alphabet)
    if base**length - 1 <= n:
        every = (spelled(number, alphabet, length) for number in range(base**length))
        return [other for other in every if other != code]
    found: dict[str, None] = {}
    while len(found) < n:
        other = "".join(alphabet[int(digit)] for digit in rng.integers(base, size=length))
        if other != code:
            found[other] = None
    return list(found)


def spelled(number: int, alphabet: str, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(alphabet))
        digits.append(alphabet[digit])
    return "".join(digits)
