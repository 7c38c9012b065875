"""A mean over seeds and how far it can be trusted."""

import statistics
from collections.abc import Sequence

# 97.5 % quantiles of Student's distribution, for 1, 2, ... degrees of freedom
STUDENT = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)
NORMAL = 1.959964  # of the normal distribution


def quantile(df: int) -> float:
    """Student's; beyond the table by the expansion of Abramowitz & Stegun 1964, 26.7.5, which errs by under 1e-4."""
    if df <= len(STUDENT):
        return STUDENT[df - 1]
    z = NORMAL
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / df + second / df**2 + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * df**3)


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the mean, if the values are drawn from a normal distribution; None for fewer than two."""
    if len(values) < 2:
        return None
    half = quantile(len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    mean = statistics.fmean(values)
    return mean - half, mean + half
