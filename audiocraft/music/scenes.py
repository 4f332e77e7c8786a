"""Scenes from sentences: which sounds a prompt asks for, in which order, and when each is heard.

"Rain, then a dog barking" names two kinds and an order. Words that enter a network as one vector cannot say which comes
first, so the order is read by rule, as tempo and key of music are (`music.planning`), and told frame by frame. What the
sounds are like (far away, in a cave) is left to the words.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from audiocraft.music.denying import unweighted, wording_of
from audiocraft.music.rewording import ways_to_say
from audiocraft.music.translating import translate
from audiocraft.music.vocabulary import STOP_WORDS, Rhythm, Vocabulary, words_of
from audiocraft.types import Scene, SceneEvent

_NEXT = re.compile(
    r"\b(?:and\s+)?(?:then|afterwards|finally)\b|\bfollowed(?:\s+by)?\b|\bafter\s+(?:that|which)\b|\bbefore\b|-+>|→|>",
    re.IGNORECASE,
)
_AFTER = re.compile(r"\bafter\b(?!\s+\d)", re.IGNORECASE)
_BESIDE = re.compile(
    r"[,;.!?+&\n]|\b(?:and|with|while|plus|over|under|during|as\s+well\s+as)\b", re.IGNORECASE
)
_S = r"\s*(?:s|sec|secs|seconds?)\b"
_NUMBER = r"(\d+(?:\.\d+)?)"
_TIMES = re.compile(
    rf"\b(?:from\s+)?{_NUMBER}(?:{_S})?\s*(?:-|–|to|until|till)\s*{_NUMBER}{_S}"
    rf"|\b(?:at|after|from)\s+{_NUMBER}{_S}|\bfor\s+{_NUMBER}{_S}",
    re.IGNORECASE,
)
# Words of captions that say how a sound is, not which.
_MANNERS = frozenset(
    "big small strong steady slow loud deep old modern someone something people running flying falling blowing burning "
    "rushing passing ringing beeping starting taking leaving flowing water metal sound noise early heavy".split()
)
_LONGEST_PHRASE = 4  # words
# Seconds, as the corpus of scenes has them: how long something that happens is heard at most, what lies between two of
# them, how late it begins at most.
_EVENT_S, _GAP_S, _LATE_S = (5.0, 8.0), (0.7, 2.0), 0.4
_PAUSE_S = (0.2, 0.8)  # between two rhythms in one
_FAINTEST_S = 0.05


@dataclass(frozen=True, slots=True)
class SoundKinds:
    """The kinds of sound that a model is told frame by frame, and how people call them.

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
        said = {kind: [_content(way) for way in (kind, *ways)] for kind, ways in self.ways.items()}
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
        object.__setattr__(self, "_single", single)

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
        while now < end - _FAINTEST_S and (again or not bursts):
            bursts += [(now + begin, min(now + until, end)) for begin, until in rhythm if now + begin < end]
            now, rhythm = bursts[-1][1] + rng.uniform(*_PAUSE_S), rng.choice(known)
        return SceneEvent(kind=kind, start=start, end=bursts[-1][1], bursts=tuple(bursts))

    def heard_in(self, text: str) -> tuple[str, ...]:
        """Return the kinds that an English text names, each once, in its order."""
        words = _content(text)
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
        for way in ways_to_say(" ".join(words)):
            kinds = [self._phrases.get(_content(one)) for one in way.split(",")]
            known = [kind for kind in kinds if kind is not None]
            if len(known) == len(kinds):
                return known
        return []


@dataclass(frozen=True, slots=True)
class _AtOnce:
    """What is heard at once, and when, where the text says it."""

    kinds: tuple[str, ...]
    start: float | None = None
    end: float | None = None
    seconds: float | None = None

    @property
    def timed(self) -> bool:
        return (self.start, self.end, self.seconds) != (None, None, None)


def make_scene(
    text: str | None,
    kinds: SoundKinds,
    *,
    duration: float,
    seed: int,
    start: float = 0.0,
    end: float | None = None,
    known: float = 0.0,
) -> Scene | None:
    """Plan which sounds are heard when.

    What lasts (rain) is heard throughout, what happens (a door) as often as it fits, one after the other where there
    are several; "then", "followed by", "before" and "after" divide the piece among what they join. "At 3 s", "from 2 to
    5 s" and "for 2 s" are taken literally.

    Args:
        text: the prompt, in any language of `music.lexicons`; what it denies is not heard.
        kinds: that the model is told.
        duration: of the whole piece, in seconds.
        seed: same text, duration and seed give the same scene.
        start, end: what of the piece the text is about, in seconds; all of it by default.
        known: seconds at its beginning that are there already; what happens does so behind them.
    Returns:
        a scene, or None where the text names none of the kinds, or none within the piece.
    """
    english = translate(unweighted(wording_of(unweighted(text or "")).text)).text
    steps = [_parts(step, kinds) for step in _in_order(english)]
    steps = [parts for parts in steps if parts]
    until, begun = duration if end is None else end, start
    start = max(start, known)
    if not steps or until - start < _FAINTEST_S:
        return None
    rng = random.Random(f"scene:{seed}:{start:g}")
    events: list[SceneEvent] = []
    length = (until - start) / len(steps)
    for number, parts in enumerate(steps):
        begin = start + number * length
        events += _laid_out(
            parts, kinds, begin, begin + length, rng=rng, piece=(start, until), only=len(steps) == 1
        )
    if len(steps) == 1 and known > begun:  # what lasts was heard before, and goes on
        events = [
            replace(event, start=begun)
            if event.kind in kinds.lasting and (event.start, event.end) == (start, until)
            else event
            for event in events
        ]
    heard = sorted(events, key=lambda event: (event.start, event.kind))
    return Scene(events=tuple(heard), start=0.0, duration=duration) if heard else None


def without_times(text: str) -> str:
    """Return a text without the times that a scene is told."""
    return _TIMES.sub("", text)


def scene_line(scene: Scene) -> str:
    """Return a scene on one line: "rain, dog 2-4.5 s". What is heard throughout has no times."""
    told = dict.fromkeys(event.kind for event in scene.events)
    end = scene.start + scene.duration
    parts = []
    for kind in told:
        own = [event for event in scene.events if event.kind == kind]
        throughout = len(own) == 1 and own[0].start <= scene.start + _LATE_S and own[0].end >= end - 0.5
        times = ", ".join(f"{_rounded(event.start)}-{_rounded(event.end)}" for event in own)
        parts.append(kind if throughout else f"{kind} {times} s")
    return "; ".join(parts) if any("," in part for part in parts) else ", ".join(parts)


def _rounded(seconds: float) -> str:
    return f"{seconds:.1f}".removesuffix(".0")


def _content(text: str) -> tuple[str, ...]:
    """Return the words of a text that are no stop words, in order."""
    return tuple(word for word in words_of(text) if word not in STOP_WORDS)


def _in_order(text: str) -> list[str]:
    """Divide a text into what is heard one after the other; "b after a" is a, then b."""
    steps: list[str] = []
    for part in _NEXT.split(text):
        steps += reversed(_AFTER.split(part))
    return steps


def _parts(text: str, kinds: SoundKinds) -> list[_AtOnce]:
    """Return what a text has at once."""
    timed = re.sub(_TIMES, lambda found: found[0].replace(".", "\0"), text)  # a point there divides nothing
    parts = []
    for said in _BESIDE.split(timed):
        said = said.replace("\0", ".")
        heard = kinds.heard_in(without_times(said))
        if not heard:
            continue
        start = end = seconds = None
        for found in _TIMES.finditer(said):
            first, last, at, for_ = (None if one is None else float(one) for one in found.groups())
            start, end = (first, last) if first is not None else (at if at is not None else start, end)
            seconds = for_ if for_ is not None else seconds
        parts.append(_AtOnce(heard, start, end, seconds))
    return parts


def _laid_out(
    parts: Sequence[_AtOnce],
    kinds: SoundKinds,
    begin: float,
    end: float,
    *,
    rng: random.Random,
    piece: tuple[float, float],
    only: bool,
) -> list[SceneEvent]:
    """Return when the kinds of one step are heard, which has the time from `begin` to `end`.

    Args:
        piece: start and end of all steps; times in the text are seconds of the piece.
        only: whether there is no other step, so that what happens need not wait for its turn.
    """
    events = [event for part in parts if part.timed for event in _at_times(part, kinds, begin, piece, rng)]
    free = list(dict.fromkeys(kind for part in parts if not part.timed for kind in part.kinds))
    lasting = [kind for kind in free if kind in kinds.lasting]
    happening = [kind for kind in free if kind not in kinds.lasting]
    late = 0.0 if only else min(_LATE_S, 0.1 * (end - begin))
    events += [SceneEvent(kind=kind, start=begin + rng.uniform(0, late), end=end) for kind in lasting]
    share = (end - begin) / max(1, len(happening))
    for number, kind in enumerate(happening):
        first = begin + number * share
        events += _repeated(kind, kinds, first, first + share, rng)
    return events


def _at_times(
    part: _AtOnce, kinds: SoundKinds, begin: float, piece: tuple[float, float], rng: random.Random
) -> list[SceneEvent]:
    """Return when a part is heard whose text says it; what has a length alone begins where its step does."""
    first, end = piece
    start = max(first, begin if part.start is None else part.start)
    said = part.end if part.end is not None else None if part.seconds is None else start + part.seconds
    until = min(end, start + _EVENT_S[0] if said is None else said)
    if until - start < _FAINTEST_S:
        return []
    return [kinds.event(kind, start, until, rng, filled=said is not None) for kind in part.kinds]


def _repeated(kind: str, kinds: SoundKinds, begin: float, end: float, rng: random.Random) -> list[SceneEvent]:
    """Return how often something that happens does so in a time: once in a short one, again and again in a long one."""
    events, now = [], begin + rng.uniform(0, min(_LATE_S, 0.1 * (end - begin)))
    longest = _EVENT_S[1]
    while end - now >= _FAINTEST_S:
        left = end - now
        seconds = left if left <= longest else rng.uniform(*_EVENT_S)
        events.append(kinds.event(kind, now, now + seconds, rng))
        now += seconds + rng.uniform(*_GAP_S)
        if end - now < 1.0:  # what is left is too short to be heard as one more
            break
    return events


__all__ = ["SoundKinds", "make_scene", "scene_line", "without_times"]
