"""Fewer points for a picture than a log has lines, without losing what a reader looks for.

Raw values: the least and the greatest of each part, so every spike stays. Smoothed values: means over all lines around
a step, of which only some are drawn. Parts and places are half even, half even on a logarithm, for both kinds of axis.
"""

from typing import NamedTuple

import numpy as np

from gptjax.analysis.run import Series

WINDOWS = (0.02, 0.1)  # of the lines of a run: some smoothing, and much


class Curve(NamedTuple):
    n: int  # lines that have the metric
    raw: np.ndarray  # places of those that are drawn
    some: np.ndarray  # places of the means that are drawn
    means: list[np.ndarray]  # for each of WINDOWS; NaN where the value itself is not finite


def curve(series: Series, n_points: int) -> Curve:
    """What is drawn of a metric: at most `n_points` raw values, and half as many means."""
    n, parts = len(series.value), n_points // 2
    if n <= n_points:
        return Curve(n, np.arange(n), np.arange(n), [means(series.value, share) for share in WINDOWS])
    some = places(n, parts)
    return Curve(n, extremes(series.value, places(n, parts)), some, [means(series.value, w)[some] for w in WINDOWS])


def places(n: int, most: int) -> np.ndarray:
    """At most `most` of the numbers below n, with the first and the last."""
    even = np.linspace(0, n - 1, most - most // 2)
    early = np.geomspace(1, n - 1, most // 2)
    return np.unique(np.round(np.concatenate([even, early])).astype(int))


def extremes(value: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Places of the least and the greatest finite value of each part, and one that is not finite where there is one.

    Parts begin at `starts`; the last of these is a part of its own.
    """
    kept = []
    finite = np.isfinite(value)
    low, high = np.where(finite, value, np.inf), np.where(finite, value, -np.inf)
    for start, stop in zip(starts, [*starts[1:], len(value)], strict=True):
        part = slice(start, stop)
        kept += [start + int(np.argmin(low[part])), start + int(np.argmax(high[part]))]
        if not finite[part].all():
            kept.append(start + int(np.argmin(finite[part])))
    return np.unique(kept)


def means(value: np.ndarray, share: float) -> np.ndarray:
    """The mean over so large a share of the lines around each, symmetric at the start, where a loss falls steeply; at
    the end over what there is."""
    n = len(value)
    half = round(share * n) // 2
    at = np.arange(n)
    low, high = at - np.minimum(half, at), np.minimum(at + np.minimum(half, at), n - 1) + 1
    finite = np.isfinite(value)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, value, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    with np.errstate(invalid="ignore"):
        mean = (sums[high] - sums[low]) / (counts[high] - counts[low])
    return np.where(finite, mean, np.nan)
