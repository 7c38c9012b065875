"""How soon a browser shows the pages of `gptjax analyze --html` and `gptjax inspect --html`.

    python -m benchmarks.page [--runs=200] [--steps=1000] [--tokens=512]

Seconds from the address to the last picture, of synthetic runs of 8 metrics and of a synthetic look at a text with 12
layers of 12 heads, in the headless Chromium of the tests. The bar is 3 s for 200 runs, and for 512 tokens, by the
median of three pages.
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
from gptjax.insight import report
from tests.browser import chromium
from tests.insight import looks

BAR_S = 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--tokens", type=int, default=512)
    flags = parser.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory() as folder:
        runs, file = pathlib.Path(folder, "runs"), pathlib.Path(folder, "page.html")
        analyze.write(runs, n_runs=flags.runs, n_steps=flags.steps)
        command = [sys.executable, "-m", "gptjax.cli", "analyze", str(runs), f"--html={file}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        look = pathlib.Path(folder, "look.html")
        look.write_text(report.html(looks.made(12, 12, flags.tokens), "a model", looks.spelled), encoding="utf-8")
        pages = {f"{flags.runs} runs": file, f"{flags.tokens} tokens": look}
        spent = {name: drawn(page, f"{folder}/profile") for name, page in pages.items()}
    print_table([{"page of": name} | figures(seconds) for name, seconds in spent.items()])
    print_machine()


def figures(seconds: list[float]) -> dict[str, float]:
    return {"median s": statistics.median(seconds), "least": min(seconds), "most": max(seconds), "bar": BAR_S}


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
