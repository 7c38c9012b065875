"""How soon a browser shows a page of many runs."""

import statistics
import time

import pytest

from benchmarks import analyze
from gptjax.analysis import frames, report
from tests.analysis.test_report_data import found_of
from tests.browser import NEEDS_CHROMIUM, chromium

pytestmark = [NEEDS_CHROMIUM, pytest.mark.prove]

BAR_S = 3.0


def test_two_hundred_runs_are_drawn_in_three_seconds(tmp_path):
    """From the address to the last picture, on a machine that does nothing else: 200 runs, 1,000 steps, 8 metrics."""
    analyze.write(tmp_path / "runs", n_runs=200, n_steps=1000)
    file = tmp_path / "page.html"
    file.write_text(report.html(found_of(frames.read([str(tmp_path / "runs")]))), encoding="utf-8")
    spent = []
    with chromium(str(tmp_path / "profile")) as browser:
        for _ in range(3):
            page, since = browser.new_page(), time.monotonic()
            page.goto(file.as_uri(), timeout=120_000)
            page.wait_for_selector("body[data-drawn=yes]", timeout=120_000)
            spent.append(time.monotonic() - since)
            assert page.locator("#table tbody tr").count() == 200
            page.close()
    assert statistics.median(spent) < BAR_S, spent
