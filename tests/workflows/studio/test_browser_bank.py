"""A bank in a real browser: its page plays it, gapless, and changes at bar lines. Needs Playwright and Chromium; skips
without."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api")

from audiocraft.music.planning import ScoreSettings
from audiocraft.workflows.studio.dynamic import GamePiece
from audiocraft.workflows.studio.game import GameAudioSystem

from ...server.api.browsing import CHROMIUM, PATIENCE, SWITCHES
from .makers import RATE, Maker

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; set AUDIOCRAFT_CHROMIUM"),
]
# Twelve seconds of the bank, rendered as fast as the browser can: calm, and from 3 s on battle is asked for.
RENDERED = """async () => {
  const { load, Music } = await import("./player.js");
  const bank = await (await fetch("bank.json")).json();
  const context = new OfflineAudioContext(1, 12 * bank.sample_rate, bank.sample_rate);
  const music = new Music(context, await load(context), 0);
  const at = music.ask(0.9, "forest", 3);
  const audio = (await context.startRendering()).getChannelData(0);
  const lengths = Object.values((await load(context)).layers).map((buffer) => buffer.length);
  return { at, lengths, audio: Array.from(audio) };
}"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *said: object) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bank")
    make: Any = GameAudioSystem
    piece = GamePiece(seed=2, bars=2, score=ScoreSettings(tempo=120.0, key="A minor"))
    system = make(Maker(), Maker(), piece=piece, folder=folder / "kept")
    path: Path = system.export(
        folder / "bank", ["forest", "city"], environments=["forest"], ambience_seconds=20
    )
    return path.parent


@pytest.fixture(scope="module")
def address(bank: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(bank)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Any]:
    with playwright.sync_playwright() as tools:
        try:
            browser = tools.chromium.launch(
                executable_path=CHROMIUM, args=[*SWITCHES, "--autoplay-policy=no-user-gesture-required"]
            )
        except playwright.Error as error:
            pytest.skip(f"{CHROMIUM} does not start: {error}")
        opened = browser.new_page()
        opened.set_default_timeout(1000 * PATIENCE)
        opened.goto(address)
        yield opened
        browser.close()


def test_it_plays_gapless_and_changes_at_a_bar_line(page: Any, bank: Path) -> None:
    import json

    import numpy as np
    import soundfile

    said = json.loads((bank / "bank.json").read_text("utf-8"))
    found = page.evaluate(RENDERED)
    assert found["lengths"] == [said["samples"]] * len(said["layers"])  # not a sample more or less
    assert found["at"] == 4.0  # the next line of bars of two seconds
    audio = np.array(found["audio"])
    layers = {name: soundfile.read(bank / one["file"])[0] for name, one in said["layers"].items()}
    place = soundfile.read(bank / said["ambiences"]["forest"]["file"])[0]
    states = {state["name"]: state for state in said["states"]}

    def expected(state: str, low: float, high: float) -> Any:
        places = np.arange(round(low * RATE), round(high * RATE))
        heard = sum(layers[name][places % said["samples"]] for name in states[state]["layers"])
        return heard * 10 ** (states[state]["gain_db"] / 20) + 0.5 * place[places % len(place)]

    # Over the seam of the loop (at 4 s and 8 s) as well, it is what the files hold.
    for state, low, high in (("forest-calm", 0.2, 3.98), ("forest-battle", 4.1, 12.0)):
        wanted = expected(state, low, high)
        heard = audio[round(low * RATE) : round(high * RATE)]
        assert np.abs(heard - wanted).max() < 0.01, state


def test_its_page_plays_and_is_told_what_happens(page: Any) -> None:
    page.click("#play")
    page.wait_for_selector("#tension:enabled")
    assert page.inner_text("#now") == "forest-calm"
    page.fill("#tension", "0.9")
    assert page.inner_text("#now") == "forest-battle"
    page.select_option("#location", "city")
    assert page.inner_text("#now") == "city-battle"
    page.click("text=victory")
