"""The pages as a site: built strictly, whole without a network, drawn without a script from elsewhere."""

import html.parser
import os
import pathlib
import re
import subprocess
import sys
from urllib.parse import unquote, urlsplit

import pytest

from tests.browser import NEEDS_CHROMIUM, chromium
from tests.docs.source import ROOT

pytestmark = pytest.mark.prove
REMOTE = ("http:", "https:", "//")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return folder


class Page(html.parser.HTMLParser):
    """What a page loads, where its links go, the ids they may go to, and its words."""

    def __init__(self, text: str):
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.ids |= {found[name] for name in ("id", "name") if name in found}
        if tag in ("script", "img", "iframe", "source") and "src" in found:
            self.loads.append(found["src"])
        if tag == "link" and found["rel"] not in ("canonical", "alternate") and "href" in found:
            self.loads.append(found["href"])
        if tag == "a" and "href" in found:
            self.links.append(found["href"])


@pytest.fixture(scope="module")
def pages(site) -> dict[str, Page]:
    return {path.relative_to(site).as_posix(): Page(path.read_text()) for path in site.rglob("*.html")}


def test_nothing_is_loaded_from_elsewhere(site, pages):
    assert not [(name, load) for name, page in pages.items() for load in page.loads if load.startswith(REMOTE)]
    styles = [path.read_text() for path in site.rglob("*.css")]
    assert styles and not [style for style in styles if re.search(r"url\([\"']?(https?:)?//|@import", style)]


def test_every_link_of_the_site_goes_somewhere(site, pages):
    lost = []
    for name, page in pages.items():
        if name == "404.html":  # whose links are from the root of a server
            continue
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme or link.startswith("//"):
                continue
            path = (site / name).parent / unquote(parts.path) if parts.path else site / name
            path = pathlib.Path(os.path.normpath(path))
            anchors = pages[path.relative_to(site).as_posix()].ids if path.suffix == ".html" and path.exists() else None
            if not path.exists() or (anchors is not None and parts.fragment and parts.fragment not in anchors):
                lost.append((name, link))
    assert not lost


def test_every_formula_is_drawn(site, pages):
    text = (ROOT / "docs/theory.md").read_text()
    blocks, inline = len(re.findall(r"\$\$.*?\$\$", text, re.DOTALL)), len(re.findall(r"(?<!\$)\$[^$\n]+\$", text))
    assert blocks > 15 and inline > 50
    assert pages["theory.html"].tags.count("math") == blocks + inline
    assert not [name for name in pages if 'class="arithmatex"' in (site / name).read_text()]


def test_files_outside_docs_are_pages_of_the_site(pages):
    wanted = {"source/CONTRIBUTING.html", "source/experiments/index.html", "source/gptjax/training/loss.py.html"}
    assert wanted <= set(pages)


def test_the_reference_has_functions_and_fields(site, pages):
    ids = set().union(*(page.ids for name, page in pages.items() if name.startswith("reference/")))
    for name in ("model.gpt.forward", "training.loss.summed", "data.batches.Batches", "insight.lens.predictions"):
        assert f"gptjax.{name}" in ids
    assert "logits_BTV: Float[Array, &#39;B T V&#39;]" in (site / "reference/model.html").read_text()


@NEEDS_CHROMIUM
def test_search_needs_no_server(site, tmp_path):
    """From a disk, where browsers allow no worker: the frame that takes its place finds a word."""
    with chromium(str(tmp_path)) as browser:
        page = browser.new_page()
        page.set_viewport_size({"width": 1280, "height": 900})
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "theory.html").as_uri())
        page.click(".md-search__input")
        page.keyboard.type("clipped")
        page.wait_for_selector(".md-search-result__item", timeout=20_000)
        assert not [url for url in asked if not url.startswith(("file:", "data:", "about:", "blob:"))]
