"""Says in words what a piece is, in many ways; never anything its labels do not say.

The vocabulary is small on purpose (a few hundred words): a small model must hear every word often.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from audiocraft.data.synthesis.attributes import Attributes, draw_attributes
from audiocraft.data.synthesis.instruments import DRUMS, INSTRUMENTS
from audiocraft.data.synthesis.styles import MOODS, STYLES
from audiocraft.errors import InvalidInput

NUM_CAPTIONS = 4
NUM_SHORT = 2

Words = Mapping[str, tuple[str, ...]]
"""Names of instruments with what they are called, the label first."""
INSTRUMENT_WORDS: Words = MappingProxyType({name: one.words for name, one in INSTRUMENTS.items()})

# Tempo, key and every instrument named.
FULL = (
    "{mood} {inst} in {key}, {tempo}",
    "{mood} {style} with {inst} in {key}, {tempo}",
    "{style} with {inst}, {tempo}, {key}",
    "{inst}, {key}, {tempo}",
    "{inst}, {tempo}, {key}, {mood}",
    "{mood}, {style}, {inst}, {key}, {tempo}",
    "{style}, {mood}, {inst}, {tempo}, {key}",
    "{tempo}, {key}, {inst}",
    "{tempo} {style} in {key} with {inst}",
    "{tempo} {mood} {noun} in {key}, {inst}",
    "{key}, {tempo}, {mood} {style}, {inst}",
    "{inst} playing {mood} {style} in {key} at {tempo}",
    "{inst} playing in {key} at {tempo}",
    "{inst} in {key} at {tempo}",
    "{inst} at {tempo} in {key}",
    "a {mood} {noun} for {inst} in {key} at {tempo}",
    "a {mood} {style} {noun} with {inst}, in {key}, at {tempo}",
    "a {style} {noun} in {key} at {tempo} with {inst}",
    "a {pace} {style} {noun} in {key}, {tempo}, played by {inst}",
    "a {pace} and {mood} {noun} with {inst} in {key}, {tempo}",
    "a {noun} in {key} with {inst}, {pace}, {tempo}",
    "{pace} {mood} {inst} in {key}, {tempo}",
    "{pace} {style}, {inst}, {key}, {tempo}",
    "{mood} {noun} with {inst}, key of {key}, {tempo}",
    "{style} {noun}, {inst}, key of {key}, {tempo}",
    "{style} {noun} featuring {inst} in {key}, {tempo}",
    "{mood} {style} {noun} featuring {inst}, {tempo}, in {key}",
    "play {mood} {style} with {inst} in {key} at {tempo}",
    "play {inst} in {key} at {tempo}",
    "make a {mood} {noun} with {inst} in {key}, {tempo}",
    "make a {style} {noun} with {inst} at {tempo} in {key}",
    "i want a {mood} {noun} with {inst} in {key} at {tempo}",
    "music for {inst} in {key}, {mood}, {tempo}",
    "{mood} music in {key}, {tempo}, {inst}",
    "{style} music at {tempo} in {key} with {inst}",
    "instrumental {style} in {key}, {inst}, {tempo}",
    "instrumental {noun}, {mood}, {inst}, {key}, {tempo}",
    "the sound of {inst} in {key}, {mood} and {pace}, {tempo}",
    "{inst} and a {mood} mood, {key}, {tempo}",
    "{inst} in a {mood} {style} style, {key}, {tempo}",
    "a {mood} {style} {noun} of {inst} in the key of {key} with a tempo of {bpm} bpm",
    "this is a {pace} {style} {noun} in {key} at {tempo} with {inst}",
)
# Some attributes only.
PARTIAL = (
    "{mood} {inst}",
    "{mood} {lead}",
    "{inst}",
    "{style} with {inst}",
    "{mood} {style}",
    "{mood} {style} {noun}",
    "{mood} {style} with {lead}",
    "{lead} in {key}",
    "{mood} {lead} in {key}",
    "{lead}, {tempo}",
    "{mood} {lead} at {tempo}",
    "{pace} {lead}",
    "{pace} {mood} {style}",
    "{pace} {style} with {inst}",
    "{mood} {noun} in {key}",
    "{style} in {key}",
    "{style} at {tempo}",
    "{key}, {tempo}",
    "{noun} in {key} at {tempo}",
    "{mood} {noun} at {tempo}",
    "{inst} in a {modeword} key, {tempo}",
    "{mood} {inst} in a {modeword} key",
    "{pace} {noun} in a {modeword} key with {inst}",
    "a {mood} {noun} with {inst}",
    "a {style} {noun} with {lead} at {tempo}",
    "a {pace} {noun} for {lead} in {key}",
    "{inst}, {style}, {mood}",
    "{style}, {tempo}",
)
# For one instrument alone, and for music without drums.
SOLO = (
    "solo {lead} in {key}, {tempo}",
    "{mood} solo {lead} in {key} at {tempo}",
    "{lead} solo, {key}, {tempo}",
    "only {lead}, {mood}, {key}, {tempo}",
    "{mood} {lead} alone in {key}, {tempo}",
    "a {pace} {style} {noun} for solo {lead}, {key}, {tempo}",
)
WITHOUT_DRUMS = (
    "{mood} {inst} in {key}, {tempo}, no drums",
    "{style} with {inst} without drums, {key}, {tempo}",
    "{inst}, no drums, {tempo}, in {key}",
)
TEMPLATES = FULL + PARTIAL + SOLO + WITHOUT_DRUMS
# As people type who are in a hurry: a word or two.
SHORT = (
    "{style}",
    "{lead}",
    "{mood} {noun}",
    "{mood}",
    "{style} {noun}",
    "{mood} {style}",
    "{style} {bpm}",
    "{bpm}bpm {style}",
    "{lead} {key}",
    "{lead} {noun} please",
    "some {mood} {style}",
    "something {mood}",
    "{pace} {style}",
    "{style} {lead}",
    "{mood} {lead} {noun}",
    "{key} {bpm}",
    "need {mood} {style} {noun}",
    "{style}, {mood}, {lead}!",
    "{mood} {mood} {style}",
    "give me {style}",
)

_NOUNS = ("music", "song", "piece", "track", "tune", "melody", "loop")
_COUNTABLE = _NOUNS[1:]
_TEMPI = ("{bpm} bpm", "{bpm} bpm", "{bpm} bpm", "{bpm} BPM", "tempo {bpm}", "{bpm} beats per minute")
# Upper ends (excluded) of the paces.
_PACES = (
    (70, ("very slow", "slow")),
    (86, ("slow",)),
    (116, ("medium tempo", "moderate", "mid tempo")),
    (146, ("fast", "quick")),
    (1000, ("very fast", "fast")),
)
_FULL_SHARE, _SPECIAL_SHARE = 0.68, 0.12


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt is a text and what it asks for; None where it does not say."""

    text: str
    bpm: float
    key: str
    instruments: tuple[str, ...]
    style: str | None
    mood: str | None


def every_phrase(*, short: bool) -> tuple[str, ...]:
    """Return everything that captions are put together from, but the names of instruments, styles and moods.

    Args:
        short: hasty captions too.
    """
    paces = (word for _, words in _PACES for word in words)
    return (*TEMPLATES, *(SHORT if short else ()), *_NOUNS, *_TEMPI, *paces, "major", "minor")


def pace_words(bpm: float) -> tuple[str, ...]:
    """Return words for a tempo: "slow", "fast"."""
    return next(words for limit, words in _PACES if bpm < limit)


def _synonym(rng: random.Random, words: Sequence[str]) -> str:
    """Return the label half of the time, so that it is heard most."""
    return words[0] if rng.random() < 0.5 else rng.choice(words)


def _list_of(rng: random.Random, names: Sequence[str], known: Words) -> str:
    words = [_synonym(rng, known[name]) for name in names]
    if len(words) == 1:
        return words[0]
    if len(words) == 2:
        return rng.choice(("{} and {}", "{} and {}", "{}, {}")).format(*words)
    return f"{', '.join(words[:-1])}{rng.choice((' and ', ' and ', ', '))}{words[-1]}"


def _cased(rng: random.Random, text: str) -> str:
    """Return a caption mostly as written; some captions in small letters, a few in capitals or with a full stop."""
    draw = rng.random()
    if draw < 0.3:
        return text.lower()
    if draw < 0.33:
        return text.upper()
    if draw < 0.5:
        return text[0].upper() + text[1:] + rng.choice(("", "."))
    return text


def write(rng: random.Random, template: str, about: Attributes, known: Words = INSTRUMENT_WORDS) -> str:
    """Return one caption from a template.

    Args:
        known: the names that each instrument goes by.
    """
    article = re.search(r"\ba (?:\{\w+\}(?: and)? )*\{noun\}", template) is not None
    text = template.format(
        mood=_synonym(rng, MOODS[about.mood].words),
        style=_synonym(rng, STYLES[about.style].words),
        inst=_list_of(rng, about.instruments, known),
        lead=_synonym(rng, known[about.instruments[0]]),
        key=about.key.name,
        modeword=about.key.mode,
        tempo=rng.choice(_TEMPI).format(bpm=about.bpm),
        pace=rng.choice(pace_words(about.bpm)),
        noun=rng.choice(_COUNTABLE if article else _NOUNS),
        bpm=about.bpm,
    )
    # Capital A stays: it names a key.
    text = re.sub(r"\ba (?=[aeiou])", "an ", text)
    return _cased(rng, text)


def _draw_template(rng: random.Random, about: Attributes, full_share: float) -> str:
    special = (SOLO if len(about.instruments) == 1 else ()) + (
        WITHOUT_DRUMS if DRUMS not in about.instruments else ()
    )
    if special and rng.random() < _SPECIAL_SHARE:
        return rng.choice(special)
    return rng.choice(FULL if rng.random() < full_share else PARTIAL)


def draw_captions(rng: random.Random, about: Attributes, known: Words = INSTRUMENT_WORDS) -> tuple[str, ...]:
    """Draw `NUM_CAPTIONS` captions; the first is the description and says most."""
    shares = (0.8, *(_FULL_SHARE for _ in range(NUM_CAPTIONS - 1)))
    return tuple(write(rng, _draw_template(rng, about, share), about, known) for share in shares)


def draw_short_captions(
    rng: random.Random, about: Attributes, known: Words = INSTRUMENT_WORDS
) -> tuple[str, ...]:
    """Return `NUM_SHORT` hasty captions, half of them in small letters throughout."""
    texts = (write(rng, rng.choice(SHORT), about, known) for _ in range(NUM_SHORT))
    return tuple(text.lower() if rng.random() < 0.5 else text for text in texts)


_NAMES = MappingProxyType({word: name for name, one in INSTRUMENTS.items() for word in one.words})
# Longest first: "electric piano" is not a piano.
_NAME_PATTERN = re.compile(
    rf"\b(?:{'|'.join(sorted(map(re.escape, _NAMES), key=len, reverse=True))})\b", re.IGNORECASE
)
_NEGATED_DRUMS = re.compile(r"\b(?:no|without) drums\b", re.IGNORECASE)


def instruments_in(text: str) -> tuple[str, ...]:
    """Return the instruments a text names, by their labels, in order."""
    found = _NAME_PATTERN.findall(_NEGATED_DRUMS.sub("", text))
    return tuple(dict.fromkeys(_NAMES[word.lower()] for word in found))


def heldout_prompts(n: int, seed: int) -> list[dict[str, Any]]:
    """Draw `n` prompts with held-out combinations, each naming tempo, key and every instrument.

    Returns records with the fields of `Prompt`.
    """
    if n < 0:
        raise InvalidInput(f"number of prompts {n} is negative", field="n")
    return [asdict(_heldout_prompt(seed, index)) for index in range(n)]


def _heldout_prompt(seed: int, index: int) -> Prompt:
    rng = random.Random(f"prompt/{seed}/{index}")
    about = draw_attributes(rng, held_out=True)
    template = rng.choice(FULL)
    return Prompt(
        text=write(rng, template, about),
        bpm=float(about.bpm),
        key=about.key.name,
        instruments=about.instruments,
        style=about.style if "{style}" in template else None,
        mood=about.mood if "{mood}" in template else None,
    )
