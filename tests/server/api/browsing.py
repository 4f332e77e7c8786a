"""The page as somebody uses it: a tab in a browser, what is asked of it, and what the browser complained about."""

from __future__ import annotations

import os
import shutil
import time
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from audiocraft.generation.request import GenerationRequest

from ..fakes import RATE

CHROMIUM = os.environ.get("AUDIOCRAFT_CHROMIUM") or next(
    filter(
        None, map(shutil.which, ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome"))
    ),
    None,
)
TIMED = os.environ.get("AUDIOCRAFT_TIMED") == "1"
PICTURES = os.environ.get("AUDIOCRAFT_SCREENSHOTS")
PATIENCE = 240.0
SWITCHES = (
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
)  # fmt: skip
PIECES = (
    "Calm piano with strings, 80 bpm, A minor", "Jazz with piano, bass and drums, 120 bpm, Bb major",
    "Dreamy music box waltz in C major, 96 bpm",
    "Happy folk with acoustic guitar and violin, 112 bpm, chords: G D Em C",
)  # fmt: skip


def axe() -> str:
    """The script of axe-core, which comes with the extra `browser`."""
    return resources.files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")


def tone_of(request: GenerationRequest) -> torch.Tensor:
    """A chord [1, N] instead of the fake's noise."""
    time_ = torch.arange(round(request.duration * RATE)) / RATE
    return sum(0.15 * torch.sin(2 * torch.pi * hertz * time_) for hertz in (220.0, 277.2, 329.6))[None]


class Visit:
    """A tab with the page, and everything the browser complained about."""

    def __init__(self, browser: Any, address: str, **context: Any) -> None:
        # In place of a browser, one of its contexts: then it is another tab beside those that are open there.
        beside = hasattr(browser, "new_cdp_session")
        context = {"viewport": {"width": 1280, "height": 900}, **context}
        self.context = browser if beside else browser.new_context(**context)
        self.page = self.context.new_page()
        self.prepare()
        self.page.set_default_timeout(1000 * PATIENCE)
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._console)
        self.page.goto(address)
        self.until("window.audiocraft && document.getElementById('model-name').textContent !== 'Models'")

    def prepare(self) -> None:
        """Called before the page is loaded."""

    def _console(self, message: Any) -> None:
        # A piece that was canceled before its first sound has no stream; the browser reports the answer that says so.
        if message.type in ("error", "warning") and "409" not in message.text:
            self.complaints.append(message.text)

    def ask(self, script: str) -> Any:
        # Not wait_for_function: it evaluates text inside the page, which the page's policy forbids.
        return self.page.evaluate(script)

    def until(self, script: str, seconds: float = PATIENCE) -> None:
        deadline = time.monotonic() + seconds
        while not self.ask(script):
            assert time.monotonic() < deadline, f"not within {seconds} s: {script}; {self.complaints}"
            self.page.wait_for_timeout(20)

    def generate(self, words: str) -> float:
        """Type and press the button -> seconds until sound leaves for the loudspeaker."""
        self.page.fill("#prompt", words)
        before = self.ask("audiocraft.stage.generation?.id ?? ''")
        began = time.monotonic()
        self.page.click("#generate")
        self.until(
            f"(audiocraft.stage.generation?.id ?? '') !== '{before}'"
            " && audiocraft.player.position > 0.02 && audiocraft.player.level() > 0.001"
        )
        return time.monotonic() - began

    def picture(self, name: str) -> None:
        if PICTURES:
            Path(PICTURES).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=str(Path(PICTURES, f"page-{name}.png")))

    def close(self) -> None:
        self.context.close()
        assert self.complaints == []


def download(visit: Visit, format: str) -> tuple[str, bytes]:
    """A file from the menu -> (its name, its bytes)."""
    visit.page.click("#download")
    with visit.page.expect_download() as waiting:
        visit.page.click(f"[data-format={format}]")
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def take_pictures(browser: Any, address: str) -> None:
    """The page in the middle of a piece: light, dark, and on a phone."""
    phone = {
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 2,
        "is_mobile": True,
        "has_touch": True,
    }
    for name, context in {
        "light": {"color_scheme": "light"}, "dark": {"color_scheme": "dark"}, "phone": phone,
    }.items():  # fmt: skip
        opened = Visit(browser, address, **context)
        opened.until("document.querySelectorAll('.piece').length > 1")
        opened.page.locator(".piece .start").nth(1).click()
        opened.until("audiocraft.player.position > 4")
        opened.picture(name)
        opened.close()
