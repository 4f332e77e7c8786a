"""The words that a model was taught, as its `config.json` declares them."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from audiocraft.errors import CheckpointError

VOCABULARY_FILE = "vocabulary.json"
"""Beside a manifest: the words that the captions of its clips teach."""

# Words of letters (in any script, with an inner apostrophe), and numbers, which are words of their own.
WORD = re.compile(r"\d+(?:[.,]\d+)?|[^\W\d_]+(?:['’][^\W\d_]+)?")
# What a person takes for one word: "lo-fi", "80s".
_TYPED = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*")
Rhythm = tuple[tuple[float, float], ...]
"""(start, end) in seconds of each time that a sound is loud."""
STOP_WORDS = frozenset(
    "a an and are as at be but by for from has have in into is it its of on or that the their this to was "
    "were which while will with".split()
)
# What people say around a wish; nobody is told that a model does not know these.
_AROUND = frozenset(
    "can could create do generate get give hello hi i i'd i'm just let like make me my need play please so some "
    "something thank there want we would you".split()
)


def words_of(text: str) -> list[str]:
    """Return lower-case words of a text: punctuation dropped, numbers apart ("120bpm" is "120", "bpm"), plurals made
    singular by spelling alone ("drums" is "drum")."""
    return [_singular(word) for word in WORD.findall(text.lower())]


def _singular(word: str) -> str:
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "zes", "ches", "shes")):
        return word[:-2]
    return word[:-1]


def content_of(text: str) -> frozenset[str]:
    """Return the words of a text that mean something on their own."""
    return frozenset(words_of(text)) - STOP_WORDS


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A vocabulary holds what a model was taught to tell apart.

    Args:
        groups: for people who look for words: group -> term -> other ways to say it, as in
            {"Instruments": {"piano": ("grand piano",)}}.
        words: what else was in the texts that it was taught with.
        rhythms: kind of sound -> some of the times at which it was loud, from its first: a dog barks
            ((0, 0.2), (0.5, 0.7)).
    """

    groups: Mapping[str, Mapping[str, tuple[str, ...]]]
    words: tuple[str, ...] = field(default=(), repr=False)
    rhythms: Mapping[str, tuple[Rhythm, ...]] = field(default_factory=dict, repr=False, compare=False)
    _key: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ways = (way for terms in self.groups.values() for term in terms for way in (term, *terms[term]))
        object.__setattr__(self, "_key", (*ways, *self.words))

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], *, source: str = "vocabulary") -> Vocabulary:
        """Read what `to_dict` has written."""
        try:
            groups = {
                str(group): {str(term): tuple(map(str, others)) for term, others in terms.items()}
                for group, terms in value.get("groups", {}).items()
            }
            rhythms = {
                str(kind): tuple(tuple((float(start), float(end)) for start, end in one) for one in known)
                for kind, known in value.get("rhythms", {}).items()
            }
            return cls(groups, tuple(map(str, value.get("words", ()))), rhythms)
        except (AttributeError, TypeError, ValueError) as error:
            raise CheckpointError(
                f'{source}: a vocabulary is {{"groups": {{group: {{term: [other ways to say it]}}}}, "words": [...]}}'
            ) from error

    def to_dict(self) -> dict[str, Any]:
        """Return itself as plain values for JSON."""
        groups = {
            group: {term: list(others) for term, others in terms.items()}
            for group, terms in self.groups.items()
        }
        rhythms = {"rhythms": dict(self.rhythms)} if self.rhythms else {}
        return {"groups": groups, "words": list(self.words), **rhythms}

    @property
    def terms(self) -> tuple[str, ...]:
        """Return the terms of all groups."""
        return tuple(term for terms in self.groups.values() for term in terms)

    def unknown(self, text: str) -> tuple[str, ...]:
        """Return the words of `text`, as they were typed, that say nothing to the model; each once."""
        known = _known(self.to_key()) | STOP_WORDS | _AROUND
        typed = dict.fromkeys(_TYPED.findall(text))
        return tuple(word for word in typed if not known.issuperset(words_of(word)))

    def has(self, word: str) -> bool:
        """Return whether the model was taught `word`; unlike `unknown`, this asks so of small words too."""
        return _known(self.to_key()).issuperset(words_of(word))

    def named_in(self, text: str) -> Iterator[str]:
        """Find the terms that `text` names, in any of their ways."""
        there = content_of(text)
        for terms in self.groups.values():
            for term, others in terms.items():
                if any(frozenset() < content_of(way) <= there for way in (term, *others)):
                    yield term

    def to_key(self) -> tuple[str, ...]:
        """Return everything that it holds, in one hashable value."""
        return self._key


@functools.lru_cache(maxsize=64)
def _known(ways: tuple[str, ...]) -> frozenset[str]:
    return frozenset(word for way in ways for word in words_of(way))
