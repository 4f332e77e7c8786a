"""What was understood of a prompt: what is not heeded is said, and what is heeded is not called unknown."""

from __future__ import annotations

import json

import pytest

from audiocraft.checkpoints.facts import ModelFacts, facts_of
from audiocraft.data.synthesis.vocabulary import vocabulary_of
from audiocraft.errors import CheckpointError, InvalidInput
from audiocraft.music.planning import ScoreSettings, make_plan
from audiocraft.music.reading import find_chords, parse_chords, read
from audiocraft.music.translating import translate
from audiocraft.music.understanding import Understanding, led_away, understand
from audiocraft.music.vocabulary import Vocabulary

MUSIC, SOUND = facts_of("musicgen-nano"), facts_of("audiogen-nano")


NOTHING = ScoreSettings()


def told(text: str | None, facts: ModelFacts = MUSIC, score: ScoreSettings = NOTHING) -> Understanding:
    plan = make_plan(text, duration=10, seed=7, score=score) if "plan" in facts.takes else None
    others = {other.name: other.vocabulary for other in (MUSIC, SOUND) if other is not facts}
    return understand(
        text, duration=10, seed=7, score=score, plan=plan, vocabulary=facts.vocabulary, others=others
    )


@pytest.mark.parametrize(
    ("text", "chords"),
    [
        ("chords: B♭ E♭ F", ("Bb", "Eb", "F")),
        ("chords: C♯m A E", ("C#m", "A", "E")),
        ("chords: C#m – A — E → D", ("C#m", "A", "E", "D")),
        ("chords: Am, F, C and G", ("Am", "F", "C", "G")),
        ("chords: am f c g", ("Am", "F", "C", "G")),
        ("Chords: A minor, F major, C major. Slow.", ("Am", "F", "C")),
        ("Am F C G, piano", ("Am", "F", "C", "G")),
        ("A minor, chords: Am F C G, A minor, 80 bpm", ("Am", "F", "C", "G")),
        ("chords C G/B Am7 Fmaj7 | Dsus4 and a piano", ("C", "G/B", "Am7", "Fmaj7", "Dsus4")),
        ("a song, form A A B A", ()),
        ("A piano and a Bass", ()),
    ],
)
def test_chords_as_people_write_them(text: str, chords: tuple[str, ...]) -> None:
    assert find_chords(text) == chords


def test_lists_of_chords_are_read_or_refused() -> None:
    assert parse_chords("B♭ – e♭ | F → Cm, and G7") == ("Bb", "Eb", "F", "Cm", "G7")
    for text, named in (("H# X Am", "H#, X"), ("", "is no chord"), ("nothing", "nothing")):
        with pytest.raises(InvalidInput, match=named) as refused:
            parse_chords(text)
        assert refused.value.field == "chords"


@pytest.mark.parametrize(
    ("text", "what", "value"),
    [
        ("piano, 300 bpm", "tempo", "300 bpm"),
        ("piano, 999 bpm", "tempo", "999 bpm"),
        ("piano, 10000 bpm", "tempo", "10000 bpm"),
        ("piano, 80 bpm, later 120 bpm", "tempo", "120 bpm"),
        ("techno 128", "tempo", "128"),
        ("piano in H major", "key", "H major"),
        ("piano in C major and D minor", "key", "D minor"),
        ("piano, chords: Zz Q", "chords", "Zz, Q"),
        ("piano, chords: Am H# F X G", "chords", "H#, X"),
        ("piano in 6/8", "metre", "6/8"),
        ("30 seconds of piano", "length", "30 seconds"),
        ("2 minutes of piano", "length", "2 minutes"),
        ("скрипка и рояль", "words", "скрипка и рояль"),
        ("쿵쾅쿵쾅", "words", "쿵쾅쿵쾅"),
    ],
)
def test_what_cannot_be_is_named(text: str, what: str, value: str) -> None:
    notes = told(text).notes
    assert [(note.what, note.value) for note in notes] == [(what, value)]
    assert value in notes[0].said or what == "words"


@pytest.mark.parametrize(
    "text",
    [
        "calm piano in A minor, 80 bpm, chords: Am F C G",
        "Happy lo-fi hip hop with Rhodes and drums, tempo of 78, in Bb",
        "make me an upbeat house track, please",
        "a slow waltz for strings in 3/4, no drums",
        "10 seconds of jazz, 4/4",
        "",
    ],
)
def test_what_is_heeded_is_not_remarked(text: str) -> None:
    assert told(text).remarks("musicgen-nano") == ()


@pytest.mark.parametrize(
    ("text", "facts", "unknown", "model"),
    [
        ("calm xyzzy, Qwerty!", MUSIC, ("xyzzy", "Qwerty"), None),
        ("rain and thunder", MUSIC, ("rain", "thunder"), "audiogen-nano"),
        ("dogs barking", MUSIC, ("dogs", "barking"), "audiogen-nano"),
        ("calm piano", SOUND, ("calm", "piano"), "musicgen-nano"),
        ("rain with an acoustic guitar", SOUND, ("acoustic", "guitar"), "musicgen-nano"),
        ("a small ensemble, violin", MUSIC, ("small", "ensemble"), None),
    ],
)
def test_words_that_say_nothing(
    text: str, facts: ModelFacts, unknown: tuple[str, ...], model: str | None
) -> None:
    found = told(text, facts)
    if unknown == ("small", "ensemble"):
        unknown = ("small",)  # "string ensemble" was taught
    assert found.unknown == unknown
    assert (found.suggestion and found.suggestion.model) == model
    assert ", ".join(unknown) in found.remarks("it")[0]


def test_every_word_of_the_corpus_is_known() -> None:
    from audiocraft.data.synthesis.sounds import PHRASES

    assert SOUND.vocabulary is not None and MUSIC.vocabulary is not None
    assert all(SOUND.vocabulary.unknown(phrase) == () for ways in PHRASES.values() for phrase in ways)
    assert all(MUSIC.vocabulary.unknown(term) == () for term in MUSIC.vocabulary.terms)


def test_the_bundled_models_declare_the_words_of_their_corpora() -> None:
    assert MUSIC.vocabulary == vocabulary_of(music=True)
    assert SOUND.vocabulary == vocabulary_of(music=False, recipe="wide")
    assert SOUND.vocabulary.rhythms.keys() >= {"dog", "door"} and "rain" not in SOUND.vocabulary.rhythms
    for music in (True, False):
        wide = vocabulary_of(music=music, recipe="wide")
        assert Vocabulary.from_dict(json.loads(json.dumps(wide.to_dict()))) == wide
        assert set(wide.terms) > set(vocabulary_of(music=music).terms) or music
    with pytest.raises(CheckpointError, match=r"config\.json: a vocabulary is"):
        Vocabulary.from_dict({"groups": ["piano"]}, source="config.json")


def test_a_model_that_was_taught_any_text_knows_every_word() -> None:
    found = understand("xyzzy in H major, 30 seconds", duration=10)
    assert found.unknown == () and [note.what for note in found.notes] == ["length"]
    assert (found.tempo, found.key, found.chords) == (None, None, ())


def test_settings_win_over_the_prompt_and_say_so() -> None:
    score = ScoreSettings(tempo=300, key="c# minor", chords=("C♯m", "A"), beats_per_bar=3)
    found = told("piano, 80 bpm, C major, chords: C G, 4/4", score=score)
    assert (found.tempo, found.key, found.chords, found.beats_per_bar) == (150, "C# minor", ("C#m", "A"), 3)
    assert [note.what for note in found.notes] == ["tempo", "key", "chords", "metre", "tempo"]
    assert not told("piano, 80 bpm, in A minor", score=ScoreSettings(tempo=80, key="a minor")).notes


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"tempo": 999}, "tempo"),
        ({"tempo": "80"}, "tempo"),
        ({"tempo": float("nan")}, "tempo"),
        ({"key": "H major"}, "key"),
        ({"chords": ("Am", "H#", "X")}, "chords"),
        ({"beats_per_bar": 6}, "beats_per_bar"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        ScoreSettings(**settings)  # type: ignore[arg-type]
    assert refused.value.field == field


def test_one_line_and_one_document() -> None:
    found = told("calm piano in A minor, 80 bpm, chords: Am F C G")
    assert found.line() == "10 s  80 bpm  A minor  Am F C G  seed 7"
    assert told("rain", SOUND).line() == "10 s  seed 7"
    assert told("a waltz in C, 96 bpm").line().startswith("10 s  96 bpm  3/4  C major  ")
    document = json.loads(json.dumps(told("rain").to_dict()))
    assert document["unknown"] == ["rain"] and document["suggestion"]["model"] == "audiogen-nano"
    assert told("300 bpm").to_dict()["notes"][0]["what"] == "tempo"


def test_reading_long_nonsense_is_fast_enough() -> None:
    for piece in ("chords: ", "Am ", "A minor ", "80 bpm ", "6/8 ", "(", "12,"):
        read(piece * 1000)


def test_nothing_is_claimed_of_a_tempo_that_another_plan_has() -> None:
    """A piece that goes on in the plan of a file does not play the tempo of the prompt at half speed."""
    plan = make_plan("piano, 80 bpm", duration=10, seed=1)
    assert understand("piano, 90 bpm", duration=10, plan=plan).notes == ()


@pytest.mark.parametrize(
    ("text", "tempo", "beats", "key"),
    [
        ("piano 90 BPM 3/4 D minor", 90, 3, "D minor"),
        ("100 bpm 4/4 rock", 100, 4, None),
        ("bpm 90, 3/4, piano", 90, 3, None),
        ("라장조 3/4박자 피아노", None, 3, "D major"),
        ("ニ長調、3/4拍子、ピアノ", None, 3, "D major"),
        ("F#m piano", None, None, "F# minor"),
        ("rock D#m", None, None, "Eb minor"),
        ("140BPM D#m", 140, None, "Eb minor"),
        ("piano Am", None, None, "A minor"),
        ("Ebm", None, None, "Eb minor"),
        ("piano, Bb", None, None, "Bb major"),
        ("Am piano in 3/4", None, 3, "A minor"),
        ("Am I happy with a piano", None, None, None),
        ("what I Am", None, None, None),
        ("A piano and a Bass", None, None, None),
        ("piano Am7", None, None, None),
    ],
)
def test_tempo_metre_and_key_stand_side_by_side(
    text: str, tempo: float | None, beats: int | None, key: str | None
) -> None:
    found = read(translate(text).text)
    assert (found.tempo, found.beats_per_bar) == (tempo, beats)
    assert (found.key and found.key.name) == key and found.notes == ()
    if text != "piano Am7" and "I" not in text:
        assert not told(text).unknown


def test_a_second_key_is_said() -> None:
    assert [note.value for note in told("Em piano in C major").notes] == ["E minor"]


@pytest.mark.parametrize(
    ("negative", "denied", "unknown"),
    [
        ("drums", ("drums",), ()),
        ("drums, bass", ("drums", "bass"), ()),
        ("드럼、 베이스", ("드럼", "베이스"), ()),
        ("low quality, drums, xyzzy", ("drums",), ("low", "quality", "xyzzy")),
        (None, (), ()),
        (" , ", (), ()),
    ],
)
def test_what_guidance_leads_away_from_is_said(
    negative: str | None, denied: tuple[str, ...], unknown: tuple[str, ...]
) -> None:
    found = led_away(told("calm piano"), negative, MUSIC.vocabulary)
    assert (found.denied, found.unknown) == (denied, unknown)
    assert ("without" in found.line()) == bool(denied)


def test_a_model_of_any_text_is_led_away_from_all_of_it() -> None:
    found = led_away(told("calm piano"), "low quality", None)
    assert (found.denied, found.unknown) == (("low quality",), ())
