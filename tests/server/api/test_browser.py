"""The page in a real browser: words become sound, progress moves, files come down, audio goes up, cancel stops.

Needs Playwright (`pip install 'audiocraft-custom[browser]'`) and Chromium on the PATH or in AUDIOCRAFT_CHROMIUM; skips
without. AUDIOCRAFT_TIMED=1 also asserts how soon sound is heard, which means something only on an idle machine;
AUDIOCRAFT_SCREENSHOTS=folder keeps pictures.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from audiocraft.codec import open_acx
from audiocraft.config.serving import LeaseSettings, ServingConfig
from audiocraft.music.sound_kinds import SoundKinds
from audiocraft.server.catalogue import ModelFacts
from audiocraft.server.worker.local_engine import LocalEngine

from .. import fakes
from ..fakes import FACTS, RATE, FakeEngine
from ..waiting import until, until_status
from . import browsing
from .browsing import CHROMIUM, PATIENCE, PICTURES, PIECES, Visit, download, take_pictures, tone_of
from .test_streams import serving

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; set AUDIOCRAFT_CHROMIUM"),
]
# The page of a server that has a model for sounds as well.
MODELS = {
    "noise": ModelFacts(
        name="noise",
        family="audiogen",
        kind="lm",
        makes="sound",
        guidance=4.0,
        sound_kinds=SoundKinds({"rain": (), "dog": (), "door": ()}, frozenset({"rain"})),
    ),
    "filler": ModelFacts(
        name="filler",
        family="magnet",
        kind="lm",
        makes="music",
        takes=frozenset({"continuation", "keep"}),
        settings={"temperature": 3.0, "top_k": 0, "top_p": 0.9, "decoding_steps": [20, 10, 10, 10]},
    ),
    "flow": ModelFacts(
        name="flow",
        family="jasco",
        kind="lm",
        makes="music",
        takes=frozenset({"chords", "keep"}),
        settings={"flow_solver": "midpoint", "flow_steps": 25},
    ),
    **FACTS,
}


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
    return FakeEngine(step_seconds=0.12)


@pytest.fixture(scope="module")
def site(engine: FakeEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with the fake engine."""
    data = tmp_path_factory.mktemp("site")
    config = ServingConfig(
        data_dir=str(data), music_model="fake", sound_model="noise", codec_model="codec", preload=(),
        lease=LeaseSettings(poll=0.05),
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fakes, "audio_of", tone_of)
        with serving(engine, config, models=MODELS) as client:
            yield str(client.base_url)


@pytest.fixture
def visit(browser: Any, site: str) -> Iterator[Visit]:
    opened = Visit(browser, site)
    yield opened
    opened.close()


def test_words_become_sound_and_a_file(visit: Visit) -> None:
    visit.page.evaluate(
        """() => { window.seen = []; const bar = document.getElementById("progress");
        new MutationObserver(() => seen.push(Number(bar.ariaValueNow))).observe(bar, { attributes: true }); }"""
    )
    heard = visit.generate("Calm piano")
    assert heard < (2.0 if browsing.TIMED else PATIENCE)
    visit.until("audiocraft.stage.generation.status === 'succeeded'")
    seen = visit.ask("window.seen")
    assert seen == sorted(seen)
    assert any(0 < percent < 100 for percent in seen)
    start = visit.ask("audiocraft.player.position")
    visit.until(f"audiocraft.player.position > {start} + 0.3 || !audiocraft.player.wanted")
    for format, suffix in (
        ("wav", ".wav"),
        ("flac", ".flac"),
        ("mp3", ".mp3"),
        ("opus", ".opus"),
        ("acx", ".acx"),
    ):
        name, content = download(visit, format)
        assert name.startswith("calm-piano-")
        assert name.endswith(suffix)
        if format == "acx":
            with open_acx(io.BytesIO(content)) as coded:
                assert coded.seconds == pytest.approx(10.0, abs=0.3) and coded.header.model == "codec"
            continue
        samples, rate = soundfile.read(io.BytesIO(content))
        assert len(samples) / rate == pytest.approx(10.0, abs=0.3)
        assert float(np.sqrt((samples**2).mean())) > 0.05


def test_it_plays_seeks_repeats_and_ends_by_keys(visit: Visit) -> None:
    visit.page.fill("#duration", "2")
    visit.generate("short")
    visit.until("audiocraft.stage.generation.status === 'succeeded'")
    visit.until("!audiocraft.player.wanted")
    assert visit.ask("audiocraft.player.position") == pytest.approx(2.0, abs=0.05)
    visit.page.focus("#wave")
    visit.page.keyboard.press("Home")
    assert visit.ask("audiocraft.player.position") == 0
    visit.page.keyboard.press("ArrowRight")
    assert visit.ask("audiocraft.player.position") == pytest.approx(1.0, abs=0.01)
    visit.until("document.querySelector('#wave').getAttribute('aria-valuetext').includes('0:01 of 0:02')")
    visit.page.evaluate("document.activeElement.blur()")
    visit.page.keyboard.press(" ")
    visit.until("audiocraft.player.wanted && audiocraft.player.position > 1.05")
    visit.page.keyboard.press("/")
    assert visit.ask("document.activeElement.id") == "search"
    visit.page.keyboard.press("Escape")
    visit.page.keyboard.press("n")
    assert visit.ask("document.activeElement.id") == "prompt"


def test_original_and_codec_are_heard_at_the_same_moment(visit: Visit) -> None:
    """The slider changes what sounds and nothing else: all versions run on together, at one place of the piece."""
    visit.page.fill("#duration", "4")
    visit.generate("to compare")
    visit.until("audiocraft.stage.generation.status === 'succeeded'")
    visit.page.click("#compare")
    visit.until("!document.getElementById('compare-play').disabled && audiocraft.comparison.heard === 4")
    assert not visit.ask("audiocraft.player.wanted")
    assert re.fullmatch(r"4 of 4 · [\d.]+ kb/s", visit.page.inner_text("#compare-shown"))
    visit.page.click("#compare-play")
    visit.until("audiocraft.comparison.playing && audiocraft.comparison.position > 0.2")
    rates = []
    for place, heard in ((1, 1), (5, 0), (2, 2)):
        before, began = visit.ask("[audiocraft.comparison.position, performance.now()]")
        visit.page.evaluate(
            "place => { const slider = document.getElementById('compare-books'); slider.value = place;"
            " slider.dispatchEvent(new Event('input')); }",
            place,
        )
        visit.until(f"audiocraft.comparison.heard === {heard}")
        after, ended = visit.ask("[audiocraft.comparison.position, performance.now()]")
        # Time went on as it does on the wall, round and round the four seconds.
        apart = ((after - before) - (ended - began) / 1000 + 2) % 4 - 2
        assert abs(apart) < (0.1 if browsing.TIMED else 0.5)
        text = visit.page.inner_text("#compare-shown")
        assert (text == "Original") == (heard == 0)
        rates += [float(text.split("·")[1].split()[0])] if heard else []
    assert rates[0] < rates[1]
    place = visit.ask("audiocraft.comparison.position")
    visit.page.click("#compare-play")
    paused = visit.ask("audiocraft.comparison.position")
    visit.page.wait_for_timeout(60)
    assert visit.ask("audiocraft.comparison.position") == paused != place
    with visit.page.expect_download() as waiting:
        visit.page.click("#compare-save")
    assert waiting.value.suggested_filename.endswith(".acx")
    with open_acx(str(waiting.value.path())) as coded:
        assert coded.header.codebooks == 2 and coded.seconds == pytest.approx(4.0, abs=0.1)
    visit.page.keyboard.press("Escape")


def test_cancel_stops_a_piece(visit: Visit) -> None:
    visit.page.fill("#prompt", "hang")
    visit.page.click("#generate")
    visit.page.click("#cancel")
    visit.until("audiocraft.stage.generation.status === 'canceled'")
    assert visit.page.inner_text("#stage-status") == "Canceled"
    assert visit.page.is_hidden("#cancel")


def test_a_melody_is_uploaded_and_followed(visit: Visit, engine: FakeEngine, tmp_path: Path) -> None:
    file = tmp_path / "whistle.flac"
    soundfile.write(file, 0.3 * np.sin(np.arange(RATE) * 0.3), RATE)
    visit.page.set_input_files("#file", str(file))
    visit.page.wait_for_selector("#attached:visible")
    assert visit.page.inner_text("#attached-name") == "whistle.flac"
    visit.page.check("input[name=use][value=melody]", force=True)
    visit.generate("with strings")
    request = engine.requests[-1]
    assert request.reference_audio is not None
    assert request.reference_audio[0] is not None
    assert request.reference_audio[0].shape[-1] == RATE
    visit.page.click("#detach")
    assert visit.page.is_hidden("#attached")


def test_the_microphone_is_recorded(visit: Visit, engine: FakeEngine) -> None:
    visit.page.click("#record")
    visit.page.wait_for_timeout(1500)
    visit.page.click("#record")
    visit.page.wait_for_selector("#attached:visible")
    visit.generate("go on")
    prompt = engine.requests[-1].prompt_audio
    assert prompt is not None
    assert prompt.abs().max() > 0.001


def test_variations_are_found_again_and_kept(visit: Visit) -> None:
    visit.page.check("input[name=variations][value='2']", force=True)
    visit.page.fill("#duration", "1")
    visit.generate("zither at dawn")
    visit.page.fill("#search", "zither")
    visit.until("document.querySelectorAll('.piece').length === 2")
    visit.page.locator(".piece .star").first.click()
    visit.page.check("input[name=filter][value=starred]", force=True)
    visit.until("document.querySelectorAll('.piece').length === 1")
    visit.page.reload()
    visit.until("document.querySelectorAll('.piece').length >= 2")
    visit.page.locator(".piece .bin").first.click()
    visit.until("document.activeElement.classList.contains('prompt')")


def test_takes_are_compared_at_the_same_moment(visit: Visit) -> None:
    visit.page.check("input[name=variations][value='2']", force=True)
    visit.page.fill("#duration", "4")
    visit.generate("two of a kind")
    visit.until("document.querySelectorAll('#takes button').length === 2")
    takes = "audiocraft.jobs.takesOf(audiocraft.stage.generation)"
    visit.until(f"{takes}.every((one) => one.status === 'succeeded')")
    assert len(set(visit.ask(f"{takes}.map((one) => one.seed)"))) == 2
    visit.page.evaluate("document.activeElement.blur(); audiocraft.player.pause(); audiocraft.player.seek(2)")
    visit.page.keyboard.press("2")
    visit.until("audiocraft.player.piece.complete")
    assert visit.ask("audiocraft.player.position") == pytest.approx(2.0, abs=0.01)
    assert visit.page.get_attribute("#takes button:nth-child(2)", "aria-pressed") == "true"
    visit.page.keyboard.press("v")
    visit.until("document.querySelectorAll('#takes button').length === 3")
    visit.until("audiocraft.stage.generation.status === 'succeeded'")
    visit.page.reload()
    visit.until(
        "window.audiocraft?.stage.generation && document.querySelectorAll('#takes button').length === 3"
    )


def test_only_what_was_changed_is_asked_for(visit: Visit, engine: FakeEngine) -> None:
    visit.page.fill("#duration", "1")
    visit.page.click("#fine summary")
    assert visit.page.is_visible("#tempo")  # the model for music follows a tempo, that for sounds does not
    visit.generate("as it is")
    asked = engine.requests[-1]
    assert (asked.guidance.coef, asked.sampling.top_k, asked.sampling.temperature) == (None, None, None)
    visit.page.fill("#guidance", "5.5")
    visit.page.fill("#top-k", "40")
    visit.page.fill("#tempo", "96")
    visit.page.select_option("#key", "C major")
    visit.page.fill("#chords", "Am, F, C")
    assert visit.page.inner_text("#fine-summary") == "5 changed"
    visit.generate("as I want it")
    asked = engine.requests[-1]
    assert (asked.guidance.coef, asked.sampling.top_k) == (5.5, 40)
    assert asked.prompts == ("as I want it",)  # the fields stand beside the words, and win
    assert (asked.score.tempo, asked.score.key, asked.score.chords) == (96, "C major", ("Am", "F", "C"))
    visit.page.click("#reset")
    visit.page.check("input[name=kind][value=sound]", force=True)
    assert visit.page.inner_text("#guidance-shown").startswith("4.0")
    assert visit.page.is_hidden("#tempo")
    visit.generate("rain")
    assert engine.requests[-1].guidance.coef is None
    assert visit.ask("audiocraft.stage.generation.model") == "noise"


def test_each_model_shows_its_own_settings(visit: Visit, engine: FakeEngine) -> None:
    visit.page.fill("#duration", "1")
    visit.page.click("#fine summary")
    assert visit.page.is_hidden("#passes") and visit.page.get_attribute("#top-k", "placeholder") == "250"
    visit.page.select_option("#model", "filler")
    assert visit.page.get_attribute("#passes", "placeholder") == "20, 10, 10, 10"
    assert visit.page.inner_text("#temperature-shown").startswith("3.00")
    visit.page.fill("#passes", "8, 4")
    visit.generate("with fewer passes")
    asked = engine.requests[-1]
    assert (asked.masked.steps, asked.sampling.temperature, asked.sampling.top_k) == ((8, 4), None, None)
    visit.page.select_option("#model", "flow")
    assert visit.page.is_hidden("#temperature") and visit.page.is_visible("#flow-steps")


def test_bars_have_the_tempo_of_the_words(visit: Visit) -> None:
    visit.page.fill("#duration", "8")
    visit.page.click("#fine summary")
    visit.page.select_option("#model", "flow")
    visit.page.fill("#lane-text", "C | Am F")
    visit.page.fill("#prompt", "folk, 120 bpm")
    cells = visit.page.locator("#lane [role=slider]")
    assert [cells.nth(number).get_attribute("aria-valuenow") for number in range(6)] == [
        "0",
        "2",
        "3",
        "4",
        "6",
        "7",
    ]


def test_chords_are_typed_and_moved(visit: Visit, engine: FakeEngine) -> None:
    visit.page.fill("#duration", "8")
    visit.page.click("#fine summary")
    assert visit.page.is_hidden("#lane-text")
    visit.page.select_option("#model", "flow")
    visit.page.fill("#lane-text", "C | Am F")
    cells = visit.page.locator("#lane [role=slider]")
    assert [cells.nth(number).inner_text() for number in range(3)] == ["C", "Am", "F"]
    cells.nth(1).focus()
    visit.page.keyboard.press("ArrowLeft")
    assert visit.page.input_value("#lane-text") == "C:0 Am:3.75 F:6"
    cells.nth(2).scroll_into_view_if_needed()
    box, lane = cells.nth(2).bounding_box(), visit.page.locator("#lane").bounding_box()
    assert box is not None and lane is not None
    visit.page.mouse.move(box["x"] + 5, box["y"] + 5)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + 5 - lane["width"] / 8, box["y"] + 5, steps=3)
    visit.page.mouse.up()
    assert visit.page.input_value("#lane-text") == "C:0 Am:3.75 F:5"
    visit.generate("strings")
    assert engine.requests[-1].controls.chords == (("C", 0.0), ("Am", 3.75), ("F", 5.0))
    cells.nth(0).focus()
    visit.page.keyboard.press("Delete")
    assert visit.page.input_value("#lane-text") == "Am:3.75 F:5"


def test_a_part_is_marked_and_made_anew(visit: Visit, engine: FakeEngine) -> None:
    visit.page.fill("#duration", "4")
    visit.page.click("#fine summary")
    visit.page.select_option("#model", "filler")
    visit.generate("four seconds")
    visit.until("audiocraft.stage.generation.status === 'succeeded'")
    first = visit.ask("audiocraft.stage.generation.id")
    visit.page.evaluate("audiocraft.player.pause(); audiocraft.player.seek(1); document.activeElement.blur()")
    visit.page.keyboard.press("p")
    visit.page.keyboard.press("ArrowRight")  # the beginning has the focus
    assert visit.page.get_attribute("#region-from", "aria-valuenow") == "1.1"
    assert visit.page.get_attribute("#region-to", "aria-valuenow") == "3.0"
    visit.page.keyboard.press("Enter")
    visit.until(f"audiocraft.stage.generation.id !== '{first}'")
    visit.until("audiocraft.stage.generation.status === 'succeeded'")
    asked = engine.requests[-1]
    assert asked.keep == ((0.0, 1.1), (3.0, 4.0))
    assert asked.audio is not None and asked.duration == 4.0
    visit.page.click("#redo")
    wave = visit.page.locator("#wave").bounding_box()
    assert wave is not None
    visit.page.mouse.move(wave["x"] + wave["width"] / 2, wave["y"] + 20)
    visit.page.mouse.down()
    visit.page.mouse.move(wave["x"] + wave["width"] / 4, wave["y"] + 20, steps=3)
    visit.page.mouse.up()
    assert visit.page.get_attribute("#region-from", "aria-valuenow") == "1.0"
    assert visit.page.get_attribute("#region-to", "aria-valuenow") == "2.0"
    visit.page.keyboard.press("Escape")


def test_models_of_sounds_say_that_they_redo_no_part(visit: Visit) -> None:
    visit.page.fill("#duration", "1")
    visit.page.locator("#kind label", has_text="Sounds").click()
    visit.generate("whole")
    visit.until("audiocraft.stage.generation.status === 'succeeded'")
    assert visit.page.get_attribute("#redo", "aria-disabled") == "true"
    visit.page.evaluate("document.activeElement.blur()")
    visit.page.keyboard.press("p")  # as is pressing it, this is answered
    assert "makes pieces from start to end" in visit.page.inner_text("#region-said")
    assert visit.page.is_hidden("#region-go")
    visit.page.keyboard.press("Escape")
    assert visit.page.is_hidden("#region-bar")


def test_a_file_is_dropped_anywhere(visit: Visit, tmp_path: Path) -> None:
    file = io.BytesIO()
    soundfile.write(file, 0.3 * np.sin(np.arange(RATE) * 0.3), RATE, format="wav")
    visit.page.evaluate(
        """(bytes) => { const held = new DataTransfer();
        held.items.add(new File([new Uint8Array(bytes)], "hum.wav", { type: "audio/wav" }));
        const send = (kind) => document.querySelector("#library-title").dispatchEvent(
            new DragEvent(kind, { dataTransfer: held, bubbles: true, cancelable: true }));
        send("dragover"); send("drop"); }""",
        list(file.getvalue()),
    )
    visit.page.wait_for_selector("#attached:visible")
    assert visit.page.inner_text("#attached-name") == "hum.wav"


def test_a_server_that_is_away_is_waited_for(visit: Visit) -> None:
    visit.context.set_offline(True)
    visit.page.fill("#prompt", "calm")
    visit.page.click("#generate")
    visit.until("document.getElementById('server-state').textContent !== ''")
    assert "cannot be reached" in visit.page.inner_text("#composer-error")
    visit.context.set_offline(False)
    visit.until("document.getElementById('server-state').textContent === ''")
    visit.complaints[:] = [line for line in visit.complaints if "ERR_INTERNET_DISCONNECTED" not in line]


def test_a_full_queue_says_when_to_come_back(visit: Visit) -> None:
    problem = {"code": "queue_full", "message": "512 pieces wait already", "status": 503}

    def refuse(route: Any) -> None:
        if route.request.method == "POST":
            route.fulfill(status=503, headers={"Retry-After": "12"}, json=problem)
        else:
            route.continue_()

    visit.page.route("**/v1/generations", refuse)
    visit.page.fill("#prompt", "calm")
    visit.page.click("#generate")
    visit.page.wait_for_selector("#composer-error:visible")
    assert visit.page.inner_text("#composer-error") == "512 pieces wait already. Try again in 12 s."
    visit.complaints[:] = [line for line in visit.complaints if "503" not in line]


def test_a_failed_piece_offers_to_try_again(visit: Visit) -> None:
    visit.page.fill("#prompt", "fail")
    visit.page.click("#generate")
    visit.until("document.getElementById('stage').dataset.state === 'silent'")
    assert visit.page.inner_text("#vary") == "Try again"
    assert visit.page.is_hidden("#wave")


def test_words_are_put_together_by_clicks(browser: Any, tmp_path: Path) -> None:
    config = ServingConfig(data_dir=str(tmp_path), preload=(), workers=0)
    with serving(FakeEngine(), config, models=None) as client:
        opened = Visit(browser, str(client.base_url))
        opened.page.click("#words summary")
        for word in ("calm", "marimba"):
            opened.page.get_by_role("button", name=word, exact=True).click()
        assert opened.page.input_value("#prompt") == "Calm, marimba"
        opened.page.check("input[name=kind][value=sound]", force=True)
        opened.page.fill("#prompt", "")
        opened.page.click("#ideas .surprise")
        assert len(opened.page.input_value("#prompt")) > 3
        opened.close()


def test_words_stay_words(visit: Visit) -> None:
    words = "<img src=x onerror=window.pwned=1><b>bold</b>"
    visit.page.fill("#duration", "1")
    visit.generate(words)
    assert visit.page.inner_text("#stage-title") == words
    assert visit.page.locator(".piece .prompt").first.inner_text() == words
    assert visit.ask("window.pwned") is None


def test_a_refusal_is_told_beside_the_form(visit: Visit) -> None:
    visit.page.click("#generate")
    assert "few words" in visit.page.inner_text("#composer-error")
    assert visit.page.get_attribute("#prompt", "aria-invalid") == "true"


def test_a_field_that_says_nothing_possible_is_named(visit: Visit) -> None:
    visit.page.fill("#prompt", "calm")
    visit.page.click("#fine summary")
    for field, value, said in (
        ("tempo", "999", "20 to 400"),
        ("chords", "H# X", "H#"),
        ("top-k", "-3", "Top k"),
    ):
        visit.page.fill(f"#{field}", value)
        visit.page.click("#generate")
        visit.page.wait_for_selector(f"#{field}[aria-invalid]")
        assert said in visit.page.inner_text("#composer-error")
        assert visit.ask("document.activeElement.id") == field
        visit.page.fill(f"#{field}", "")
    visit.complaints[:] = [line for line in visit.complaints if "422" not in line]


def test_what_was_understood_is_said(visit: Visit, engine: FakeEngine) -> None:
    visit.page.fill("#duration", "1")
    visit.generate("Calm piano, 80 bpm, Bb major, 가단조")
    visit.until("document.getElementById('stage-facts').textContent.includes('B♭ major')")
    facts = visit.page.inner_text("#stage-facts")
    assert facts.startswith("fake · 1 s · 80 bpm · B♭ major · ")
    assert f"seed {visit.ask('audiocraft.stage.generation.seed')}" in facts
    visit.until("audiocraft.stage.generation.status === 'succeeded'")
    # In one go: what the server says next of the piece takes the place of what is put here.
    said = visit.page.evaluate(
        """() => { audiocraft.jobs.take({ ...audiocraft.stage.generation, understood: {
        ...audiocraft.stage.generation.understood, unknown: ["kazoo", "rain"],
        notes: [{ what: "tempo", value: "300 bpm", said: "300 bpm is played as 150 bpm" }],
        suggestion: { model: "noise", words: ["rain"], said: "try noise, which knows: rain" } } });
        const said = document.getElementById("understood").innerText;
        document.querySelector("#understood button").click();
        return said; }"""
    )
    for words in ("300 bpm is played as 150 bpm.", "fake does not know “kazoo” and “rain”", "Try noise"):
        assert words in said
    assert visit.page.input_value("#prompt") == "Rain"
    assert visit.page.is_checked("input[name=kind][value=sound]")


def test_sounds_lie_along_the_piece_and_light_up(visit: Visit) -> None:
    visit.page.fill("#duration", "4")
    visit.page.locator("#kind label", has_text="Sounds").click()
    visit.generate("rain, a dog at 2 s")
    visit.until("document.querySelectorAll('#scene li').length === 2")
    titles = [row.get_attribute("title") for row in visit.page.locator("#scene li").all()]
    assert titles == ["rain: 0–4 s", "dog: 2–4 s"]
    visit.until(
        "document.querySelector('#scene li.now')?.title.startsWith('rain')"
    )  # it plays while it is made
    visit.until("document.querySelectorAll('#scene li.now').length === 2")
    visit.picture("sounds")
    visit.page.fill("#duration", "1")
    visit.generate("xyzzy")
    assert visit.page.is_hidden("#scene")


def test_an_own_piece_is_continued_without_an_upload(visit: Visit, engine: FakeEngine) -> None:
    visit.page.fill("#duration", "2")
    visit.generate("to be continued")
    visit.until("audiocraft.stage.generation.status === 'succeeded'")
    uploads: list[str] = []
    visit.page.on(
        "request", lambda request: uploads.append(request.url) if "uploads" in request.url else None
    )
    visit.page.click("#extend")
    visit.page.wait_for_selector("#attached:visible")
    assert visit.page.inner_text("#attached-name") == "to be continued"
    visit.page.click("#generate")
    visit.until("audiocraft.stage.generation.kind === 'continuation' && audiocraft.player.piece.complete")
    assert visit.page.is_visible("#seam")
    prompt = engine.requests[-1].prompt_audio
    assert prompt is not None
    assert prompt.shape[-1] == pytest.approx(2 * RATE, abs=0.03 * RATE)
    assert uploads == []
    visit.page.click("#detach")


def test_a_canceled_piece_is_kept_as_far_as_it_got(visit: Visit) -> None:
    visit.page.fill("#prompt", "crawl in vain")
    visit.page.click("#generate")
    visit.until("audiocraft.player.piece?.length > 0")
    visit.page.click("#cancel")
    visit.until("audiocraft.stage.generation.status === 'canceled' && audiocraft.player.piece.complete")
    assert re.search(r"[\d.]+ s of 10 s", visit.page.inner_text("#stage-facts"))
    name, content = download(visit, "wav")
    assert name.startswith("crawl-in-vain-")
    # The finishing step holds back the end of what was not finished.
    assert soundfile.info(io.BytesIO(content)).duration == pytest.approx(1.0, abs=0.1)


def test_an_analysis_is_shown(visit: Visit, tmp_path: Path) -> None:
    windows = [
        {"start": float(start), "score": 0.2 + 0.05 * start, "domain_distance": 1.0} for start in range(9)
    ]
    report = {
        "verdict": "generated", "is_real": False, "in_domain": True, "score": 0.31, "threshold": 0.5,
        "duration": 12.0, "sample_rate": 24000, "channels": 1, "windows": windows, "notes": ["A short file."],
        "level": {"loudness": -16.2, "true_peak": -1.1, "sample_peak": -1.3, "clipped_samples": 0},
        "music": {"tempo": 92.3, "key": "G major"},
    }  # fmt: skip
    told = "".join(
        f"event: {kind}\ndata: {json.dumps(data)}\n\n"
        for kind, data in (("progress", {"progress": 0.4}), ("report", report))
    )
    visit.page.route(
        "**/v1/analyze", lambda route: route.fulfill(body=told, content_type="text/event-stream")
    )
    file = tmp_path / "song.wav"
    soundfile.write(file, np.zeros(RATE), RATE)
    visit.page.click("#open-analysis")
    visit.page.set_input_files("#analysis-file", str(file))
    visit.page.wait_for_selector(".verdict")
    shown = visit.page.inner_text("#analysis")
    for words in (
        "Sounds generated",
        "31 % likely a recording",
        "-16.2 LUFS",
        "92 bpm",
        "G major",
        "A short file.",
    ):
        assert words in shown
    visit.picture("analysis")


def test_the_chords_of_what_was_there_stay_what_they_were(visit: Visit) -> None:
    """A piece that goes on from another in another key: the old part is not named after the new plan."""
    shown = visit.ask(
        """import("/static/score.js").then(({ chordsOf }) => chordsOf(
        { metadata: { from: "4" }, plan: { chords: [[0, "C"], [3, "G"], [5, "F"]] } },
        { plan: { chords: [[0, "Am"], [2, "E"], [4.5, "Dm"]] } }))"""
    )
    assert shown == [[0, "Am"], [2, "E"], [4, "G"], [5, "F"]]


def test_models_are_loaded_and_unloaded(visit: Visit, engine: FakeEngine) -> None:
    visit.page.click("#open-models")
    visit.page.click("[aria-label='Load plain']")
    visit.page.click("[aria-label='Unload plain']")
    visit.page.wait_for_selector("[aria-label='Load plain']")
    assert "plain" not in engine.names


@pytest.mark.parametrize("width", [320, 390, 768, 1024, 1600])
def test_every_width_fits(browser: Any, site: str, width: int) -> None:
    phone = {"is_mobile": True, "has_touch": True} if width < 500 else {}
    opened = Visit(browser, site, viewport={"width": width, "height": 800}, **phone)
    opened.page.click("#fine summary")
    assert opened.ask("document.documentElement.scrollWidth") <= width
    for name in ("fake", "Analyse a file"):  # pictures alone on a phone
        assert opened.page.get_by_role("button", name=name, exact=True).count() == 1
    opened.close()


def test_what_plays_stays_at_hand(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 390, "height": 520})
    visit.generate("far below")
    assert visit.page.is_hidden("#mini")
    visit.page.evaluate("document.querySelector('.composer').scrollIntoView()")
    visit.page.wait_for_selector("#mini:visible")
    assert visit.page.inner_text("#mini-title") == "far below"
    visit.page.click("#mini-play")
    visit.until("!audiocraft.player.wanted")
    assert visit.page.get_attribute("#mini-play", "aria-label") == "Play"
    row = visit.page.locator(".piece[aria-current=true]")
    row.locator(".start").click()
    visit.until("audiocraft.player.wanted")
    assert row.get_by_role("button", name="Pause “far below”").count() == 1
    visit.page.evaluate("document.querySelector('.composer').scrollIntoView()")
    visit.page.click("#mini-title")
    visit.page.wait_for_selector("#mini", state="hidden")


def test_themes_follow_the_system_and_the_button(browser: Any, site: str) -> None:
    opened = Visit(browser, site, color_scheme="dark", reduced_motion="reduce")
    assert opened.ask("document.documentElement.dataset.theme") == "dark"
    opened.page.click("#toggle-theme")
    opened.page.reload()
    assert opened.ask("document.documentElement.dataset.theme") == "light"
    opened.close()


def test_everything_can_be_reached_and_named(visit: Visit) -> None:
    nameless = visit.ask(
        """[...document.querySelectorAll('button, input, select, textarea, a, [role=slider]')].filter((one) =>
        one.checkVisibility() && !(one.ariaLabel || one.title || one.textContent.trim() || one.labels?.length)
        ).map((one) => one.outerHTML.slice(0, 90))"""
    )
    assert nameless == []
    visit.page.keyboard.press("Tab")
    assert visit.ask("document.activeElement.className") == "skip"
    visit.page.keyboard.press("Enter")
    visit.page.keyboard.press("Shift+?")


def test_without_web_audio_an_element_plays(browser: Any, site: str) -> None:
    context = browser.new_context()
    context.add_init_script("delete window.AudioContext")
    page = context.new_page()
    page.goto(site)
    page.fill("#prompt", "calm")
    page.click("#generate")
    until(lambda: page.evaluate("audiocraft.player.position") > 0.2, PATIENCE)
    context.close()


def test_the_bundled_model_is_heard(browser: Any, tmp_path: Path) -> None:
    config = ServingConfig(data_dir=str(tmp_path))
    with serving(LocalEngine.create(), config, models=None) as client:
        address = str(client.base_url)
        if browsing.TIMED:  # kernels are compiled once on a machine, at first use: here that is now
            warm = client.post("/v1/generations", json={"prompt": "warm", "duration": 0.5}).json()["id"]
            until_status(client, warm, "succeeded")
            client.delete(f"/v1/generations/{warm}")
        opened = Visit(browser, address, color_scheme="light")
        for words in PIECES if PICTURES else PIECES[:1]:
            heard = opened.generate(words)
            assert heard < (2.0 if browsing.TIMED else PATIENCE)
            opened.until("document.querySelectorAll('#score li').length > 1")  # its chords, from the start
            opened.until("audiocraft.stage.generation.status === 'succeeded'", 4 * PATIENCE)
        if PICTURES:
            take_pictures(browser, address)
        opened.close()
