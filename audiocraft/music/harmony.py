"""Names of keys, chords, progressions and tempi, and how to find them in free text.

Pure Python and exact: no audio, no models. Pitch classes count semitones from C (0) to B (11).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from audiocraft.errors import InvalidInput

Mode = Literal["major", "minor"]

_SHARP_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_FLAT_NAMES = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
_LETTERS = MappingProxyType({"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11})
# The usual spelling of each tonic: the one with fewer accidentals in its signature.
_TONIC_NAMES = MappingProxyType(
    {
        "major": ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"),
        "minor": ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B"),
    }
)
# Tonics whose signature has flats; their chords are spelled with flats too.
_FLAT_TONICS = MappingProxyType(
    {"major": frozenset({1, 3, 5, 8, 10}), "minor": frozenset({0, 2, 3, 5, 7, 10})}
)

SCALES: MappingProxyType[str, tuple[int, ...]] = MappingProxyType(
    {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
)
QUALITIES: MappingProxyType[str, tuple[int, ...]] = MappingProxyType(
    {
        "": (0, 4, 7),
        "m": (0, 3, 7),
        "5": (0, 7),
        "6": (0, 4, 7, 9),
        "m6": (0, 3, 7, 9),
        "7": (0, 4, 7, 10),
        "m7": (0, 3, 7, 10),
        "maj7": (0, 4, 7, 11),
        "mmaj7": (0, 3, 7, 11),
        "9": (0, 4, 7, 10, 2),
        "m9": (0, 3, 7, 10, 2),
        "maj9": (0, 4, 7, 11, 2),
        "add9": (0, 4, 7, 2),
        "madd9": (0, 3, 7, 2),
        "sus2": (0, 2, 7),
        "sus4": (0, 5, 7),
        "7sus4": (0, 5, 7, 10),
        "dim": (0, 3, 6),
        "dim7": (0, 3, 6, 9),
        "m7b5": (0, 3, 6, 10),
        "aug": (0, 4, 8),
    }
)
_QUALITY_ALIASES = MappingProxyType(
    {"M": "", "maj": "", "major": "", "min": "m", "minor": "m", "-": "m", "M7": "maj7", "min7": "m7", "-7": "m7",
     "°": "dim", "o": "dim", "ø": "m7b5", "+": "aug", "sus": "sus4"}
)  # fmt: skip

# One numeral per chord, relative to the scale of the mode (VI of A minor is F). All start on the tonic.
PROGRESSIONS: MappingProxyType[str, tuple[tuple[str, ...], ...]] = MappingProxyType(
    {
        "major": (
            ("I", "vi", "IV", "V"),
            ("I", "V", "vi", "IV"),
            ("I", "IV", "V", "I"),
            ("I", "IV", "I", "V"),
            ("I", "vi", "IV", "I"),
            ("I", "IV", "I", "vi"),
            ("I", "vi", "I", "IV"),
            ("I", "IV", "vi", "I"),
        ),
        "minor": (
            ("i", "VI", "III", "VII"),
            ("i", "VII", "VI", "VII"),
            ("i", "VI", "VII", "i"),
            ("i", "iv", "V", "i"),
            ("i", "iv", "i", "V"),
            ("i", "VI", "iv", "i"),
            ("i", "VI", "i", "VII"),
            ("i", "VI", "i", "V"),
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Key:
    """A key is one of the 24."""

    tonic: int
    mode: Mode

    @property
    def name(self) -> str:
        """Return the usual spelling of the key: "F# minor", "Bb major"."""
        return f"{_TONIC_NAMES[self.mode][self.tonic]} {self.mode}"

    @property
    def scale(self) -> tuple[int, ...]:
        """Return the seven pitch classes from the tonic up (natural minor for minor keys)."""
        return tuple((self.tonic + step) % 12 for step in SCALES[self.mode])

    @property
    def relative(self) -> Key:
        """Return the key of the other mode with the same signature."""
        if self.mode == "major":
            return Key((self.tonic + 9) % 12, "minor")
        return Key((self.tonic + 3) % 12, "major")

    def spell(self, pitch_class: int) -> str:
        """Return the note name of a pitch class as this key would write it."""
        names = _FLAT_NAMES if self.tonic in _FLAT_TONICS[self.mode] else _SHARP_NAMES
        return names[pitch_class % 12]


@dataclass(frozen=True, slots=True)
class Chord:
    """This record holds a chord; "N" (no chord) has root and bass -1 and no pitch classes."""

    root: int
    pitch_classes: tuple[int, ...]
    bass: int


KEYS: tuple[Key, ...] = tuple(Key(tonic, mode) for mode in ("major", "minor") for tonic in range(12))

_NOTE = r"(?P<letter>[A-Ga-g])(?P<accidental>[#b♯♭]|[- ]?(?:sharp|flat))?"
_KEY = re.compile(rf"^{_NOTE}[- ]?(?P<mode>major|minor|maj|min|m)?$")
_CHORD = re.compile(r"^(?P<root>[A-G][#b]?)(?P<quality>[^/]*)(?:/(?P<bass>[A-G][#b]?))?$")
_ROMAN = re.compile(
    r"^(?P<accidental>[#b]?)(?P<degree>VII|VI|IV|V|III|II|I|vii|vi|iv|v|iii|ii|i)(?P<suffix>.*)$"
)
_DEGREES = ("i", "ii", "iii", "iv", "v", "vi", "vii")

# "A minor", "F# maj", "c-sharp minor" anywhere.
_KEY_IN_TEXT = re.compile(
    rf"(?<![\w#]){_NOTE}[- ]?(?P<mode>major|minor|maj|min)\b(?P<after>[- ]\w+)?", re.IGNORECASE
)
# "in Bb", "in Cm": capital letters, and a bare letter only where the phrase ends.
_KEY_AFTER_IN = re.compile(
    r"\b[iI]n (?P<letter>[A-G])(?P<accidental>[#b♯♭]|[- ](?:sharp|flat))?(?P<mode>m)?"
    r"(?=\s*(?:$|[,.;:!?()]|\d|at\b|and\b|with\b))"
)
_KEY_OF = re.compile(
    rf"\bkey(?: of |\s*[:=]\s*|\s+){_NOTE}[- ]?(?P<mode>major|minor|maj|min|m)?(?![\w#])", re.IGNORECASE
)
# "a minor key" names a mode, not the key of A.
_NOT_A_KEY = frozenset(
    {"key", "keys", "mode", "scale", "chord", "chords", "mood", "feel", "third", "sixth", "seventh"}
)

_NUMBER = r"(?P<number>\d+(?:[.,]\d+)?)"
_TEMPO_PATTERNS = (
    re.compile(rf"(?<![\d.])(?<!\d,){_NUMBER}\s*-?\s*(?:bpm\b|beats?[ -]per[ -]minute\b)", re.IGNORECASE),
    re.compile(
        rf"\b(?:(?<!\d)(?<!\d[ -])bpm|tempo)\b\s*(?:of|is|at|around|about|[:=~])?\s*{_NUMBER}(?![\d.]*\d)(?!\s*/\s*\d)",
        re.IGNORECASE,
    ),
)
SLOWEST_TEMPO, FASTEST_TEMPO = 20.0, 400.0
HALF_BAR_TEMPO = 92.0  # below it, four chords change twice a bar


def _pitch_class(letter: str, accidental: str | None) -> int:
    sign = (accidental or "").strip(" -").lower()
    shift = {"": 0, "#": 1, "♯": 1, "sharp": 1, "b": -1, "♭": -1, "flat": -1}[sign]
    return (_LETTERS[letter.upper()] + shift) % 12


def _key_of(match: re.Match[str]) -> Key:
    text = (match["mode"] or "").lower()
    return Key(
        _pitch_class(match["letter"], match["accidental"]),
        "minor" if text in ("m", "min", "minor") else "major",
    )


def parse_key(text: str) -> Key:
    """Read the key that a label names: "A minor", "F#m", "Bb", "c-sharp minor".

    Raises:
        InvalidInput: the text is not one key.
    """
    cleaned = " ".join(text.split())
    for word in ("Major", "Minor", "MAJOR", "MINOR", "Maj", "Min", "Sharp", "Flat"):
        cleaned = cleaned.replace(word, word.lower())
    match = _KEY.match(cleaned)
    if match is None:
        german = "; H is B here" if cleaned[:1] in "Hh" else ""
        raise InvalidInput(
            f"{text!r} is not a key; write one like 'A minor', 'F# major' or 'Bb'{german}", field="key"
        )
    return _key_of(match)


def keys_in(text: str) -> list[tuple[Key, int, int]]:
    """Return the keys a free text names, each with where its words begin and end; the one that counts is the first."""
    named = [
        (_key_of(match), match.start(), match.end("mode"))
        for match in _KEY_IN_TEXT.finditer(text)
        if not _is_only_a_mode(match, text)
    ]
    if named:
        return named
    stated = _KEY_OF.search(text) or _KEY_AFTER_IN.search(text)
    return [] if stated is None else [(_key_of(stated), stated.start(), stated.end())]


def _is_only_a_mode(match: re.Match[str], text: str) -> bool:
    after = (match["after"] or "").strip(" -").lower()
    article = not match["accidental"] and match["letter"] in ("aA" if text.isupper() else "a")
    return article and after in _NOT_A_KEY


def find_key(text: str) -> Key | None:
    """Find the first key that a free text names; None where it names none."""
    return next((key for key, _, _ in keys_in(text)), None)


def tempi_in(text: str) -> list[tuple[float, int, int]]:
    """Return the numbers that a free text calls a tempo in beats per minute, possible or not, each with where its
    words begin and end."""
    return [
        (float(match["number"].replace(",", ".")), match.start(), match.end())
        for pattern in _TEMPO_PATTERNS
        for match in pattern.finditer(text)
    ]


def is_tempo(value: float) -> bool:
    """Return whether music can have so many beats per minute."""
    return SLOWEST_TEMPO <= value <= FASTEST_TEMPO


def find_tempo(text: str) -> float | None:
    """Find the tempo in beats per minute that a free text names ("120 bpm", "tempo of 70"); None where it names
    none."""
    return next((tempo for tempo, _, _ in tempi_in(text) if is_tempo(tempo)), None)


def parse_chord(symbol: str) -> Chord:
    """Read the notes of a chord symbol such as "Am", "F", "G7", "Bdim", "Csus4", "C/E" or "N".

    Raises:
        InvalidInput: the symbol is unknown.
    """
    if symbol in ("N", "N.C.", "NC"):
        return Chord(-1, (), -1)
    match = _CHORD.match(symbol.replace("♯", "#").replace("♭", "b"))
    quality = "?" if match is None else _QUALITY_ALIASES.get(match["quality"], match["quality"])
    if match is None or quality not in QUALITIES:
        raise InvalidInput(
            f"unknown chord {symbol!r}; write one like 'Am', 'F', 'G7', 'Bdim' or 'N'", field="chords"
        )
    root = _pitch_class(match["root"][0], match["root"][1:])
    bass = match["bass"]
    notes = tuple((root + step) % 12 for step in QUALITIES[quality])
    return Chord(root, notes, root if bass is None else _pitch_class(bass[0], bass[1:]))


def beats_per_chord(tempo: float, beats_per_bar: int, num_chords: int) -> int:
    """Return how long a chord lasts: a bar, but half a bar where four chords at a slow tempo would take too long to
    come round."""
    return 2 if beats_per_bar == 4 and num_chords == 4 and tempo < HALF_BAR_TEMPO else beats_per_bar


def realise(progression: tuple[str, ...], key: Key) -> tuple[str, ...]:
    """Spell roman numerals as chord symbols in a key: ("i", "VI", "V7") in A minor gives ("Am", "F", "E7")."""
    return tuple(_realise_one(numeral, key) for numeral in progression)


def _realise_one(numeral: str, key: Key) -> str:
    match = _ROMAN.match(numeral)
    if match is None:
        raise InvalidInput(
            f"{numeral!r} is not a roman numeral such as 'I', 'vi' or 'V7'", field="progression"
        )
    degree = match["degree"]
    shift = {"": 0, "#": 1, "b": -1}[match["accidental"]]
    root = key.tonic + SCALES[key.mode][_DEGREES.index(degree.lower())] + shift
    suffix = _QUALITY_ALIASES.get(match["suffix"], match["suffix"])
    if degree.islower() and not suffix.startswith(("m", "dim", "sus", "5")):
        suffix = "m" + suffix
    if suffix not in QUALITIES:
        raise InvalidInput(f"unknown chord quality {suffix!r} in {numeral!r}", field="progression")
    return key.spell(root) + suffix
