"""The page in Korean, in a real browser: chosen by the browser's languages, complete, and what people write stays.

Needs what test_browser.py needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from audiocraft.config.serving import LeaseSettings, ServingConfig

from .. import fakes
from ..fakes import FakeEngine
from . import browsing
from .browsing import CHROMIUM, Visit, tone_of
from .test_streams import serving

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; set AUDIOCRAFT_CHROMIUM"),
]

# What is not translated: names, units, formats, keys, chords, codes of keys.
_KEPT = re.compile(
    r"AudioCraft|English|Godot|bpm|k?Hz|LUFS|dBTP|[Tt]op k|API|https|wav|flac|ogg|mp3|opus|WAV|FLAC|MP3|Opus|Ogg|"
    r"Ctrl|Enter|MB|"
    r"JavaScript|acx|dopri5|euler|heun|midpoint|nonoverlap|stride1|exact|plain|MIT|"
    r"\b(fake|noise|sounds|filler|flow|codec)\b|\S+\.(wav|mp3|zip|acproj)|"  # the models of the tests, files
    r"musicgen\S*|audiogen\S*|A[ms]? F C G|[A-G][♯♭#b]?m? ?(major|minor)?|(?<![A-Za-z])[A-Z](?![A-Za-z])"
)


# A prompt of words that the page has as well.
WRITTEN = "Rock 피아노 · Rename"  # words and marks that the page has too


class KoreanVisit(Visit):
    """A tab of a browser that is set to Korean."""

    def until(self, script: str, seconds: float = browsing.PATIENCE) -> None:
        super().until(script.replace("!== 'Models'", "!== '모델'"), seconds)


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
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    config = ServingConfig(
        data_dir=str(tmp_path_factory.mktemp("site")), music_model="fake", codec_model="codec", preload=(),
        lease=LeaseSettings(poll=0.05),
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fakes, "audio_of", tone_of)
        with serving(FakeEngine(step_seconds=0.02), config) as client:
            yield str(client.base_url)


def words_on(visit: Visit) -> list[str]:
    """Everything that the page shows or names."""
    return visit.ask(
        """[...document.querySelectorAll('body *')]
        .filter((element) => !element.closest('noscript, #words-groups .chips'))
        .flatMap((element) => [
            ...[...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()),
            ...['aria-label', 'title', 'placeholder', 'aria-valuetext'].map((name) => element.getAttribute(name) ?? ''),
        ]).filter(Boolean)"""
    )


def english_in(texts: list[str], *, but: Iterable[str] = ()) -> list[str]:
    """The texts that are not Korean, when names and what people wrote are taken out of them."""
    written = re.compile("|".join(re.escape(one) for one in sorted(but, key=len, reverse=True)) or "(?!)")
    found = [(text, _KEPT.sub("", written.sub("", text))) for text in texts]
    return sorted({text for text, rest in found if re.search(r"[A-Za-z]{2}", rest)})


@pytest.mark.parametrize("size", [(1280, 900), (390, 844)], ids=["desktop", "phone"])
def test_the_whole_page_is_korean(browser: Any, site: str, size: tuple[int, int]) -> None:
    visit = KoreanVisit(browser, site, locale="ko-KR", viewport={"width": size[0], "height": size[1]})
    assert visit.ask("document.documentElement.lang") == "ko"
    assert english_in(words_on(visit), but=(WRITTEN,)) == []
    assert visit.ask("document.querySelector('#generate span').textContent") == "만들기"
    visit.page.click("#ideas button")  # an idea is a prompt in Korean
    assert visit.page.input_value("#prompt") == "잔잔한 피아노와 현악, 80 bpm, 가단조"
    visit.generate(WRITTEN)
    visit.until("audiocraft.stage.generation.status === 'succeeded'")
    assert visit.page.inner_text("#stage-title") == WRITTEN  # what somebody wrote stays
    visit.until("document.querySelector('#pieces .meta')")
    assert (
        english_in(
            words_on(visit),
            but=(WRITTEN,),
        )
        == []
    )
    for button in ("#open-models", "#open-analysis"):
        if visit.page.is_visible(button):
            visit.page.click(button)
            visit.until("document.querySelector('dialog[open]')")
            dialog = [
                line
                for line in visit.page.inner_text("dialog[open]").splitlines()
                if "CC" not in line and "MIT" not in line
            ]
            assert english_in(dialog) == []
            visit.page.keyboard.press("Escape")
    assert visit.ask("document.documentElement.scrollWidth <= innerWidth")
    assert visit.complaints == []
    visit.context.close()


def test_the_language_is_chosen_by_hand_and_kept(browser: Any, site: str) -> None:
    visit = Visit(browser, site, locale="de-DE")
    assert visit.page.inner_text("#generate span") == "Generate"
    with visit.page.expect_navigation():
        visit.page.click("#toggle-language")
    visit.until("document.documentElement.lang === 'ko'")
    assert visit.page.inner_text("#generate span") == "만들기"
    visit.page.reload()
    visit.until("document.documentElement.lang === 'ko'")
    with visit.page.expect_navigation():
        visit.page.click("#toggle-language")
    visit.until("document.getElementById('model-name').textContent === 'fake'")
    assert visit.page.inner_text("#generate span") == "Generate" and visit.complaints == []
    visit.context.close()
