"""The studio of the page in a real browser: songs, edits, podcasts and games, by pointer, touch and keys, in English
and Korean, on a desk and on a phone.

Needs what test_browser.py needs.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from audiocraft.config.serving import LeaseSettings, ServingConfig
from audiocraft.generation.request import GenerationRequest

from .. import fakes
from ..fakes import RATE, FakeEngine
from ..test_studio import phrase
from . import browsing
from .browsing import CHROMIUM, Visit
from .test_browser import MODELS
from .test_browser_language import KoreanVisit, english_in, words_on
from .test_streams import serving

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; set AUDIOCRAFT_CHROMIUM"),
]
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
SEATS = [("en", {}), ("en", PHONE), ("ko", {}), ("ko", PHONE)]
NAMES = ["english-desk", "english-phone", "korean-desk", "korean-phone"]
STILL = {
    "reduced_motion": "reduce"
}  # nothing is drawn while nothing happens: many browsers share a processor
DONE = "audiocraft.stage.generation?.status === 'succeeded'"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as tools:
        try:
            started = tools.chromium.launch(executable_path=CHROMIUM, args=list(browsing.SWITCHES))
        except playwright.Error as error:
            pytest.skip(f"{CHROMIUM} does not start: {error}")
        yield started
        started.close()


@pytest.fixture(scope="module")
def engine() -> FakeEngine:
    return FakeEngine(step_seconds=0.01)


@pytest.fixture(scope="module")
def site(engine: FakeEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    config = ServingConfig(
        data_dir=str(tmp_path_factory.mktemp("site")), music_model="fake", sound_model="noise", codec_model="codec",
        preload=(), lease=LeaseSettings(poll=0.05),
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fakes, "audio_of", phrase)
        with serving(engine, config, models=MODELS) as client:
            yield str(client.base_url)


class Seat:
    """Somebody at the page, and how often they have pressed something."""

    def __init__(self, browser: Any, site: str, language: str, context: dict[str, Any]) -> None:
        kind = KoreanVisit if language == "ko" else Visit
        self.visit = kind(browser, site, locale="ko-KR" if language == "ko" else "en-GB", **STILL, **context)
        self.page, self.clicks = self.visit.page, 0

    def press(self, what: str) -> None:
        self.clicks += 1
        self.page.locator(what).first.click()

    def make(self, kind: str) -> None:
        self.press(f"#kind label:has([value={kind}])")

    def until(self, script: str) -> None:
        """Wait until it is so; a piece that fails meanwhile says why."""
        self.visit.until(f"({script}) || audiocraft.stage.generation?.status === 'failed'")
        if not self.visit.ask(script):
            raise AssertionError(f"{script}: {self.stage()['error']}")

    def stage(self) -> dict[str, Any]:
        found: dict[str, Any] = self.visit.ask(
            "audiocraft.get(`/v1/generations/${audiocraft.stage.generation.id}`)"
        )
        return found

    def written(self) -> set[str]:
        """What people wrote: of all pieces the words, the names of sections and what is made of both."""
        pieces = self.visit.ask("audiocraft.get('/v1/generations?limit=100')")["data"]
        words = [text for one in pieces for text in (one["prompt"], one["metadata"].get("title"))]
        return {text for text in words if text}

    def file(self, entry: str) -> tuple[str, bytes]:
        """A file from the menu -> (its name, its bytes)."""
        self.press("#download")
        with self.page.expect_download() as waiting:
            self.press(f"#formats {entry}")
        return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


@pytest.fixture(params=SEATS, ids=NAMES)
def seat(request: pytest.FixtureRequest, browser: Any, site: str) -> Iterator[Seat]:
    language, context = request.param
    opened = Seat(browser, site, language, context)
    yield opened
    if language == "ko":
        assert english_in(words_on(opened.visit), but=("Elm", *opened.written())) == []
    assert opened.visit.ask("document.documentElement.scrollWidth <= innerWidth")
    opened.visit.close()


def song(seat: Seat) -> None:
    """A song of two sections with a bar each."""
    seat.make("song")
    for number, words in enumerate(("피아노", "드럼")):
        seat.page.locator("#song-parts textarea").nth(number).fill(words)
        seat.page.locator("#song-parts .bars").nth(number).select_option("1")
    seat.page.fill("#song-tempo", "160")
    seat.press("#song-make")
    seat.until("audiocraft.stage.generation?.kind === 'song' && " + DONE)


def test_a_first_song_takes_few_clicks(seat: Seat) -> None:
    seat.make("song")
    seat.press("#song-parts li:nth-child(1) textarea")
    seat.page.keyboard.type("calm piano")
    seat.press("#song-parts li:nth-child(2) textarea")
    seat.page.keyboard.type("strings and drums")
    for number in range(2):  # so that the test is short; nobody has to
        seat.page.locator("#song-parts .bars").nth(number).select_option("1")
    seat.press("#song-make")
    seat.until(DONE)
    name, content = seat.file("[data-format=wav]")
    assert seat.clicks <= 8 and name.endswith(".wav")
    made = seat.stage()
    assert soundfile.info(io.BytesIO(content)).duration == pytest.approx(made["duration"], abs=0.01)
    assert [one["prompt"] for one in made["request"]["sections"]] == ["calm piano", "strings and drums"]
    assert seat.page.locator("#sections button").count() == 2


def test_only_one_section_is_made_again_and_both_are_heard_at_the_same_moment(
    seat: Seat, engine: FakeEngine
) -> None:
    song(seat)
    first = seat.stage()
    seat.page.locator("#sections button").nth(1).click()
    seat.until("audiocraft.player.position >= 1.4")
    engine.requests.clear()
    seat.page.locator("#song-parts .again").nth(1).click()
    seat.until(f"audiocraft.stage.generation.id !== '{first['id']}' && {DONE}")
    assert [prompt for request in engine.requests for prompt in request.prompts] == ["드럼"]
    second = seat.stage()
    assert [one["fresh"] for one in second["result"]["sections"]] == [False, True]
    seat.until("document.querySelectorAll('#takes button').length === 2")
    seat.page.evaluate("audiocraft.player.pause(); audiocraft.player.seek(0.7)")
    seat.page.locator("#takes button").first.click()
    seat.until(f"audiocraft.stage.generation.id === '{first['id']}'")
    assert abs(seat.visit.ask("audiocraft.player.position") - 0.7) < 0.3
    seat.page.locator("#takes button").nth(1).click()
    seat.page.evaluate("document.activeElement.blur()")
    seat.page.keyboard.press("z")  # undo: what it was before
    seat.until(f"audiocraft.stage.generation.id === '{first['id']}'")


def test_sections_are_moved_added_and_removed_by_keys(seat: Seat) -> None:
    seat.make("song")
    names = "[...document.querySelectorAll('#song-parts .name')].map((input) => input.value)"
    before = seat.visit.ask(names)
    seat.page.locator("#song-parts textarea").first.focus()
    seat.page.keyboard.press("Alt+ArrowDown")
    assert seat.visit.ask(names) == before[::-1]
    seat.page.locator("#song-add").focus()
    seat.page.keyboard.press("Enter")
    assert len(seat.visit.ask(names)) == 3
    seat.page.keyboard.type("flute")  # the new section has the focus
    assert seat.page.locator("#song-parts textarea").nth(2).input_value().endswith("flute")
    seat.page.locator("#song-parts .bin").nth(2).focus()
    seat.page.keyboard.press("Enter")
    assert seat.visit.ask(names) == before[::-1]
    seat.page.keyboard.press("Control+Enter")  # nothing is written: it says which section is meant
    assert seat.page.is_visible("#song-error")
    assert seat.visit.ask("document.activeElement.tagName") == "TEXTAREA"


def test_a_piece_is_edited_and_had_back(seat: Seat) -> None:
    song(seat)
    first = seat.stage()
    for edit, longer in (("extend", True), ("end", True), ("loop", False), ("restyle", False)):
        seat.visit.ask("audiocraft.player.pause()")
        seat.press("#edit")
        seat.press(f"#edit-kind label:has([value={edit}])")
        if edit == "restyle":
            seat.page.fill("#edit-words", "house")
        else:
            seat.page.locator("#edit-bars").fill("1")
        seat.press("#edit-go")
        seat.until(f"audiocraft.stage.generation.id !== '{first['id']}' && {DONE}")
        made = seat.stage()
        assert made["kind"] == "edit" and made["request"]["edit"] == edit, made
        assert (made["duration"] > first["duration"] + 0.5) == longer
        seat.press("#back")
        seat.until(f"audiocraft.stage.generation.id === '{first['id']}'")
    assert seat.page.locator("#takes button").count() == 5  # all of them beside what they were made from


def test_a_marked_region_is_made_anew(seat: Seat) -> None:
    seat.make("music")
    seat.page.fill("#prompt", "피아노 160 bpm")
    seat.page.locator("#duration").fill("6")
    seat.press("#generate")
    seat.until("audiocraft.stage.generation?.kind === 'music' && " + DONE)
    first = seat.stage()
    seat.page.evaluate("audiocraft.player.pause(); audiocraft.player.seek(2); document.activeElement.blur()")
    seat.page.keyboard.press("p")
    seat.page.fill("#region-words", "플루트")
    seat.page.keyboard.press("Enter")
    seat.until(f"audiocraft.stage.generation.id !== '{first['id']}' && {DONE}")
    made = seat.stage()
    assert made["request"]["edit"] == "redo" and made["prompt"] == "플루트"
    assert made["result"]["changed"] == pytest.approx([2.0, 4.0], abs=0.2)


def test_a_voice_becomes_an_episode(seat: Seat, tmp_path: Path) -> None:
    voice = tmp_path / "Elm.wav"
    soundfile.write(
        voice, phrase(GenerationRequest(prompts=("x",), duration=5.0, seeds=(4,)))[0].numpy(), RATE
    )
    seat.make("podcast")
    seat.press("#podcast-make")
    assert seat.page.is_visible("#podcast-error")
    seat.page.set_input_files("#voice-file", voice)
    seat.page.wait_for_selector("#voice-there:visible")
    seat.press("#podcast-themes button")
    seat.press("#podcast-fine summary")
    seat.page.fill("#podcast-chapters", "00:00 Elm\n00:02 Elm")
    seat.page.select_option("#podcast-music", "4")
    seat.press("#podcast-make")
    seat.until("audiocraft.stage.generation?.kind === 'podcast' && " + DONE)
    name, content = seat.file("[data-file='episode.mp3']")
    assert name == "episode.mp3" and b"CHAP" in content[:4096]
    assert seat.stage()["result"]["loudness"] == pytest.approx(-16, abs=0.5)


def test_a_game_gets_its_bank(seat: Seat) -> None:
    seat.make("bank")
    seat.page.fill("#bank-words", "Elm")
    seat.press("#bank-form > label.check")
    seat.press("#bank-fine summary")
    seat.page.fill("#bank-title", "Elm")
    seat.page.fill("#bank-tempo", "160")
    seat.page.select_option("#bank-bars", "4")
    seat.press("#bank-make")
    seat.until("audiocraft.stage.generation?.kind === 'bank' && " + DONE)
    assert seat.page.locator("#sections button").count() == 4
    name, content = seat.file("[data-file='bank.zip']")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        bank = json.loads(archive.read("elm/bank.json"))
    assert name == "bank.zip" and len(bank["states"]) == 4 and len(bank["stingers"]) == 3


class Looker:
    """axe-core on a page: what it finds, by the place where it was found."""

    def __init__(self, page: Any) -> None:
        self.page, self.found, self.seen = page, list[str](), 0
        page.evaluate(browsing.axe())

    def look(self, place: str) -> None:
        said = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        self.seen += 1
        assert len(said["passes"]) > 10, f"{place}: axe-core has not looked at much"
        self.found += [
            f"{place}: {one['id']} {[node['html'][:160] for node in one['nodes']]}"
            for one in said["violations"]
        ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("language", "context"), SEATS, ids=NAMES)
def test_nothing_stands_in_the_way(
    browser: Any, site: str, language: str, context: dict[str, Any], scheme: str, tmp_path: Path
) -> None:
    """axe-core finds nothing, whatever is open: every form, dialog, bar and menu, and a piece in every state."""
    seat = Seat(browser, site, language, {**context, "color_scheme": scheme, "bypass_csp": True})
    looker, page = Looker(seat.page), seat.page
    look = looker.look
    look("open")
    for kind, button in (("music", "#generate"), ("song", "#song-make"), ("podcast", "#podcast-make")):
        seat.make(kind)
        page.locator("#prompt").fill("") if kind == "music" else None
        for panel in page.locator("form:not([hidden]) details:not([open]) > summary").all():
            if panel.is_visible():
                panel.click()
        look(f"{kind}, everything open")
        page.locator(button).click()  # something is missing: it says what
        look(f"{kind}, incomplete")
    seat.make("bank")
    page.locator("#bank-fine summary").click()
    look("bank")
    for button in ("#open-models", "#open-keys"):
        if page.is_visible(button):
            page.locator(button).click()
            look(button)
            page.keyboard.press("Escape")
    page.evaluate("document.getElementById('secret-dialog').showModal()")
    look("secret")
    page.evaluate("document.getElementById('secret-dialog').close()")

    seat.make("podcast")
    soundfile.write(
        tmp_path / "Elm.wav",
        phrase(GenerationRequest(prompts=("x",), duration=3.0, seeds=(4,)))[0].numpy(),
        RATE,
    )
    page.set_input_files("#voice-file", tmp_path / "Elm.wav")
    page.wait_for_selector("#voice-there:visible")
    look("voice")

    seat.make("music")
    page.fill("#prompt", "crawl")
    page.locator("#generate").click()
    seat.until("audiocraft.stage.generation?.prompt === 'crawl' && audiocraft.player.piece?.length > 0")
    look("in the making")
    page.locator("#cancel").click()
    seat.until("audiocraft.stage.generation?.status === 'canceled'")
    look("canceled")

    song(seat)
    seat.visit.ask("audiocraft.player.pause()")
    look("song")
    page.locator("#download").click()
    look("downloads")
    page.keyboard.press("Escape")
    for edit in ("extend", "loop", "end", "restyle"):
        page.locator("#edit").click()
        page.locator(f"#edit-kind label:has([value={edit}])").click()
        look(f"edit, {edit}")
        page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("r")
    look("renaming")
    page.keyboard.press("Escape")

    seat.make("music")
    page.fill("#prompt", "piano 160 bpm")
    page.locator("#generate").click()
    seat.until("audiocraft.stage.generation?.kind === 'music' && " + DONE)
    page.evaluate("audiocraft.player.pause(); document.activeElement.blur()")
    page.keyboard.press("p")
    page.wait_for_selector("#region-bar:visible")
    look("region")
    page.keyboard.press("Escape")
    page.locator("#inspect").click()
    seat.until("document.querySelector('#analysis dl, #analysis table, #analysis .error, #analysis li')")
    look("analysis")
    page.keyboard.press("Escape")
    page.locator("#compare").click()
    seat.until(
        "!document.getElementById('compare-play').disabled || !document.getElementById('compare-error').hidden"
    )
    look("compared")
    page.keyboard.press("Escape")
    page.locator("#extend").click()  # audio to go on from, in the form
    page.wait_for_selector("#attached:visible")
    look("audio to go on from")
    seat.visit.context.close()
    assert looker.found == []


def test_of_several_takes_the_best_is_kept(seat: Seat) -> None:
    seat.make("music")
    seat.page.fill("#prompt", "피아노")
    seat.page.locator("#duration").fill("1")
    seat.press("#fine summary")
    seat.page.select_option("#best-of", "2")
    seat.page.select_option("#budget", "5min")
    seat.press("#generate")
    seat.until("audiocraft.stage.generation?.kind === 'music' && " + DONE)
    made = seat.stage()
    assert (made["request"]["takes"], made["request"]["budget"]) == (2, "5min")
    assert made["result"]["takes"]["of"] == 2
    said = seat.visit.ask(
        "[...document.querySelectorAll('#stage *')].map((one) => one.textContent).join(' ')"
    )
    assert any(words in said for words in (f"take {made['result']['takes']['take']} of 2", "테이크 2개 중"))
    seat.page.locator("#reuse").click()
    assert seat.page.input_value("#best-of") == "2" and seat.page.input_value("#budget") == "5min"
    seat.page.select_option("#best-of", "")
    seat.page.select_option("#budget", "")
