"""What a picture leaves out, it says and chooses well; its colours can be told from their ground."""

import re

import numpy as np
import pytest

from gptjax import pages
from gptjax.analysis import report, thinning
from gptjax.analysis.run import Series

GROUNDS = ("ground", "raised")


def series(value: np.ndarray) -> Series:
    step = 10 * np.arange(len(value))
    return Series(step, step * 4096.0, step * 0.1, value)


@pytest.mark.parametrize("n", [1, 2, 99, 100, 101, 5000])
def test_no_extreme_is_lost_and_the_points_are_few(n):
    value = np.random.default_rng(n).normal(3, 1, n)
    made = thinning.curve(series(value), 100)
    drawn = value[made.raw]
    assert len(made.raw) <= 102 and len(made.some) <= 100
    assert {0, n - 1} <= set(made.raw.tolist())
    assert (drawn.min(), drawn.max()) == (value.min(), value.max())


def test_a_spike_of_one_line_and_a_nan_of_one_line_stay():
    value = np.full(10_000, 3.0)
    value[7777], value[8888] = 9.0, np.nan
    made = thinning.curve(series(value), 100)
    assert 7777 in made.raw and 8888 in made.raw


def test_means_are_of_all_lines_around():
    value = np.random.default_rng(0).normal(3, 1, 501)
    value[300] = np.nan
    made = thinning.means(value, 0.1)
    for at in (0, 1, 10, 250, 290, 480, 500):
        left = min(25, at)
        window = value[at - left : at + left + 1]
        np.testing.assert_allclose(made[at], np.nanmean(window), rtol=1e-12)
    assert np.isnan(made[300])


def luminance(colour: str) -> float:
    """Of sRGB, by WCAG 2.2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_words_and_curves_stand_out_from_both_grounds():
    style = pages.text_of(pages.BASE / "base.css") + pages.text_of(report.PAGE / "style.css")
    found = dict(re.findall(r"--(\w+): light-dark\((#\w{6}, #\w{6})\)", style))
    themes = {name: pair.split(", ") for name, pair in found.items()}
    curves = set(
        re.findall(r'"(#\w{6})"', pages.text_of(report.PAGE / "data.js") + pages.text_of(report.PAGE / "run.js"))
    )
    assert len(curves) >= 8
    for theme in (0, 1):
        for ground in (themes[name][theme] for name in GROUNDS):
            assert min(contrast(themes[name][theme], ground) for name in ("text", "quiet", "accent", "wrong")) >= 4.5
            assert min(contrast(colour, ground) for colour in curves) >= 3
