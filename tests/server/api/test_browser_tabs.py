"""Many pieces and several tabs at once: browsers keep six connections per server for all tabs together, and a page that
holds them open freezes itself and its neighbours. Needs what test_browser.py needs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from audiocraft.config.serving import ServingConfig

from ..fakes import FakeEngine
from . import browsing
from .browsing import CHROMIUM, PATIENCE, Visit
from .test_streams import serving

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; set AUDIOCRAFT_CHROMIUM"),
]
MOST_SOCKETS = 2
"""The WebSockets of a tab: one tells of all pieces, one brings the sound of the piece on the stage."""


class Watched(Visit):
    """A tab whose open connections are counted."""

    def __init__(self, browser: Any, address: str, **context: Any) -> None:
        self.asked: set[Any] = set()
        self.sockets: set[Any] = set()
        super().__init__(browser, address, **context)

    def prepare(self) -> None:
        self.page.on("request", lambda request: self.asked.add(request))
        for event in ("requestfinished", "requestfailed"):
            self.page.on(event, lambda request: self.asked.discard(request))
        self.page.on("websocket", self._socket)

    def _socket(self, socket: Any) -> None:
        self.sockets.add(socket)
        socket.on("close", lambda closed: self.sockets.discard(closed))

    def holds_little(self) -> None:
        """Everything that was asked is answered soon, and nothing but the WebSockets stays open."""
        deadline = time.monotonic() + PATIENCE
        while self.asked:
            assert time.monotonic() < deadline, [request.url for request in self.asked]
            self.page.wait_for_timeout(50)
        assert len(self.sockets) <= MOST_SOCKETS

    def quick(self, what: str, act: Callable[[], object], then: str) -> None:
        """Do something and wait for what follows: within a second, where the machine is idle."""
        began = time.monotonic()
        act()
        self.until(then)
        took = time.monotonic() - began
        sys.stdout.write(f"{what}: {took:.2f} s\n")  # `-s` shows it
        assert not browsing.TIMED or took < 1.0, what


@pytest.fixture
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as tools:
        try:
            started = tools.chromium.launch(executable_path=CHROMIUM, args=list(browsing.SWITCHES))
        except playwright.Error as error:
            pytest.skip(f"{CHROMIUM} does not start: {error}")
        yield started
        started.close()


@pytest.fixture
def site(config: ServingConfig) -> Iterator[str]:
    """The address of a server whose pieces are never finished: slower than any real time."""
    config = replace(config, lease=replace(config.lease, drain_seconds=0.5))
    with serving(FakeEngine(), config) as client:
        yield str(client.base_url)


def named(words: str) -> str:
    return f"[...document.querySelectorAll('.piece .prompt')].some((one) => one.textContent === '{words}')"


def test_six_pieces_and_a_second_tab_leave_every_button_alive(browser: Any, site: str) -> None:
    one = Watched(browser, site)
    one.page.fill("#duration", "1")
    one.generate("the first one, with which everything is loaded")
    one.page.fill("#duration", "10")
    for number in range(6):
        one.page.fill("#prompt", f"crawl {number}")
        one.quick(
            f"generate piece {number + 1}",
            lambda: one.page.click("#generate"),
            f"audiocraft.stage.generation?.prompt === 'crawl {number}' && audiocraft.player.piece.length > 0",
        )
    one.until("audiocraft.jobs.active.length === 6 && audiocraft.jobs.watching")
    one.holds_little()
    # The piece on the stage goes on where it was, whatever was looked at meanwhile.
    one.quick(
        "another piece",
        lambda: one.page.locator(".piece .prompt").nth(3).click(),
        "audiocraft.player.piece.length > 0",
    )
    one.holds_little()

    began = time.monotonic()
    two = Watched(one.context, site)
    two.until("document.querySelectorAll('.piece').length === 7")
    sys.stdout.write(f"second tab: {time.monotonic() - began:.2f} s\n")
    two.holds_little()
    two.quick(
        "cancel in the second tab",
        lambda: two.page.locator(".piece .stop").nth(1).click(),
        "audiocraft.jobs.active.length === 5",
    )
    one.until("audiocraft.jobs.active.length === 5")  # and the first tab knows
    one.quick(
        "cancel", lambda: one.page.click("#cancel"), "audiocraft.stage.generation.status === 'canceled'"
    )
    one.quick(
        "filter",
        lambda: one.page.check("input[name=filter][value=active]", force=True),
        "document.querySelectorAll('.piece').length === 4",
    )
    one.quick(
        "no filter",
        lambda: one.page.check("input[name=filter][value=all]", force=True),
        "document.querySelectorAll('.piece').length === 7",
    )
    one.quick(
        "search",
        lambda: one.page.fill("#search", "crawl 3"),
        "document.querySelectorAll('.piece').length === 1",
    )
    one.page.fill("#search", "")
    one.quick("models", lambda: one.page.click("#open-models"), "document.querySelector('#models li')")
    one.page.keyboard.press("Escape")
    two.page.fill("#prompt", "crawl from another tab")
    one.quick(
        "a piece of the second tab in the first",
        lambda: two.page.click("#generate"),
        named("crawl from another tab"),
    )
    one.holds_little()
    two.holds_little()
    for visit in (two, one):
        visit.page.close()
        assert visit.complaints == []


def test_titles_and_deletions_reach_other_tabs(browser: Any, site: str) -> None:
    one = Watched(browser, site)
    one.page.fill("#prompt", "crawl along")
    one.page.click("#generate")
    one.until("audiocraft.player.piece?.length > 0")
    one.page.click("#cancel")
    one.until("audiocraft.stage.generation.status === 'canceled'")
    two = Watched(one.context, site)
    two.until(named("crawl along"))
    one.page.evaluate("document.activeElement.blur()")
    one.page.keyboard.press("r")
    one.page.fill("#name", "Evening")
    one.page.keyboard.press("Enter")
    for visit in (one, two):
        visit.until(named("Evening"))
    assert one.page.inner_text("#stage-words") == "“crawl along”"
    one.page.get_by_role("button", name="Delete “Evening”").click()
    assert one.page.locator(".piece").count() == 0
    one.page.keyboard.press("z")  # not meant, after all
    one.until(named("Evening"))
    one.page.get_by_role("button", name="Delete “Evening”").click()
    two.until(f"!{named('Evening')}")  # when it is too late to take it back
    one.page.reload()
    one.until("window.audiocraft && document.getElementById('pieces-empty').checkVisibility()")
    for visit in (two, one):
        visit.page.close()
        assert visit.complaints == []


def test_what_was_written_is_there_after_a_reload(browser: Any, site: str) -> None:
    visit = Watched(browser, site)
    visit.page.fill("#prompt", "a piano that nobody tuned")
    visit.page.check("input[name=kind][value=sound]", force=True)
    assert visit.page.input_value("#prompt") == ""
    assert visit.page.locator("#ideas button:visible").count() > 2
    visit.page.fill("#prompt", "rain")
    visit.page.reload()
    visit.until("document.getElementById('prompt').value === 'rain'")
    visit.page.check("input[name=kind][value=music]", force=True)
    assert visit.page.input_value("#prompt") == "a piano that nobody tuned"
    visit.close()


def test_without_websockets_the_page_asks(browser: Any, site: str) -> None:
    visit = Watched(browser, site)
    # As behind a proxy that knows none of them: each is closed before it was open.
    visit.page.add_init_script(
        """window.WebSocket = class extends EventTarget { send() {} close() {} constructor() { super();
        setTimeout(() => { this.dispatchEvent(new Event("close")); this.onclose?.(); }); } };"""
    )
    visit.page.reload()
    visit.until("window.audiocraft && document.getElementById('model-name').textContent !== 'Models'")
    visit.page.fill("#duration", "2")
    visit.page.fill("#prompt", "calm")
    visit.page.click("#generate")
    visit.until("audiocraft.player.piece?.complete && audiocraft.player.piece.length === 16000")
    visit.until("audiocraft.stage.generation.status === 'succeeded'")
    visit.page.fill("#prompt", "crawl")
    visit.page.click("#generate")
    visit.until("audiocraft.stage.generation.prompt === 'crawl' && audiocraft.player.piece.length > 0")
    assert sum("/stream" in request.url for request in visit.asked) <= 1
    visit.close()
