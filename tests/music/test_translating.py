"""Prompts in six languages are read in the words of the models, and an English one is left as it is."""

from __future__ import annotations

import time
import tomllib
import unicodedata
from pathlib import Path

import pytest

from audiocraft.checkpoints.facts import facts_of
from audiocraft.data.synthesis.vocabulary import vocabulary_of
from audiocraft.modules.conditioners.text import BagOfWordsConditioner
from audiocraft.music.lexicon import languages, lexicon
from audiocraft.music.planning import make_plan, plans_over_time
from audiocraft.music.reading import read
from audiocraft.music.translating import translate
from audiocraft.music.understanding import understand
from audiocraft.music.vocabulary import words_of

PROMPTS: dict[str, dict[str, str]] = tomllib.loads(
    Path(__file__).with_name("prompts.toml").read_text(encoding="utf-8")
)
MUSIC, SOUND = facts_of("musicgen-nano"), facts_of("audiogen-nano")


def heard(text: str, wanted: str) -> list[tuple[str, bool]]:
    """(what a musician hears, whether it was understood)."""
    tempo, key, words, *denied = (part.strip() for part in wanted.split(";"))
    said = translate(text)
    told = read(said.text)
    found = set(words_of(said.words))
    marks = [(f"{tempo} bpm", told.tempo == float(tempo))] if tempo else []
    marks += [(key, told.key is not None and told.key.name == key)] if key else []
    marks += [(word, word in found) for word in words_of(words)]
    return marks + [(one, one in " ".join(said.words.split())) for one in denied]


def test_sixty_prompts_in_six_languages() -> None:
    marks = [
        (language, text, *mark)
        for language, prompts in PROMPTS.items()
        for text, wanted in prompts.items()
        for mark in heard(text, wanted)
    ]
    assert len(PROMPTS) == len(languages()) == 6 and sum(map(len, PROMPTS.values())) == 60
    missed = [f"{language}: {text}: {what}" for language, text, what, understood in marks if not understood]
    assert len(missed) <= 0.02 * len(marks), "\n".join(missed)
    for language in PROMPTS:
        mine = [understood for one, *_, understood in marks if one == language]
        assert sum(mine) >= 0.9 * len(mine), language


def test_prompts_that_no_lexicon_was_written_for() -> None:
    fresh = tomllib.loads(Path(__file__).with_name("prompts_fresh.toml").read_text(encoding="utf-8"))
    assert len(fresh) == 6 and sum(map(len, fresh.values())) == 60
    for language, prompts in fresh.items():
        marks = [understood for text, wanted in prompts.items() for _, understood in heard(text, wanted)]
        assert sum(marks) >= 0.9 * len(marks), language


@pytest.mark.parametrize("language", sorted(PROMPTS))
def test_the_language_shows_in_the_words(language: str) -> None:
    for text in PROMPTS[language]:
        assert language in translate(text).languages, text


ENGLISH = (
    "calm piano in A minor, 80 bpm, chords: Am F C G",
    "Bach chorale on a lute, lento, with a suave violin timbre",
    "An anime chanson, sombre and obscure, stuck in a vague piece",
    "the LA mayor, a son of a gun, still fast, do not die on me",
    "A D E chord progression, A, E, O",
    "e-piano, lead synthesizer, jazzy electro cinema, moderate tempo, warmer and warmer",
    "machines, percussions, melodies and pianos by the ocean, delicate, festive",
    "chords: Am F C G in C, 3/4 – “quiet” café’s ½ tone ♯",
    "solo, sin, con, mar, chat, sage, lied, hell, dur",
)


def test_an_english_prompt_stays_as_it_is() -> None:
    texts = list(ENGLISH)
    for music in (True, False):
        for recipe in ("plain", "wide"):
            known = vocabulary_of(music=music, recipe=recipe).to_key()
            texts += [*known, " ".join(known)]
    assert [text for text in texts if translate(text).text != text or translate(text).languages] == []


def test_an_unmarked_word_is_not_english() -> None:
    """A word shows its language only if it is not one of the models' own; those that are English as well are marked."""
    english = set(
        words_of(
            " ".join(word for m in (True, False) for word in vocabulary_of(music=m, recipe="wide").to_key())
        )
    )
    for language in ("es", "de", "fr"):
        found = [
            way
            for way, entry in lexicon(language).spaced.items()
            if entry.sure and english.issuperset(words_of(" ".join(way)))
        ]
        assert found == []


def test_what_a_lexicon_calls_a_term_has_one_spelling() -> None:
    for language in languages():
        one = lexicon(language)
        entries = [*one.spaced.values(), *(entry for ways in one.joined.values() for _, entry in ways)]
        assert len(entries) > 400
        assert all(entry.words.isascii() for entry in entries)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("드럼과 베이스 없이 기타만", "no drums no bass, only guitar"),
        (unicodedata.normalize("NFD", "잔잔한 피아노"), "calm piano"),
        ("１２０박의 피아노", "120 bpm piano"),
        ("calm 피아노 with Geige", "calm piano with violin"),
        ("피아노가방", "piano"),
        ("비밀", ""),
        ("코드: Am F C G, 피아노", "chords: Am F C G, piano"),
        ("Klavierballade, 80er Jahre", "piano ballad, 80s"),
        ("acordes: A D E, guitarra", "chords: A D E, guitar"),
        ("h-Moll und Es-Dur, Klavier", "B minor Eb major, piano"),
        ("단조로운 피아노", "piano"),
    ],
)
def test_words_in_company(text: str, words: str) -> None:
    assert translate(text).words == words


def test_the_plan_is_that_of_the_same_words_in_english() -> None:
    for text, english in (
        ("느린 피아노, 가단조", "slow piano, A minor"),
        ("슬픈 피아노, 3박자", "sad piano, 3/4"),
        ("피아노, 코드: C G Am F", "piano, chords: C G Am F"),
    ):
        assert make_plan(text, duration=20, seed=3) == make_plan(english, duration=20, seed=3)
    plan = make_plan("피아노, 80박", duration=30, seed=1)
    later = plans_over_time(plan, ((0.0, ""), (10.0, "120박")), duration=30, seed=1)[-1]
    assert later is not None and later.tempo == 120


def test_the_model_reads_its_own_words() -> None:
    words = BagOfWordsConditioner()
    same = words.tokenize(["잔잔한 피아노, 드럼 없이", "calm piano, no drums"])[0]
    assert same[0].tolist() == same[1].tolist()
    assert words.tokenize(["쿵쾅쿵쾅"])[1].tolist() == [0]


def test_what_was_understood_is_shown() -> None:
    text = "잔잔한 피아노와 가야금, 가단조, 80박, 드럼 없이"
    plan = make_plan(text, duration=10, seed=7)
    found = understand(text, duration=10, seed=7, plan=plan, vocabulary=MUSIC.vocabulary)
    assert found.line().startswith("10 s  80 bpm  A minor  ")
    assert found.line().endswith("seed 7  understood: calm piano, no drums")
    assert found.unknown == ("가야금",) and found.to_dict()["read_as"] == "calm piano, no drums"
    others = {"sounds": SOUND.vocabulary}
    rain = understand("빗소리와 천둥", duration=10, vocabulary=MUSIC.vocabulary, others=others)
    assert rain.unknown == ("빗소리", "천둥") and rain.read_as == ""
    assert rain.suggestion is not None and rain.suggestion.words == ("빗소리", "천둥")
    nothing = understand("쿵쾅쿵쾅", duration=10, vocabulary=MUSIC.vocabulary)
    assert nothing.read_as == "" and [note.what for note in nothing.notes] == ["words"]


def test_long_nonsense_is_read_fast_enough() -> None:
    for piece in ("피아노", "가 ", "の", "鼓", "la ", "80박 ", "d'", "드럼 없이 "):
        start = time.perf_counter()
        translate(piece * 1000)
        assert time.perf_counter() - start < 5, piece
