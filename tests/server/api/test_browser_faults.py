"""The page when something is refused: it says so, asks again, pretends nothing. Needs what test_browser.py needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from audiocraft.config.serving import ServingConfig

from ..fakes import FakeEngine
from ..waiting import until
from . import browsing
from .browsing import CHROMIUM, PATIENCE, Visit
from .test_streams import serving

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; set AUDIOCRAFT_CHROMIUM"),
]
KEY = "k" * 32


@pytest.fixture
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as tools:
        try:
            started = tools.chromium.launch(executable_path=CHROMIUM, args=list(browsing.SWITCHES))
        except playwright.Error as error:
            pytest.skip(f"{CHROMIUM} does not start: {error}")
        yield started
        started.close()


def test_a_key_that_is_refused_is_asked_for_again(
    browser: Any, config: ServingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIOCRAFT_API_KEY", KEY)
    with serving(FakeEngine(), replace(config, require_key=True)) as client:
        page = browser.new_page()
        page.set_default_timeout(1000 * PATIENCE)
        page.goto(str(client.base_url))
        page.wait_for_selector("#secret", state="visible")
        assert page.is_hidden("#secret-error")
        page.fill("#secret", "wrong" * 8)
        page.check("#remember")
        page.click("#secret-form button")
        page.wait_for_selector("#secret-error", state="visible")
        page.fill("#secret", KEY)
        page.click("#secret-form button")
        until(lambda: page.text_content("#model-name") == "fake")
        assert page.evaluate("localStorage.getItem('audiocraft.key')") == KEY
        page.close()


def test_what_the_server_refuses_is_said_and_not_pretended(browser: Any, config: ServingConfig) -> None:
    with serving(FakeEngine(), config) as client:
        client.post(
            "/v1/generations", json={"prompt": "a river", "duration": 1}, headers={"Prefer": "wait=20"}
        )
        visit = Visit(browser, str(client.base_url))
        visit.page.route(
            "**/v1/generations/gen_*", lambda route: route.fulfill(status=500, json={"message": "no"})
        )
        visit.page.route("**/v1/models", lambda route: route.abort())
        visit.page.locator(".piece").hover()
        visit.page.locator(".piece .bin").click()
        visit.until("document.getElementById('server-state').textContent.includes('No.')")
        assert visit.page.locator(".piece").count() == 1  # it is not deleted, and does not look so
        visit.page.click("#open-models")
        visit.until("document.getElementById('models-error').textContent.includes('cannot be reached')")
        visit.complaints[:] = [one for one in visit.complaints if "Failed to load resource" not in one]
        visit.close()  # and no error was left to the console
