"""Pieces in a real browser: their address, their takes, what is made of them, and what forms say and keep.

Needs what test_browser.py needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from audiocraft.config.serving import LeaseSettings, ServingConfig
from audiocraft.errors import InvalidInput
from audiocraft.music.harmony import _QUALITY_ALIASES, QUALITIES, parse_chord

from ..fakes import RATE, FakeEngine
from . import browsing
from .browsing import CHROMIUM, Visit
from .test_browser import MODELS
from .test_streams import serving

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; set AUDIOCRAFT_CHROMIUM"),
]
OTHERS = {
    "noise": replace(MODELS["noise"], takes=frozenset({"continuation"})),
    "tune": replace(MODELS["flow"], name="tune", takes=frozenset({"continuation", "melody"})),
    "fake": replace(MODELS["fake"], takes=frozenset({"continuation", "plan", "style"})),
}
DONE = "audiocraft.stage.generation?.status === 'succeeded'"
SHOWN = "audiocraft.stage.generation?.id"
# The selects of which some option has no room beside the arrow.
CUT = """[...document.querySelectorAll("select")].filter((one) => one.checkVisibility()).filter((one) => {
    const style = getComputedStyle(one), pen = document.createElement("canvas").getContext("2d");
    pen.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
    const room = one.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    return Math.max(...[...one.options].map(({ text }) => pen.measureText(text).width)) > room;
    }).map((one) => one.id)"""
# The fields of a grid whose box is lower, or taller, than that of another in their row.
UNEVEN = """[...document.querySelectorAll("#fine .grid > .field:not(.whole)")].filter((one) => one.checkVisibility())
    .map((field) => { const box = field.querySelector("input, select").getBoundingClientRect();
        return [field.textContent.slice(0, 12), field.getBoundingClientRect().top, box.top, box.height]; })
    .filter(([, row, top, height], _, all) => all.some(
        (one) => one[1] === row && (one[2] !== top || one[3] !== height)))
    .map(([name]) => name)"""


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
def client(engine: FakeEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    config = ServingConfig(
        data_dir=str(tmp_path_factory.mktemp("site")), music_model="fake", sound_model="noise", codec_model="codec",
        preload=(), lease=LeaseSettings(poll=0.05),
    )  # fmt: skip
    with serving(engine, config, models={**MODELS, **OTHERS}) as served:
        yield served


@pytest.fixture
def visit(browser: Any, client: Any) -> Iterator[Visit]:
    opened = Visit(browser, str(client.base_url), reduced_motion="reduce")
    yield opened
    opened.close()


def made(client: Any, prompt: str, **more: Any) -> str:
    """Have a piece of a second made -> its id."""
    asked = {"prompt": prompt, "duration": 1, **more}
    answer = client.post("/v1/generations", json=asked, headers={"Prefer": "wait=60"}).json()
    assert answer["status"] == "succeeded"
    return str(answer["id"])


def kind_of(visit: Visit) -> Any:
    return visit.ask("document.querySelector('input[name=kind]:checked').value")


def test_a_piece_is_extended_as_what_it_is(visit: Visit, client: Any, engine: FakeEngine) -> None:
    visit.page.fill("#prompt", "techno drums")
    visit.page.locator("#kind label", has_text="Sounds").click()
    visit.page.fill("#prompt", "rain, then a dog")
    visit.page.fill("#duration", "1")
    visit.page.click("#generate")
    visit.until(DONE)
    visit.page.fill("#prompt", "something else")
    visit.page.evaluate("document.activeElement.blur()")
    visit.page.keyboard.press("x")
    visit.page.wait_for_selector("#attached:visible")
    assert kind_of(visit) == "sound" and visit.page.input_value("#prompt") == "rain, then a dog"
    before = visit.ask(SHOWN)
    visit.page.click("#generate")
    visit.until(f"{SHOWN} !== '{before}' && {DONE}")
    assert visit.ask("audiocraft.stage.generation.model") == "noise"
    # What goes on from a sound is a sound, too.
    visit.page.locator("#kind label", has_text="Music").click()
    visit.page.click("#detach")
    visit.page.click("#extend")
    visit.page.wait_for_selector("#attached:visible")
    assert kind_of(visit) == "sound" and visit.page.input_value("#prompt") == "rain, then a dog"
    visit.page.click("#detach")
    visit.page.goto(f"{client.base_url}/#{made(client, 'calm piano', model='plain')}")
    visit.until("audiocraft.stage.generation?.prompt === 'calm piano'")
    visit.page.click("#extend")
    visit.page.wait_for_selector("#attached:visible")
    assert (kind_of(visit), visit.page.input_value("#prompt")) == ("music", "calm piano")
    assert visit.page.input_value("#model") == "plain"


def test_takes_keep_their_letters_behind_many_pieces(browser: Any, client: Any) -> None:
    takes = [made(client, "of a set", metadata={"set": "these"}) for _ in range(2)]
    for number in range(31):
        made(client, f"filling {number}", duration=0.5)
    last = made(client, "of a set", metadata={"set": "these"})
    opened = Visit(browser, f"{client.base_url}/#{last}", reduced_motion="reduce")
    opened.until("document.querySelectorAll('#takes button').length === 3")
    assert opened.page.inner_text("#takes [aria-pressed=true]") == "C"
    assert opened.page.locator(f".piece[data-id={takes[0]}]").count() == 0  # the list has its own order
    opened.page.get_by_role("button", name="Take A").click()
    opened.until(f"{SHOWN} === '{takes[0]}'")
    assert opened.page.inner_text("#takes [aria-pressed=true]") == "A"
    opened.close()


def test_the_address_leads_to_its_piece(visit: Visit, client: Any) -> None:
    first, second = made(client, "first of two"), made(client, "second of two")
    visit.page.evaluate(f"location.hash = '{first}'")
    visit.until(f"{SHOWN} === '{first}'")
    visit.page.locator(f".piece[data-id={second}] .prompt").click()
    visit.until(f"{SHOWN} === '{second}' && location.hash === '#{second}'")
    visit.page.go_back()
    visit.until(f"{SHOWN} === '{first}'")
    visit.page.go_forward()
    visit.until(f"{SHOWN} === '{second}'")
    visit.page.go_back()
    visit.page.go_back()
    visit.until("document.getElementById('stage').dataset.state === 'empty'")
    visit.page.evaluate("location.hash = 'gen_0000nothing'")
    visit.until("document.getElementById('server-state').textContent.includes('not there any more')")
    visit.complaints[:] = [line for line in visit.complaints if "404" not in line]


def test_the_time_left_goes_on_where_only_progress_is_told(visit: Visit) -> None:
    left = visit.ask(
        """(() => { const told = (id, status, progress, more = {}) => {
        audiocraft.jobs.know({ id, status, progress, ...more });
        return audiocraft.jobs.known.get(id).remaining; };
        const all = [told("a", "processing", 0.05, { remaining: 25 }), told("a", "processing", 0.05),
            told("a", "processing", 0.525), told("a", "queued", 0), told("a", "processing", 0.6)];
        audiocraft.jobs.forget("a");
        return all.map((one) => one ?? null); })()"""
    )
    assert left == [25, 25, pytest.approx(12.5), None, None]


def test_what_was_made_anew_in_part_can_be_undone(visit: Visit, client: Any) -> None:
    first = made(client, "to be redone", model="filler", duration=4, metadata={"set": "redone"})
    visit.page.evaluate(f"location.hash = '{first}'")
    visit.until(f"{SHOWN} === '{first}' && {DONE}")
    for undo in (lambda: visit.page.click("#back"), lambda: visit.page.keyboard.press("z")):
        visit.page.click("#redo")
        visit.page.click("#region-go")
        visit.until(f"{SHOWN} !== '{first}' && {DONE}")
        visit.page.evaluate("document.activeElement.blur()")
        undo()
        visit.until(f"{SHOWN} === '{first}'")


def test_no_model_of_music_is_offered_for_a_sound(visit: Visit, client: Any) -> None:
    visit.page.evaluate(f"location.hash = '{made(client, 'rain', kind='sound')}'")
    visit.until(DONE)
    assert visit.page.get_attribute("#redo", "aria-disabled") == "true"
    said = visit.page.get_attribute("#redo", "title")
    assert (
        said is not None and "no part can be redone" in said and "filler" not in said and "flow" not in said
    )
    visit.page.evaluate(f"location.hash = '{made(client, 'calm', model='plain')}'")
    visit.until("audiocraft.stage.generation?.model === 'plain'")
    assert visit.page.get_attribute("#redo", "aria-disabled") is None  # as an edit


def test_a_server_that_is_back_takes_its_refusal_back(visit: Visit) -> None:
    said = "the server is about to stop; try again in a moment"

    def refuse(route: Any) -> None:
        if route.request.method == "POST":
            route.fulfill(
                status=503, headers={"Retry-After": "5"}, json={"code": "stopping", "message": said}
            )
        else:
            route.continue_()

    visit.page.route("**/v1/generations", refuse)
    visit.page.fill("#prompt", "calm")
    visit.page.click("#generate")
    visit.page.wait_for_selector("#composer-error:visible")
    assert visit.page.inner_text("#composer-error") == "The server is about to stop; try again in a moment."
    visit.page.unroute("**/v1/generations")
    visit.context.set_offline(True)
    visit.page.fill("#search", "calm")
    visit.until("document.getElementById('server-state').textContent !== ''")
    visit.context.set_offline(False)
    visit.until("document.getElementById('composer-error').hidden")
    visit.complaints[:] = [
        line for line in visit.complaints if "Failed to load" not in line and "ERR_INT" not in line
    ]


@pytest.mark.parametrize(
    ("kind", "place", "field", "focused"),
    [
        ("song", "songs", "sections.1.prompt", "#song-parts li:nth-child(2) textarea"),
        ("song", "songs", "tempo", "#song-tempo"),
        ("song", "songs", "chords", "#song-chords"),
        ("bank", "banks", "tempo", "#bank-tempo"),
        ("bank", "banks", "locations.0", "#bank-own"),
    ],
)
def test_what_is_refused_of_other_forms_is_shown_at_its_field(
    visit: Visit, kind: str, place: str, field: str, focused: str
) -> None:
    problem = {"code": "invalid", "message": "that cannot be", "field": field}
    visit.page.route(f"**/v1/{place}", lambda route: route.fulfill(status=422, json=problem))
    visit.page.check(f"input[name=kind][value={kind}]", force=True)
    for words in visit.page.locator("#song-parts textarea").all():
        words.fill("calm piano") if kind == "song" else None
    visit.page.click(f"#{kind}-make")
    visit.page.wait_for_selector(f"#{kind}-error:visible")
    assert visit.page.inner_text(f"#{kind}-error") == "That cannot be."
    assert visit.ask(f"document.activeElement === document.querySelector('{focused}')")
    assert visit.page.get_attribute(focused, "aria-invalid") == "true"
    visit.complaints[:] = [line for line in visit.complaints if "422" not in line]


def test_forms_of_productions_keep_what_was_typed(visit: Visit) -> None:
    visit.page.check("input[name=kind][value=podcast]", force=True)
    visit.page.fill("#podcast-title", "Episode 7")
    visit.page.click("#podcast-fine summary")
    visit.page.fill("#podcast-chapters", "00:00 Welcome\n02:30 Questions")
    visit.page.select_option("#podcast-music", "15")
    visit.page.check("#podcast-mono")
    visit.page.check("input[name=kind][value=bank]", force=True)
    visit.page.fill("#bank-words", "Fantasy")
    visit.page.locator("#bank-places label", has_text="Ocean").click()
    visit.page.locator("#bank-places label", has_text="Forest").click()
    visit.page.click("#bank-fine summary")
    visit.page.fill("#bank-tempo", "90")
    visit.page.select_option("#bank-bars", "16")
    visit.page.reload()
    visit.until("window.audiocraft && document.getElementById('bank-words').value === 'Fantasy'")
    places = visit.ask("[...document.querySelectorAll('#bank-places input:checked')].map((one) => one.value)")
    assert places == ["ocean"]
    assert [visit.page.input_value(f"#bank-{name}") for name in ("tempo", "bars")] == ["90", "16"]
    assert visit.page.input_value("#podcast-title") == "Episode 7"
    assert visit.page.input_value("#podcast-chapters").startswith("00:00 Welcome\n02:30")
    assert visit.page.input_value("#podcast-music") == "15" and visit.page.is_checked("#podcast-mono")


def test_a_refused_file_is_named_and_leaves_no_other_attached(visit: Visit, tmp_path: Path) -> None:
    good, wide = tmp_path / "good.wav", tmp_path / "wide.wav"
    soundfile.write(good, np.zeros(RATE), RATE)
    soundfile.write(wide, np.zeros((RATE, 6)), RATE)
    said = "“wide.wav”: 6 channels; at most 2 are accepted; mix it down."
    visit.page.set_input_files("#file", str(good))
    visit.page.wait_for_selector("#attached:visible")
    visit.page.set_input_files("#file", str(wide))
    visit.page.wait_for_selector("#attached", state="hidden")
    visit.until("!document.getElementById('composer-error').hidden")
    assert visit.page.inner_text("#composer-error") == said
    visit.page.check("input[name=kind][value=podcast]", force=True)
    visit.page.set_input_files("#voice-file", str(good))
    visit.page.wait_for_selector("#voice-there:visible")
    visit.page.set_input_files("#voice-file", str(wide))
    visit.until("!document.getElementById('podcast-error').hidden")
    assert visit.page.inner_text("#podcast-error") == said and visit.page.is_hidden("#voice-there")
    visit.complaints[:] = [line for line in visit.complaints if "413" not in line]


def test_the_hint_leads_to_what_a_model_follows(visit: Visit, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "hum.wav", np.zeros(RATE), RATE)
    visit.page.select_option("#model", "plain", force=True)
    visit.page.set_input_files("#file", str(tmp_path / "hum.wav"))
    visit.page.wait_for_selector("#attached:visible")
    said = visit.page.inner_text("#use-other")
    assert "A melody is followed by tune." in said and "A style is followed by fake." in said
    visit.page.get_by_role("button", name="tune", exact=True).click()
    assert visit.page.input_value("#model") == "tune"
    assert visit.ask("document.querySelector('input[name=use]:checked').value") == "melody"
    assert visit.ask("document.activeElement.value") == "melody"
    assert visit.page.is_disabled("input[name=use][value=style]")
    link = visit.page.locator("#use-other button")
    assert visit.page.inner_text("#use-other") == "A style is followed by fake."
    boxes = link.bounding_box(), visit.page.locator("#use-other").bounding_box()
    assert (
        boxes[0] and boxes[1] and boxes[0]["x"] > boxes[1]["x"] + 40
    )  # in its sentence, not on a row of its own
    link.click()
    assert visit.ask("document.activeElement.value") == "style"
    assert visit.page.inner_text("#use-other") == "A melody is followed by tune."
    visit.page.click("#detach")


def test_what_is_no_chord_is_said_while_it_is_typed(visit: Visit) -> None:
    visit.page.fill("#duration", "10")
    visit.page.click("#fine summary")
    visit.page.select_option("#model", "flow")
    for typed, said in (
        ("C:0 Am:999", "Am at 999 s begins when the piece is over: it lasts 10 s."),
        ("| | |", "There is no chord in it; write them like C | Am F | G7."),
        ("C | Xm H7", "Xm, H7 are no chords; write them like Am F C/E G7 Bbmaj7."),
        ("C:0 Am", "C:0 is no chord; write them like Am F C/E G7 Bbmaj7."),
    ):
        visit.page.fill("#lane-text", typed)
        assert visit.page.inner_text("#lane-problem") == said
        assert visit.page.get_attribute("#lane-text", "aria-invalid") == "true"
    visit.page.fill("#lane-text", "C | Xm F")
    assert visit.page.locator("#lane .wrong").all_inner_texts() == ["Xm"]
    visit.page.fill("#lane-text", "C:0 F#m7b5:2 B♭/D:6")
    assert visit.page.is_hidden("#lane-problem")
    assert visit.page.get_attribute("#lane-text", "aria-invalid") is None


def test_a_chord_goes_to_its_ends_by_keys(visit: Visit) -> None:
    visit.page.fill("#duration", "8")
    visit.page.click("#fine summary")
    visit.page.select_option("#model", "flow")
    visit.page.fill("#lane-text", "C:0 Am:3 F:6")
    visit.page.locator("#lane [role=slider]").nth(1).focus()
    visit.page.keyboard.press("End")
    assert visit.page.input_value("#lane-text") == "C:0 Am:5.9 F:6"
    visit.page.keyboard.press("Home")
    assert visit.page.input_value("#lane-text") == "C:0 Am:0.1 F:6"
    cell = visit.page.locator("#lane [role=slider]").nth(1)
    assert [cell.get_attribute(f"aria-value{name}") for name in ("min", "max", "now")] == [
        "0.1",
        "5.9",
        "0.1",
    ]
    visit.page.evaluate(browsing.axe())
    found = visit.ask("axe.run('#lane').then(({ violations }) => violations.map((one) => one.id))")
    assert found == []


def test_chords_are_read_as_the_server_reads_them(visit: Visit) -> None:
    roots = ["C", "F#", "B♭"]
    names = [root + kind for root in roots for kind in (*QUALITIES, *_QUALITY_ALIASES)] + [
        "N",
        "C/E",
        "Am7/G",
    ]
    wrong = ["H", "c", "Cx", "C/", "C/H", "Am77", "1"]
    for name in names:
        parse_chord(name)
    for name in wrong:
        with pytest.raises(InvalidInput):
            parse_chord(name)
    found = visit.page.evaluate(
        "names => import('/static/lane.js').then(({ isChord }) => names.filter(isChord))", names + wrong
    )
    assert found == names


def test_a_loop_is_offered_the_bars_that_fit(visit: Visit) -> None:
    found = visit.ask(
        """import("/static/edit.js").then(({ barsOfLoop }) => [
        { plan: { tempo: 80, beats_per_bar: 4, first_beat: 0 }, duration: 10 },
        { plan: { tempo: 120, beats_per_bar: 4, first_beat: 1 }, duration: 10 },
        { plan: { tempo: 120, beats_per_bar: 3 }, duration: 10, audio: { seconds: 3.2 } },
        { plan: { tempo: 60, beats_per_bar: 4 }, duration: 1 }, { duration: 10 }].map(barsOfLoop))"""
    )
    assert found == [3, 4, 1, 1, 16]


def test_a_loop_stays_within_its_piece(visit: Visit, client: Any) -> None:
    visit.page.evaluate(f"location.hash = '{made(client, 'short loop', duration=10)}'")
    visit.until("audiocraft.stage.generation?.prompt === 'short loop'")
    visit.page.evaluate(
        "audiocraft.jobs.take({ ...audiocraft.stage.generation, result: null, plan: { tempo: 80, beats_per_bar: 4 } })"
    )
    visit.page.click("#edit")
    visit.page.check("input[name=edit][value=loop]", force=True)
    assert visit.page.get_attribute("#edit-bars", "max") == "3"
    assert visit.page.inner_text("#edit-bars-shown") == "3 bars"
    visit.page.check("input[name=edit][value=extend]", force=True)
    assert visit.page.get_attribute("#edit-bars", "max") == "16"
    assert visit.page.inner_text("#edit-bars-shown") == "4 bars"
    visit.page.keyboard.press("Escape")


def test_lengths_and_sizes_are_said_as_they_are(visit: Visit) -> None:
    said = visit.ask(
        """import("/static/dom.js").then(({ bytes, clock, seconds }) => [
        ...[9.99, 10, 19.6, 59.6, 61.2].flatMap((one) => [clock(one), seconds(one)]),
        ...[100, 192 * 1024, 3 * 2 ** 20, 2 ** 31].map(bytes)])"""
    )
    assert said == [
        "0:10", "10 s", "0:10", "10 s", "0:20", "20 s", "1:00", "1:00", "1:01", "1:01",
        "1 kB", "192 kB", "3 MB", "2.0 GB",
    ]  # fmt: skip


def test_names_of_files_agree_and_keep_their_quotes(visit: Visit, client: Any, tmp_path: Path) -> None:
    quoted = tmp_path / 'a "q".wav'
    soundfile.write(quoted, np.zeros(RATE), RATE)
    visit.page.set_input_files("#file", str(quoted))
    visit.page.wait_for_selector("#attached:visible")
    assert visit.page.inner_text("#attached-name") == 'a "q".wav'
    visit.page.click("#detach")
    visit.page.evaluate(f"location.hash = '{made(client, 'To be, saved!')}'")
    visit.until("audiocraft.stage.generation?.prompt === 'To be, saved!'")
    downloaded, _ = browsing.download(visit, "acx")
    visit.page.click("#compare")
    visit.until("!document.getElementById('compare-save').disabled")
    with visit.page.expect_download() as waiting:
        visit.page.click("#compare-save")
    assert waiting.value.suggested_filename == downloaded
    visit.page.keyboard.press("Escape")


@pytest.mark.parametrize("language", ["en", "ko"])
def test_choices_are_read_whole_and_stand_in_rows(browser: Any, client: Any, language: str) -> None:
    opened = Visit(browser, str(client.base_url), reduced_motion="reduce", locale=language)
    opened.page.click("#fine summary")
    for model in ("flow", "filler", "fake"):
        opened.page.select_option("#model", model if model != "fake" else "")
        opened.picture(f"fine-{language}-{model}")
        assert opened.ask(CUT) == []
        assert opened.ask(UNEVEN) == []
    opened.page.check("input[name=kind][value=song]", force=True)
    opened.page.click("#song-fine summary")
    opened.picture(f"fine-{language}-song")
    assert opened.ask(CUT) == []
    opened.close()
