"""The page of `gptjax analyze --html`, in a real browser without a window."""

import pytest
from playwright.sync_api import expect

from gptjax.analysis import frames, report
from tests.analysis import planted
from tests.analysis.test_report_data import EVIL, evil_runs, found_of
from tests.browser import NEEDS_CHROMIUM, chromium

pytestmark = NEEDS_CHROMIUM

PICTURES = ("loss", "basins", "parallel", "grad-norm", "throughput", "timeline")  # the planted runs log no update/norm
BUTTONS = (
    "[...document.querySelectorAll('.modebar-btn')].map((button) => button.getAttribute('aria-label'))"  # no "Share"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The page of a sweep of 24 runs whose fates are known, two of which wrote samples."""
    folder = tmp_path_factory.mktemp("pages")
    planted.write_sweep(folder / "sweep")
    for name in ("lr0.003-d64-s0", "lr0.003-d64-s1"):
        lines = [{"step": step, "prompt": "The", "text": f"The <i>{step}</i> of {name}"} for step in (50, 100, 200)]
        (folder / "sweep" / name / "samples.jsonl").write_bytes(b"".join(map(planted.encode, lines)))
    runs = frames.read([str(folder / "sweep")])
    (folder / "sweep.html").write_text(report.html(found_of(runs)), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(str(tmp_path_factory.mktemp("profile"))) as context:
        yield context


@pytest.fixture(scope="module")
def pages(browser):
    """Makes pages that may load nothing but themselves, and on whose console nobody may complain."""
    wrong = []
    allowed = ("file:", "data:", "blob:")

    def page():
        made = browser.new_page()
        made.on("pageerror", lambda error: wrong.append(str(error)))
        made.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
        made.on("request", lambda request: None if request.url.startswith(allowed) else wrong.append(request.url))
        return made

    page.wrong = wrong
    return page


@pytest.fixture(scope="module")
def opened_sweep(pages, folder):
    page = pages()
    opened(page, folder / "sweep.html")
    yield page
    page.close()


@pytest.fixture
def sweep(pages, opened_sweep):
    """The page of the sweep, as it was at first."""
    opened_sweep.evaluate("(document.activeElement.blur(), $('filter').value = '', $('bands').checked = false)")
    opened_sweep.evaluate("(chosen_at_first(), STATE.picked = null, STATE.mark = null, scrollTo(0, 0), filter())")
    drawn(opened_sweep)
    yield opened_sweep
    assert pages.wrong == []


def opened(page, file):
    page.goto(file.as_uri(), timeout=120_000)  # of a busy machine
    drawn(page)


def drawn(page):
    page.wait_for_selector("body[data-drawn=yes]", timeout=120_000)


def names(page) -> list[str]:
    return page.locator("#table tbody th button").all_inner_texts()


def filtered(page, text):
    page.get_by_label("Filter").fill(text)
    page.wait_for_timeout(200)  # the page waits for whoever goes on typing
    drawn(page)


def hover(page, picture, trace, point):
    """Moves the pointer to a point of a curve."""
    page.locator(f"#{picture}").scroll_into_view_if_needed()
    at = page.evaluate(
        """([id, trace, point]) => {
            const picture = document.getElementById(id), { xaxis, yaxis } = picture._fullLayout;
            const { x, y } = picture.data[trace], box = picture.getBoundingClientRect();
            return [box.left + xaxis._offset + xaxis.d2p(x[point]), box.top + yaxis._offset + yaxis.d2p(y[point])];
        }""",
        [picture, trace, point],
    )
    page.mouse.move(*at)
    page.mouse.move(at[0] + 1, at[1])


def test_every_picture_is_drawn_and_named(sweep):
    for picture in PICTURES:
        expect(sweep.locator(f"#{picture} .main-svg").first).to_be_visible()
        assert sweep.locator(f"#{picture}").get_attribute("aria-label")
    assert len(names(sweep)) == 24
    assert sweep.locator("#update-norm").is_hidden()
    assert set(sweep.evaluate(BUTTONS)) == {"Download plot", "Zoom", "Pan", "Zoom in", "Zoom out", "Reset axes"}


def test_the_pointer_shows_the_config_that_differs(sweep):
    filtered(sweep, "name=lr0.003-d64-s1")
    hover(sweep, "loss", 1, 2)
    text = sweep.locator("#loss .hoverlayer").text_content()
    for part in ("lr0.003-d64-s1", "optim.peak_lr = 0.003", "model.d_model = 64", "seed = 1"):
        assert part in text


def test_the_filter_holds_for_the_table_and_the_pictures(sweep):
    filtered(sweep, "peak_lr>=1e-2 status=done d_model=64")
    wanted = {"lr0.01-d64-s0", "lr0.01-d64-s1", "lr0.01-d64-s2", "lr0.03-d64-s0", "lr0.03-d64-s2"}
    assert set(names(sweep)) == wanted
    expect(sweep.get_by_role("status").first).to_have_text("5 of 24 runs are shown.")
    shown = "document.getElementById('loss').data.flatMap((trace) => trace.ids_of ?? []).map((at) => RUNS[at].name)"
    assert set(sweep.evaluate(shown)) == wanted
    filtered(sweep, "no_such_key=3")
    expect(sweep.get_by_role("status").first).to_have_text("there is no no_such_key")
    assert sweep.get_by_label("Filter").get_attribute("aria-invalid") == "true"


def test_a_column_sorts_by_keyboard_and_says_so(sweep):
    assert names(sweep)[0] == "lr0.003-d64-s0"  # the lowest final eval/nll
    head = sweep.get_by_role("columnheader", name="optim.peak_lr")
    head.get_by_role("button").focus()
    sweep.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "ascending")
    assert names(sweep)[0].startswith("lr0.001-") and names(sweep)[-1].startswith("lr0.03-")
    sweep.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "descending")
    assert names(sweep)[0].startswith("lr0.03-")


def test_a_link_from_trouble_marks_the_run_and_the_step(sweep):
    sweep.get_by_role("link", name="lr0.03-d64-s1, step 60").first.click()
    expect(sweep.locator("tr.picked")).to_contain_text("lr0.03-d64-s1")
    assert sweep.evaluate("document.getElementById('loss').layout.shapes[0].x0") == 60
    expect(sweep.locator("#loss")).to_be_in_viewport()


def test_the_seeds_of_a_cell_become_one_band(sweep):
    filtered(sweep, "peak_lr=0.003")
    sweep.get_by_label("one band for all seeds").check()
    fills = sweep.evaluate("document.getElementById('loss').data.filter((trace) => trace.fill === 'tonexty').length")
    assert fills == 2  # one for each width


def test_another_axis_moves_the_curves(sweep):
    last = "Math.max(...document.getElementById('loss').data.flatMap((trace) => trace.x))"
    assert sweep.evaluate(last) == planted.N_STEPS
    sweep.get_by_role("combobox", name="Against", exact=True).select_option("tokens")
    assert sweep.evaluate(last) == planted.N_STEPS * planted.BATCH
    sweep.get_by_role("combobox", name="Against", exact=True).select_option("flops")
    one = next(one for one in planted.sweep() if one.width == planted.LARGE)
    assert sweep.evaluate(last) == pytest.approx(planted.N_STEPS * planted.BATCH * planted.flops_per_token(one))


def test_samples_are_shown_by_step_as_they_are(sweep):
    sweep.get_by_role("combobox", name="Run", exact=True).select_option(label="lr0.003-d64-s1")
    texts = sweep.locator("#sample-list pre").all_inner_texts()
    assert texts == [f"The <i>{step}</i> of lr0.003-d64-s1" for step in (200, 100, 50)]


def test_two_runs_are_held_against_each_other(sweep):
    sweep.get_by_role("combobox", name="One", exact=True).select_option(label="lr0.003-d64-s0")
    sweep.get_by_role("combobox", name="Other", exact=True).select_option(label="lr0.01-d64-s0")
    rows = [row.locator("th, td").all_inner_texts() for row in sweep.locator("#differences tbody tr").all()]
    differences = {what: values for _, what, *values in rows}
    assert differences["optim.peak_lr"] == ["0.003", "0.01", "0.007"]
    assert "seed" not in differences and "model.d_model" not in differences


def test_behind_each_picture_is_a_table(sweep):
    figure = sweep.locator("figure", has=sweep.locator("#basins"))
    figure.get_by_text("Numbers of this picture").click()
    expect(figure.locator("tbody tr")).to_have_count(8)  # four rates, two widths


def test_what_runs_say_is_never_markup(pages, tmp_path):
    (tmp_path / "evil.html").write_text(report.html(found_of(evil_runs())), encoding="utf-8")
    page = pages()
    opened(page, tmp_path / "evil.html")
    assert names(page) == [f"{EVIL}0", f"{EVIL}1"]
    hover(page, "loss", 2, 35)
    expect(page.locator("#loss .hoverlayer")).to_contain_text("<b>bold</b>")
    page.get_by_role("combobox", name="Colour by", exact=True).select_option(EVIL)
    page.get_by_role("combobox", name="Metric", exact=True).select_option(EVIL)
    drawn(page)
    assert page.evaluate("window.broken") is None
    assert (page.locator("img").count(), page.locator("script").count()) == (0, 3)
    page.close()
    assert pages.wrong == []


def test_the_page_prints_on_white_without_its_controls_and_is_dark_at_night(sweep):
    sweep.emulate_media(media="print", color_scheme="dark")
    assert sweep.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert sweep.locator(".controls:visible").count() == 0
    assert sweep.locator("#table tbody tr:visible").count() == 24
    sweep.emulate_media(media="screen", color_scheme="dark")
    assert sweep.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 23, 26)"
    assert sweep.evaluate("getComputedStyle(document.querySelector('#loss .xtitle')).fill") == "rgb(232, 232, 230)"
    sweep.emulate_media(color_scheme="light")


def test_everything_that_can_be_chosen_has_a_name(sweep):
    unnamed = sweep.evaluate(
        """[...document.querySelectorAll('input, select, button, [tabindex="0"]')].filter((e) => {
            const text = (e.labels && e.labels[0] || e).textContent.trim();
            return !text && !e.getAttribute('aria-label');
        }).map((e) => e.outerHTML)"""
    )
    assert unnamed == []
    assert sweep.evaluate("[...document.querySelectorAll('th')].every((head) => head.scope)")
