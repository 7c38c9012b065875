"""Whether a commit is slower than another: the judgement of `make bench`, and its history."""

import numpy as np
import pytest

from benchmarks import track

PAGE = """# Performance

## History

| commit | date | against | step | write | import | analyze |
|---|---|---|---|---|---|---|
| `aaaaaaaaa` | 2026-01-01 | | 1 | 2 | 3 | 4 |

More.
"""


def rounds(slower: float, noise: float, seed: int, process: float = 0.0, n: int = 9) -> np.ndarray:
    """Seconds of three sides on a machine that drifts; `process`: what the second process of equal code is off by."""
    draw = np.random.default_rng(seed)
    drift = np.exp(0.3 * np.sin(np.arange(n)))
    return drift * np.array([1, 1 + process, slower])[:, None] * np.exp(noise * draw.standard_normal((3, n)))


@pytest.mark.parametrize("noise", [0.002, 0.01, 0.05])
def test_equal_code_is_seldom_told_slower_and_a_great_slowdown_always(noise):
    told = [track.judged(rounds(1.0, noise, seed)).slower for seed in range(100)]
    assert sum(told) <= 5
    assert all(track.judged(rounds(1 + 6 * noise, noise, seed)).slower for seed in range(100))


def test_a_slowdown_within_what_equal_code_shows_is_none():
    assert track.judged(rounds(1.04, 0.002, 0)).slower
    assert not track.judged(rounds(1.04, 0.002, 0, process=0.08)).slower
    assert not track.judged(rounds(0.9, 0.002, 0)).slower


def test_the_ratio_is_freed_from_the_machines_drift():
    verdict = track.judged(rounds(1.25, 0.001, 3))
    assert verdict.low <= 1.25 <= verdict.high and verdict.high - verdict.low < 0.01


def test_a_row_goes_below_the_last_one_and_is_the_next_to_be_held_against():
    assert track.last_recorded(PAGE) == "aaaaaaaaa"
    made = track.recorded(PAGE, "bbbbbbbbb", "aaaaaaaaa", {"step": rounds(1.1, 1e-9, 0)}, "2026-01-02")
    assert track.last_recorded(made) == "bbbbbbbbb"
    (line,) = set(made.splitlines()) - set(PAGE.splitlines())
    assert line.startswith("| `bbbbbbbbb` | 2026-01-02 | `aaaaaaaaa` | ") and "1.100 (1.100 to 1.100)" in line
    assert made.replace(f"{line}\n", "") == PAGE
    assert track.last_recorded("# no history") is None


def test_the_page_of_this_project_has_a_history():
    assert track.last_recorded(track.PAGE.read_text()) is not None
