"""Prompts in the words of a model: what is replaced, what stays, what is left out, and what people are told."""

import time
import tomllib
from pathlib import Path

import pytest

import audiocraft.music.rewording as rewording
from audiocraft.checkpoints.facts import vocabulary_called
from audiocraft.data.synthesis.vocabulary import vocabulary_of
from audiocraft.music.denying import wording_of
from audiocraft.music.planning import make_plan
from audiocraft.music.rewording import heard_words, reword
from audiocraft.music.understanding import understand
from audiocraft.music.vocabulary import Vocabulary, words_of

MUSIC = vocabulary_called("musicgen-nano")
SOUNDS = vocabulary_called("audiogen-nano")
TERMS = {"Instruments": {"piano": ("grand piano",), "strings": ("string section",)}, "Moods": {"dark": ()}}
SMALL = Vocabulary(TERMS, words=("music", "with", "no"))


@pytest.mark.parametrize(
    ("prompt", "heard"),
    [
        ("spooky music", "dark music"),
        ("SPOOKY music", "dark music"),
        ("orchestra", "strings"),
        ("grand piano", "grand piano"),  # its own words stay
        ("music with string sections", "music with string sections"),
        (
            "piano in A minor, 120 bpm",
            "piano  A , 120 ",
        ),  # names of notes and numbers stay, like its own words
        ("xyzzy", ""),
        ("", ""),
    ],
)
def test_a_model_hears_words_that_it_was_taught(prompt: str, heard: str) -> None:
    assert heard_words(prompt, SMALL) == heard


def test_a_model_of_any_words_hears_a_prompt_as_it_is() -> None:
    assert reword("epic orchestra", None).text == heard_words("epic orchestra", None) == "epic orchestra"


def test_what_is_said_twice_is_asked_for_once() -> None:
    assert words_of(reword("epic orchestra", MUSIC).text).count("string") == 1


@pytest.mark.parametrize("prompt", ["calm piano, no synths", "rock without any percussion", "no orchestra"])
def test_what_is_denied_is_not_asked_for(prompt: str) -> None:
    before, after = wording_of(prompt), wording_of(reword(prompt, MUSIC).text)
    assert len(before.denied) == len(after.denied)
    asked = set(words_of(after.text)) - set(words_of(before.text))
    assert asked <= {"drum"}  # "no percussion" is "no drums", which the model was taught as it stands


def test_the_longest_name_counts() -> None:
    assert "electronic" in reword("drum and bass", MUSIC).text
    assert reword("jazz with drums and bass", MUSIC).text == "jazz with drums and bass"
    assert reword("classical guitars", MUSIC).text == "acoustic guitar"
    assert reword("lofi hip hop", MUSIC).text == "lofi hip hop"


@pytest.mark.parametrize(("vocabulary", "table"), [(MUSIC, "music"), (SOUNDS, "sound")])
def test_every_line_helps_a_bundled_model_or_one_of_the_wide_corpus(
    vocabulary: Vocabulary, table: str
) -> None:
    from audiocraft.data.synthesis.vocabulary import vocabulary_of

    wide = vocabulary_of(music=table == "music", recipe="wide")
    lines = tomllib.loads(Path(rewording.__file__).with_name("synonyms.toml").read_text())[table]
    assert [words for words in lines if vocabulary.unknown(words) and wide.unknown(words)] == []


def test_rewording_again_changes_nothing() -> None:
    for prompt in ("epic orchestra", "heavy metal riff", "chill study beats", "8-bit video game", "storm"):
        once = reword(prompt, MUSIC).text
        assert reword(once, MUSIC).text == once


def test_a_person_reads_what_the_model_reads() -> None:
    plan = make_plan("epic orchestra", duration=8, seed=1)
    said = understand("epic orchestra", duration=8, seed=1, plan=plan, vocabulary=MUSIC)
    assert said.read_as == "cinematic strings, trumpet, drums"
    assert said.unknown == ()
    assert "understood: cinematic strings, trumpet, drums" in said.line()


def test_a_prompt_in_the_models_own_words_is_not_explained() -> None:
    plan = make_plan("calm piano", duration=8, seed=1)
    assert understand("calm piano", duration=8, seed=1, plan=plan, vocabulary=MUSIC).read_as == ""


def test_another_model_is_named_for_what_it_is_told_with_other_words() -> None:
    said = understand("thunderstorm", duration=5, vocabulary=MUSIC, others={"audiogen-nano": SOUNDS})
    assert said.suggestion is not None
    assert said.suggestion.model == "audiogen-nano"
    assert said.suggestion.words == ("thunderstorm",)


@pytest.mark.parametrize(
    ("prompt", "low", "high"),
    [("drum n bass", 160, 178), ("hip hop", 70, 96), ("techno", 118, 138), ("heavy metal", 132, 172)],
)
def test_a_style_has_its_tempo(prompt: str, low: float, high: float) -> None:
    for seed in range(8):
        plan = make_plan(prompt, duration=8, seed=seed)
        assert plan is not None
        assert low <= plan.tempo <= high


def test_a_long_prompt_is_read_once() -> None:
    prompt = "spooky orchestra without any synths, drum and bass, " * 400
    began = time.process_time()
    assert heard_words(prompt, MUSIC)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rock with guitar", "rock with electric guitar"),
        ("guitar, calm", "acoustic guitar, calm"),
        ("acoustic rock, guitars", "acoustic rock, acoustic guitar"),
        ("funk with bass guitar and electric guitar", "funk with bass guitar and electric guitar"),
        ("rock, no guitar", "rock, no guitar"),
    ],
)
def test_a_guitar_is_the_one_of_its_style(text: str, words: str) -> None:
    vocabulary = vocabulary_called("musicgen-nano")
    assert vocabulary is not None and reword(text, vocabulary).text == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bass but no drums until the chorus", "bass but no drums until the chorus"),
        ("verse and chorus, piano", "verse and chorus, piano"),
        ("a big chorus, piano", "a big chorus, piano"),
        ("quartet of saxes", "quartet of saxes"),
        ("jazz quartet", "jazz quartet"),
        ("acapella choir", " choir"),
        ("chorus and piano", "choir and piano"),
        ("the chorus of monks", "the choir of "),
        ("string quartet", "strings"),
    ],
)
def test_parts_of_songs_and_groups_are_no_other_instruments(text: str, words: str) -> None:
    assert reword(text, vocabulary_of(music=True)).text == words
