"""A real browser without a window, for the tests of pages."""

import contextlib
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
NEEDS_CHROMIUM = pytest.mark.skipif(
    CHROMIUM is None, reason="needs a Chromium in PATH; on Debian: apt-get install chromium"
)


@contextlib.contextmanager
def chromium(profile: str) -> Iterator[BrowserContext]:
    """A browser that keeps what it keeps in the folder `profile`."""
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, headless=True, args=FLAGS
        )
        context.set_default_timeout(30_000)  # of a busy machine
        yield context
        context.close()
