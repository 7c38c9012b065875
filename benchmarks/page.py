"""How soon a browser shows the page of `gptjax analyze --html`.

    python -m benchmarks.page [--runs=200] [--steps=1000]

Seconds from the address to the last picture, of synthetic runs of 8 metrics, in the headless Chromium of the tests. The
bar is 3 s for 200 runs, by the median of three pages.
"""

import argparse
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks import analyze
from benchmarks.contest import print_machine, print_table
from tests.browser import chromium

BAR_S = 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--steps", type=int, default=1000)
    flags = parser.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory() as folder:
        runs, file = pathlib.Path(folder, "runs"), pathlib.Path(folder, "page.html")
        analyze.write(runs, n_runs=flags.runs, n_steps=flags.steps)
        command = [sys.executable, "-m", "gptjax.cli", "analyze", str(runs), f"--html={file}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        spent = drawn(file, f"{folder}/profile")
    figures = {"median s": statistics.median(spent), "least": min(spent), "most": max(spent), "bar": BAR_S}
    print_table([{"runs": flags.runs} | figures])
    print_machine()


def drawn(file: pathlib.Path, profile: str) -> list[float]:
    """Seconds of three pages, one after another in one browser."""
    spent = []
    with chromium(profile) as browser:
        for _ in range(3):
            page, since = browser.new_page(), time.monotonic()
            page.goto(file.as_uri(), timeout=120_000)
            page.wait_for_selector("body[data-drawn=yes]", timeout=120_000)
            spent.append(time.monotonic() - since)
            page.close()
    return spent


if __name__ == "__main__":
    main()
