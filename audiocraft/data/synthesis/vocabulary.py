"""What a corpus teaches a model to tell apart: the words of its captions, in groups that a person can look through."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from audiocraft.data.synthesis import captions, scenes, sounds
from audiocraft.data.synthesis.captions import INSTRUMENT_WORDS
from audiocraft.data.synthesis.players import WORDS as PLAYER_WORDS
from audiocraft.data.synthesis.styles import MOODS, STYLES
from audiocraft.music.vocabulary import Vocabulary, words_of

_SOUND_GROUPS: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {
        "Nature": ("rain", "wind", "thunder", "waves", "stream", "drops", "fire", "birds", "crickets", "dog"),
        "People and places": ("footsteps", "door", "typing", "clock", "bell"),
        "Machines and noise": ("engine", "helicopter", "siren", "alarm", "whoosh", "explosion"),
    }
)


def vocabulary_of(*, music: bool, recipe: str = "plain") -> Vocabulary:
    """Return the words of a recipe's music or sounds."""
    wide = recipe == "wide"
    return _music(wide=wide) if music else _sounds(wide=wide)


def _music(*, wide: bool) -> Vocabulary:
    instruments = PLAYER_WORDS if wide else INSTRUMENT_WORDS
    groups: dict[str, Mapping[str, tuple[str, ...]]] = {
        "Instruments": {name: _others(name, ways) for name, ways in instruments.items()},
        "Styles": {name: _others(name, style.words) for name, style in STYLES.items()},
        "Moods": {name: _others(name, mood.words) for name, mood in MOODS.items()},
    }
    return Vocabulary(groups, _words(captions.every_phrase(short=wide)))


def _sounds(*, wide: bool) -> Vocabulary:
    groups: dict[str, Mapping[str, tuple[str, ...]]] = {
        group: dict(_ways(kind, sounds.PHRASES[kind]) for kind in kinds)
        for group, kinds in _SOUND_GROUPS.items()
    }
    templates: tuple[str, ...] = sounds.TEMPLATES
    if wide:
        groups["Recorded"] = dict(_ways(kind, ways) for kind, (ways, _) in scenes.RECORDED.items())
        templates = scenes.every_phrase()
    return Vocabulary(groups, _words(templates))


def _ways(kind: str, phrases: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Return the plainest phrase of a kind, and the others."""
    return phrases[0], _others(phrases[0], dict.fromkeys((kind, *phrases)))


def _others(name: str, ways: Iterable[str]) -> tuple[str, ...]:
    return tuple(way for way in ways if way != name)


def _words(phrases: Iterable[str]) -> tuple[str, ...]:
    """Return the words of templates, without what is put into them."""
    plain = (re.sub(r"\{\w+\}", " ", phrase) for phrase in phrases)
    return tuple(sorted({word for phrase in plain for word in words_of(phrase)}))
