"""The kinds of sound that a model is told frame by frame: what people call them, and in which rhythm each is heard."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from audiocraft.music.rewording import ways_to_say
from audiocraft.music.vocabulary import STOP_WORDS, Rhythm, Vocabulary, words_of
from audiocraft.types import SceneEvent

FAINTEST_S = 0.05
"""What is shorter is not heard."""
# Words of captions that say how a sound is, not which.
_MANNERS = frozenset(
    "big small strong steady slow loud deep old modern someone something people running flying falling blowing burning "
    "rushing passing ringing beeping starting taking leaving flowing water metal sound noise early heavy".split()
)
# Words that stand for drums in other places, and here for a piece.
_PIECES = frozenset("beat beats groove grooves breakbeat breakbeats".split())
_LONGEST_PHRASE = 4  # words
_PAUSE_S = (0.2, 0.8)  # between two rhythms in one


@dataclass(frozen=True, slots=True)
class SoundKinds:
    """This record names the kinds of sound that a model is told frame by frame, and how people call them.

    Args:
        ways: kind -> other ways to say it.
        lasting: of the kinds, those that go on by themselves, such as rain.
        rhythms: kind -> when it may be loud, from its first moment on; others are so throughout.
    """

    ways: Mapping[str, tuple[str, ...]]
    lasting: frozenset[str] = frozenset()
    rhythms: Mapping[str, tuple[Rhythm, ...]] = field(default_factory=dict, repr=False, compare=False)
    _phrases: Mapping[tuple[str, ...], str] = field(init=False, repr=False, compare=False)
    _single: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        said = {kind: [content_in_order(way) for way in (kind, *ways)] for kind, ways in self.ways.items()}
        object.__setattr__(
            self, "_phrases", {phrase: kind for kind, found in said.items() for phrase in found if phrase}
        )
        words = {kind: {word for phrase in found for word in phrase} for kind, found in said.items()}
        count = Counter(word for own in words.values() for word in own)
        single = {
            word: kind
            for kind, own in words.items()
            for word in own
            if count[word] == 1 and word not in _MANNERS
        }
        # Instruments all last, and are said whole: "warm" is no synth pad, and a "lofi beat" more than drums.
        object.__setattr__(self, "_single", {} if self.lasting.issuperset(self.ways) else single)

    @classmethod
    def of(
        cls, kinds: Iterable[str], lasting: Iterable[str] = (), vocabulary: Vocabulary | None = None
    ) -> SoundKinds:
        """Return kinds with the ways to say them that a model's vocabulary has."""
        groups = () if vocabulary is None else vocabulary.groups.values()
        terms = [(term, *others) for group in groups for term, others in group.items()]
        ways = {kind: next((said for said in terms if kind in said), ()) for kind in kinds}
        return cls(
            {kind: tuple(way for way in said if way != kind) for kind, said in ways.items()},
            frozenset(lasting),
            {} if vocabulary is None else vocabulary.rhythms,
        )

    def event(
        self, kind: str, start: float, end: float, rng: random.Random, *, filled: bool = False
    ) -> SceneEvent:
        """Return one time that a kind is heard, with a rhythm of its own: it ends with its last burst.

        Args:
            filled: whether the rhythm comes again until the end.
        """
        known = self.rhythms.get(kind, ())
        if not known or kind in self.lasting:
            return SceneEvent(kind=kind, start=start, end=end)
        rhythm = rng.choice(known)
        again = filled or len(rhythm) > 1  # a dog goes on barking; a door slams once
        bursts: list[tuple[float, float]] = []
        now = start
        while now < end - FAINTEST_S and (again or not bursts):
            bursts += [(now + begin, min(now + until, end)) for begin, until in rhythm if now + begin < end]
            now, rhythm = bursts[-1][1] + rng.uniform(*_PAUSE_S), rng.choice(known)
        return SceneEvent(kind=kind, start=start, end=bursts[-1][1], bursts=tuple(bursts))

    def heard_in(self, text: str) -> tuple[str, ...]:
        """Return the kinds that an English text names, each once, in its order."""
        words = content_in_order(text)
        found = self._named_by(words, self._of_phrase) or self._named_by(words, self._of_synonym)
        found = found or [self._single[word] for word in words if word in self._single]
        return tuple(dict.fromkeys(found))

    def _named_by(
        self, words: Sequence[str], kinds_of: Callable[[Sequence[str]], Sequence[str]]
    ) -> list[str]:
        """Return what the longest phrases of some words name, from left to right; a word counts once."""
        found: list[str] = []
        place = 0
        while place < len(words):
            for size in range(min(_LONGEST_PHRASE, len(words) - place), 0, -1):
                kinds = kinds_of(words[place : place + size])
                if kinds:
                    found += kinds
                    place += size - 1
                    break
            place += 1
        return found

    def _of_phrase(self, words: Sequence[str]) -> Sequence[str]:
        """Return what is called so; the steam of a "steam train" is none of its own."""
        kind = self._phrases.get(tuple(words))
        return [kind] if kind is not None else self._of_synonym(words) if len(words) > 1 else []

    def _of_synonym(self, words: Sequence[str]) -> Sequence[str]:
        if _PIECES.issuperset(words):
            return []
        for way in ways_to_say(" ".join(words)):
            kinds = [self._phrases.get(content_in_order(one)) for one in way.split(",")]
            known = [kind for kind in kinds if kind is not None]
            if len(known) == len(kinds):
                return known
        return []


def content_in_order(text: str) -> tuple[str, ...]:
    """Return the words of a text that are no stop words, in order."""
    return tuple(word for word in words_of(text) if word not in STOP_WORDS)


__all__ = ["FAINTEST_S", "SoundKinds", "content_in_order"]
