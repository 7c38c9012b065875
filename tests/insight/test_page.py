"""The page of `gptjax inspect --html`, in a real browser without a window."""

import re

import numpy as np
import pytest
from playwright.sync_api import expect

from gptjax.insight import report
from tests.browser import NEEDS_CHROMIUM, chromium
from tests.insight import looks

pytestmark = NEEDS_CHROMIUM
LOOK = looks.made(n_tokens=12)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(str(tmp_path_factory.mktemp("profile"))) as context:
        yield context


@pytest.fixture
def opened(browser, tmp_path):
    """Opens the page of a look, which may load nothing, and on whose console nobody may complain."""
    wrong, page = [], browser.new_page()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.on(
        "request", lambda request: None if request.url.startswith(("file:", "data:")) else wrong.append(request.url)
    )

    def open_page(look):
        file = tmp_path / "look.html"
        file.write_text(report.html(look, "a run <b>of</b> mine", looks.spelled), encoding="utf-8")
        page.goto(file.as_uri())
        page.wait_for_selector("body[data-drawn=yes]")
        return page

    yield open_page
    page.close()
    assert wrong == []


def hover(page, row: int, column: int, n: int) -> None:
    """Moves the pointer to the middle of a pixel of the large map."""
    page.locator("#map").scroll_into_view_if_needed()
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + (column + 0.5) * box["width"] / n, box["y"] + (row + 0.5) * box["height"] / n)


def test_the_pointer_tells_the_weight_of_every_head(opened):
    page = opened(LOOK)
    for layer, head, query, key in [(0, 0, 11, 3), (1, 2, 7, 7), (1, 0, 5, 0)]:
        page.locator(f"#head-{layer}-{head}").click()
        hover(page, query, key, 12)
        told = page.locator("#map-told")
        expect(told).to_contain_text(f"({query}) looks at")
        expect(told).to_contain_text(f"({key}) with")
        (share,) = re.findall(r"with <?([\d.]+)%", told.inner_text())
        assert abs(float(share) / 100 - LOOK.probs_LNTS[layer, head, query, key]) < 0.008
    hover(page, 2, 9, 12)
    expect(page.locator("#map-told")).to_contain_text("does not see what comes after it")


def test_a_choice_in_the_text_is_told_everywhere(opened):
    page = opened(LOOK)
    page.locator("#tokens").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#told")).to_contain_text(f"came with {LOOK.lens.nats_RBt[-1, 0]:.3g}"[:14])
    assert page.locator("#tokens [aria-selected=true]").get_attribute("id") == "token-1"
    assert page.locator("#lens-table td.picked").count() == 3
    terms = page.locator("#parts-table tbody tr").all_inner_texts()
    values = [float(term.split("\t")[1]) for term in terms]
    assert values == sorted(values, key=lambda value: -abs(value))
    assert values[0] == float(f"{max(all_terms(1), key=abs):.2g}")


def all_terms(at: int) -> list[float]:
    direct = LOOK.direct
    parts = [direct.heads_LBTN[:, at], direct.attn_bias_LBT[:, at], direct.mlp_LBT[:, at]]
    return [float(direct.embedding_BT[at]), float(direct.norm_bias_BT[at]), *np.concatenate([*map(np.ravel, parts)])]


def test_the_lens_tells_what_a_layer_reads(opened):
    page = opened(LOOK)
    cell = page.locator('#lens-table td[data-column="4"][data-reading="1"]')
    cell.hover()
    expect(page.locator("#told")).to_contain_text("before layer 1 the lens reads")
    expect(page.locator("#told")).to_contain_text("50%, ")
    page.get_by_label("Tell").select_option("next")
    cell = page.locator('#lens-table td[data-column="4"][data-reading="1"]')
    assert float(cell.inner_text()) == float(f"{LOOK.lens.nats_RBt[1, 4]:.3g}")


def test_texts_are_never_markup(opened):
    page = opened(LOOK)
    assert page.locator("h1").inner_text() == "Inside a run <b>of</b> mine"
    assert page.locator("main script, #tokens b").count() == 0
    assert "<script>" in page.locator("#tokens").inner_text()


def test_patching_is_shown_where_it_was_done(opened):
    assert LOOK.patches is not None
    page = opened(LOOK)
    expect(page.locator("#patching")).to_be_visible()
    row = page.locator("#patching-positions tbody tr").nth(1).locator("td").all_inner_texts()
    assert [float(cell) for cell in row] == [float(f"{value:.2g}") for value in LOOK.patches.positions_LT[1]]
    expect(page.locator("#patching-positions thead")).to_contain_text("⇐")
    page = opened(LOOK._replace(patches=None, instead=None))
    expect(page.locator("#patching")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_map_is_painted_in_the_colour_of_the_theme(opened, scheme):
    page = opened(LOOK)
    page.emulate_media(color_scheme=scheme)
    page.reload()
    page.wait_for_selector("body[data-drawn=yes]")
    pixel = page.evaluate("[...$('map').getContext('2d').getImageData(0, 0, 1, 1).data]")
    assert pixel == ([31, 95, 174, 255] if scheme == "light" else [100, 160, 240, 255])  # the first token sees itself
