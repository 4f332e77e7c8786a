"""The kinds of sound that a model is told frame by frame: what people call them, and in which rhythm each is heard."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from audiocraft.errors import InvalidInput
from audiocraft.music.rewording import plugged_in, reword, text_without_parts_of_songs, ways_to_say
from audiocraft.music.vocabulary import STOP_WORDS, Rhythm, Vocabulary, words_of
from audiocraft.types import Scene, SceneEvent

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
_LONGEST_OF_MANY_S, _SOUNDING = (
    2.0,
    0.7,
)  # of what is heard a number of times: from one to the next, and its part
_PAUSE_S = (0.2, 0.8)  # between two rhythms in one


@dataclass(frozen=True, slots=True)
class SoundKinds:
    """This record names the kinds of sound that a model is told frame by frame, and how people call them.

    Args:
        ways: kind -> other ways to say it.
        lasting: of the kinds, those that go on by themselves, such as rain.
        rhythms: kind -> when it may be loud, from its first moment on; others are so throughout.
        vocabulary: of the model; instruments are those that it hears in its own words for a text.
    """

    ways: Mapping[str, tuple[str, ...]]
    lasting: frozenset[str] = frozenset()
    rhythms: Mapping[str, tuple[Rhythm, ...]] = field(default_factory=dict, repr=False, compare=False)
    vocabulary: Vocabulary | None = field(default=None, repr=False, compare=False)
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
        # Instruments are said whole: "warm" is no synth pad, and a "lofi beat" more than drums.
        object.__setattr__(self, "_single", {} if self.are_instruments else single)

    @property
    def are_instruments(self) -> bool:
        """Return whether these are kinds of music, which all last."""
        return self.lasting.issuperset(self.ways)

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
            vocabulary,
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

    def times(
        self,
        kind: str,
        start: float,
        end: float,
        rng: random.Random,
        count: int | None = None,
        *,
        filled: bool = False,
    ) -> list[SceneEvent]:
        """Return when a kind is heard within a time: as one event, or `count` times, as far as they fit.

        Args:
            filled: see `event`.
        """
        if count is None:
            return [self.event(kind, start, end, rng, filled=filled)]
        if self.rhythms.get(kind):
            one = self.event(kind, start, end, rng, filled=True)
            bursts = one.bursts[:count]
            return [SceneEvent(kind=kind, start=start, end=bursts[-1][1], bursts=bursts)]
        share = min((end - start) / count, _LONGEST_OF_MANY_S)
        sounding = share if count == 1 else share * _SOUNDING
        if sounding < FAINTEST_S:
            return [self.event(kind, start, end, rng, filled=filled)]
        begins = [start + number * share for number in range(count)]
        return [SceneEvent(kind=kind, start=begin, end=begin + sounding) for begin in begins]

    def check(self, scene: Scene) -> None:
        """Refuse a scene with a kind that is none of these."""
        for kind in (*(event.kind for event in scene.events), *scene.absent):
            if kind not in self.ways:
                near = get_close_matches(kind, self.ways, n=3) or sorted(self.ways)[:5]
                raise InvalidInput(
                    f"{kind!r} is no kind of sound that the model is told; there are {len(self.ways)}, such as "
                    f"{', '.join(near)}",
                    field="scenes",
                )

    def heard_in(self, text: str) -> tuple[str, ...]:
        """Return the kinds that an English text names, each once, in its order."""
        if self.are_instruments:
            text = text_without_parts_of_songs(text)
            text = reword(plugged_in(text), self.vocabulary).text
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
