"""Keys, chords and tempi: every name is read back as what it says."""

from __future__ import annotations

import pytest

from audiocraft.errors import InvalidInput
from audiocraft.music import harmony
from audiocraft.music.harmony import (
    KEYS,
    PROGRESSIONS,
    Key,
    find_key,
    find_tempo,
    parse_chord,
    parse_key,
    realise,
)


@pytest.mark.parametrize("key", KEYS)
def test_every_name_is_read_back(key: Key) -> None:
    assert parse_key(key.name) == key
    assert find_key(f"calm piano in {key.name}, 80 bpm") == key
    assert find_key(f"calm piano in {key.name.lower()}, 80 bpm") == key
    assert key.relative.relative == key and set(key.relative.scale) == set(key.scale)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a song in Bb", "Bb major"),
        ("F# maj groove", "F# major"),
        ("C-sharp minor, sad", "C# minor"),
        ("e flat major waltz", "Eb major"),
        ("key of Am", "A minor"),
        ("rock in Em, fast", "E minor"),
        ("key: G, 100 bpm", "G major"),
        ("D♭ major", "Db major"),
        ("music in a minor", "A minor"),
    ],
)
def test_keys_in_free_text(text: str, name: str) -> None:
    found = find_key(text)
    assert found is not None and found.name == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I am happy",
        "a sad song",
        "in a minor key",
        "FLUTE IN A MINOR KEY",
        "in A dark room",
        "Am I late?",
        "Bach in December",
    ],
)
def test_text_without_key(text: str) -> None:
    assert find_key(text) is None


@pytest.mark.parametrize(
    ("text", "tempo"),
    [
        ("120 bpm", 120.0),
        ("at 92 BPM", 92.0),
        ("tempo 70", 70.0),
        ("tempo: 70.5", 70.5),
        ("a 128-bpm beat", 128.0),
        ("90 beats per minute", 90.0),
        ("no number bpm", None),
        ("5000 bpm", None),
        ("10 s of 80s music", None),
        ("5 bpm", None),
    ],
)
def test_tempo_in_free_text(text: str, tempo: float | None) -> None:
    assert find_tempo(text) == tempo


@pytest.mark.parametrize(
    ("symbol", "notes", "bass"),
    [
        ("Am", (9, 0, 4), 9),
        ("F", (5, 9, 0), 5),
        ("G7", (7, 11, 2, 5), 7),
        ("Bdim", (11, 2, 5), 11),
        ("Csus4", (0, 5, 7), 0),
        ("Bbmaj7", (10, 2, 5, 9), 10),
        ("C/E", (0, 4, 7), 4),
        ("N", (), -1),
    ],
)
def test_chords(symbol: str, notes: tuple[int, ...], bass: int) -> None:
    chord = parse_chord(symbol)
    assert (chord.pitch_classes, chord.bass) == (notes, bass)


@pytest.mark.parametrize("key", KEYS)
def test_progressions_start_on_the_tonic(key: Key) -> None:
    """A model that learns keys must hear the tonic first; only the raised seventh may leave the scale."""
    allowed = {*key.scale, (key.tonic + 11) % 12}
    for progression in PROGRESSIONS[key.mode]:
        chords = [parse_chord(symbol) for symbol in realise(progression, key)]
        assert chords[0].root == key.tonic
        assert all(set(chord.pitch_classes) <= allowed for chord in chords)


def test_numerals() -> None:
    assert realise(("i", "VI", "III", "VII", "V7"), parse_key("A minor")) == ("Am", "F", "C", "G", "E7")
    assert realise(("I", "vi7", "Imaj7", "vii°"), parse_key("Bb")) == ("Bb", "Gm7", "Bbmaj7", "Adim")


@pytest.mark.parametrize("text", ["", "H minor", "A minor B", "minor", "x"])
def test_bad_names_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_key(text)
    with pytest.raises(InvalidInput):
        parse_chord(text)
    with pytest.raises(InvalidInput):
        harmony.realise((text,), parse_key("C"))
