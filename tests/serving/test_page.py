"""The chat page in a real browser, without a window."""

import threading

import pytest
from playwright.sync_api import expect

from tests.browser import NEEDS_CHROMIUM, chromium
from tests.serving.conftest import FLAGS, serving, until

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(str(tmp_path_factory.mktemp("profile"))) as context:
        yield context


@pytest.fixture
def page(browser):
    """A page on which nothing may be refused by the policy, and no script may fail."""
    page, wrong = browser.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "console", lambda message: wrong.append(message.text) if "Content Security Policy" in message.text else None
    )
    yield page
    page.close()
    assert wrong == []


@pytest.fixture
def talk(page, served):
    """The page of the tests' server, with the likeliest answers."""
    page.goto(served.url)
    expect(page.get_by_role("heading", name="talker")).to_be_visible()
    page.get_by_text("Settings").click()
    page.get_by_label("Temperature").fill("0")
    return page


def say(page, text):
    page.get_by_label("Message").fill(text)
    page.get_by_role("button", name="Send").click()


def answer(page, number=0):
    return page.locator(".message.assistant .said").nth(number)


def test_a_dialogue_goes_on_with_what_was_said(talk):
    say(talk, "hello")
    expect(answer(talk)).to_have_text("hello, how are you?")
    expect(talk.get_by_role("button", name="Send")).to_be_visible()  # until then a return key sends nothing
    talk.get_by_label("Message").fill("how are you")
    talk.keyboard.press("Enter")
    expect(answer(talk, 1)).to_have_text("I am well.")
    expect(talk.get_by_role("button", name="Send")).to_be_enabled()
    talk.get_by_role("button", name="New dialogue").click()
    expect(talk.locator(".message")).to_have_count(0)


def test_an_answer_is_shown_as_it_grows_and_can_be_stopped(talk, served, monkeypatch):
    """Four steps after the first token, which is a blank, the engine waits until the answer is stopped."""
    scheduler, steps = served.service.scheduler, threading.Semaphore(4)
    advance = scheduler.engine.advance
    monkeypatch.setattr(scheduler.engine, "advance", lambda *words: steps.acquire(timeout=20) and advance(*words))
    say(talk, "hello")
    expect(answer(talk)).to_have_text("hell")
    (job,) = scheduler.rows.values()
    talk.get_by_role("button", name="Stop").click()
    expect(talk.get_by_text("stopped")).to_be_visible()
    expect(talk.get_by_role("button", name="Send")).to_be_visible()
    until(lambda: job.cancelled)
    steps.release(100)
    until(lambda: not scheduler.rows)
    assert len(job.ids) < 10


def test_settings_are_sent(talk):
    talk.get_by_label("Most tokens").fill("6")
    talk.get_by_label("System text").fill("x" * 200)
    say(talk, "hello")
    expect(talk.get_by_role("alert")).to_contain_text("more than the 128 of the context")
    expect(talk.get_by_label("Message")).to_have_value("hello")
    talk.get_by_label("System text").fill("")
    talk.get_by_role("button", name="Send").click()
    expect(answer(talk)).to_have_text("hello")
    expect(talk.get_by_text("cut off")).to_be_visible()
    expect(talk.get_by_role("alert")).to_be_hidden()


def test_the_oldest_messages_make_room(talk):
    for number in range(3):
        say(talk, "hello " * 5)
        expect(talk.get_by_role("button", name="Send")).to_be_visible()
        expect(talk.locator(".message.assistant")).to_have_count(number + 1)
        expect(talk.locator(".growing")).to_have_count(0)
    expect(talk.get_by_text("no longer fit the context").first).to_be_visible()
    assert talk.locator(".forgotten").count() >= 2


def test_what_a_model_writes_is_text_and_never_markup(talk):
    say(talk, "<img src=x onerror=alert(1)><b>bold</b>")
    expect(talk.locator(".message.user .said")).to_have_text("<img src=x onerror=alert(1)><b>bold</b>")
    assert talk.locator(".message img, .message b").count() == 0


def test_a_token_is_asked_for_and_kept_for_the_session(page, talker):
    with serving(FLAGS._replace(folder=str(talker), token="s3cret")) as guarded:
        page.goto(guarded.url)
        expect(page.get_by_role("alert")).to_have_text("This server needs a token.")
        page.get_by_label("Token of this server").fill("wrong")
        page.get_by_role("button", name="Use it").click()
        expect(page.get_by_role("alert")).to_contain_text("a token is needed")
        page.get_by_label("Token of this server").fill("s3cret")
        page.get_by_role("button", name="Use it").click()
        expect(page.get_by_role("heading", name="talker")).to_be_visible()
        expect(page.get_by_label("Token of this server")).to_be_hidden()
        page.reload()
        expect(page.get_by_role("heading", name="talker")).to_be_visible()


def test_the_page_may_run_its_own_script_alone_and_asks_nobody_else(browser, page, served):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    answer = page.goto(served.url)
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'" and policy["connect-src"] == "'self'"
    assert policy["script-src"].startswith("'sha256-") and "unsafe" not in str(policy)
    expect(page.get_by_role("heading", name="talker")).to_be_visible()
    assert all(url.startswith((served.url, "data:")) for url in asked)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(scheme, talk):
    """WCAG's contrast of 4.5 for everything that is written."""
    talk.emulate_media(color_scheme=scheme)
    say(talk, "hello")
    expect(answer(talk)).to_have_text("hello, how are you?")
    found = talk.evaluate(CONTRASTS)
    assert len(found) > 8 and min(found.values()) >= 4.5, found
    dark = talk.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(22, 23, 26)") == (scheme == "dark")


CONTRASTS = """() => {
  const parts = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => parts(color).slice(0, 3).map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => {
    const color = getComputedStyle(e).backgroundColor;
    return parts(color)[3] === 0 ? ground(e.parentElement) : color;
  };
  const found = {};
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own && !e.matches("input, textarea") || !e.checkVisibility() || e.matches("script")) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
    found[`${e.tagName} ${e.className} ${e.id}`] = (a + 0.05) / (b + 0.05);
  }
  return found;
}"""


def test_everything_that_can_be_used_has_a_name(talk):
    names = talk.evaluate(
        "[...document.querySelectorAll('input, textarea, button')].map("
        "(e) => (e.labels && e.labels[0] || e).textContent.trim())"
    )
    assert names and all(names)
