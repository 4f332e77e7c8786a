"""Scenes from sentences: which sounds a prompt asks for, in which order, and when each is heard.

"Rain, then a dog barking" names two kinds and an order. Words that enter a network as one vector cannot say which comes
first, so the order is read by rule, as tempo and key of music are (`music.planning`), and told frame by frame. What the
sounds are like (far away, in a cave) is left to the words.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from audiocraft.music.denying import unweighted, wording_of
from audiocraft.music.moments import Moment, is_time, marked, moments_in, without_marks, without_times
from audiocraft.music.ordering import in_order
from audiocraft.music.rewording import plugged_in, text_without_parts_of_songs
from audiocraft.music.sound_kinds import FAINTEST_S, SoundKinds, content_in_order
from audiocraft.music.translating import translate, without_patterns
from audiocraft.types import Scene, SceneEvent

# Who comes in beside what is heard already.
_JOINED = re.compile(r"\b(?:(?:is|are)\s+)?joined\s+by\b", re.IGNORECASE)
_JOINS = re.compile(r"\b(?:joins?(?:\s+in)?|(?:comes?|kicks?|drops?)\s+in|enters?)\b", re.IGNORECASE)
_BESIDE = re.compile(
    r"[,;.!?+&\n]|\b(?:and|with|while|plus|over|under|during|as\s+well\s+as)\b", re.IGNORECASE
)
_SILENCE = re.compile(r"\b(?:silence|silent|nothing)\b", re.IGNORECASE)
# Seconds, as the corpus of scenes has them: how long something that happens is heard at most, what lies between two of
# them, how late it begins at most.
_EVENT_S, _GAP_S, _LATE_S = (5.0, 8.0), (0.7, 2.0), 0.4
_MOST_TIMES, _SHORTEST_PERIOD_S = 1000, 0.2  # that one sound comes again
_SHORTEST_STEP_S = 0.5  # of steps that times of other steps leave room for


@dataclass(frozen=True, slots=True)
class _AtOnce:
    """This record says what is heard at once, and when, where the text says it."""

    kinds: tuple[str, ...]
    moments: tuple[Moment, ...] = ()


@dataclass(frozen=True, slots=True)
class _Step:
    """A step is heard before the next one; `starts` and `ends` are known where the text says so of all of it, and it
    `joins` where what was heard before goes on."""

    parts: tuple[_AtOnce, ...]
    starts: float | None = None
    ends: float | None = None
    length: float | None = None
    joins: bool = False

    @classmethod
    def of(cls, parts: Sequence[_AtOnce], *, joins: bool = False) -> _Step:
        said = [moment for part in parts for moment in part.moments]
        if not all(part.moments for part in parts):
            return cls(tuple(parts), joins=joins)
        starts = _known(one.start for one in said)
        lengths = [] if starts else _known(one.length for one in said)
        return cls(
            tuple(parts),
            starts=min(starts, default=None),
            ends=max(_known(one.ends() for one in said), default=None),
            length=max(lengths, default=None),
            joins=joins,
        )


def _known(times: Iterable[float | None]) -> list[float]:
    """Return the times, or none of them where one is not known."""
    found = list(times)
    return [time for time in found if time is not None] if None not in found else []


@dataclass(frozen=True, slots=True)
class SceneReading:
    """A reading is what the rules make of a text.

    Args:
        scene: None where the text names none of the kinds, or none within the piece.
        unkept: what it says of times that is not kept, and why, a sentence each.
    """

    scene: Scene | None = None
    unkept: tuple[str, ...] = ()


def read_piece(
    texts: Sequence[tuple[float, str | None]],
    kinds: SoundKinds,
    *,
    duration: float,
    seed: int,
    known: float = 0.0,
) -> SceneReading:
    """Plan which sounds a piece has and when, as `read_scene` plans what one text asks for.

    Args:
        texts: (second, text) in ascending order from second 0: what is asked for from there on.
    """
    ends = [*(second for second, _ in texts[1:]), duration]
    read = [
        read_scene(text, kinds, duration=duration, seed=seed, start=start, end=end, known=known)
        for (start, text), end in zip(texts, ends, strict=True)
    ]
    events = tuple(event for one in read if one.scene is not None for event in one.scene.events)
    scene = Scene(events=events, duration=duration) if events else None
    return SceneReading(scene, tuple(said for one in read for said in one.unkept))


def read_scene(
    text: str | None,
    kinds: SoundKinds,
    *,
    duration: float,
    seed: int,
    start: float = 0.0,
    end: float | None = None,
    known: float = 0.0,
) -> SceneReading:
    """Plan which sounds are heard when.

    What lasts (rain) is heard throughout, what happens (a door) as often as it fits, one after the other where there
    are several; "then", "followed by", "before" and "after" divide the piece among what they join. Times ("at 3 s and
    5 s", "from 2 to 5 s", "for 2 s", "until 0:08", "every 2 s") are taken literally, and what comes before or behind
    them has the time that they leave. Beside what "joins" or "comes in", what was heard before goes on.

    Args:
        text: the prompt, in any language of `music.lexicons`; what it denies is not heard.
        kinds: that the model is told.
        duration: of the whole piece, in seconds.
        seed: same text, duration and seed give the same scene.
        start, end: what of the piece the text is about, in seconds; all of it by default.
        known: seconds at its beginning that are there already; what happens does so behind them.
    """
    said = wording_of(unweighted(text or ""))
    english = plugged_in(translate(unweighted(said.text)).text)
    # "No drums" stays in the words of a prompt, because models were taught it.
    denied = frozenset(kind for one in said.denied for kind in kinds.heard_in(translate(one).text))
    steps = _steps(english, kinds, denied)
    unkept = [
        f"{kind} is asked for and denied: it is left out"
        for kind in kinds.heard_in(english)
        if kind in denied
        and not any(f"{no} {one}" in english for one in said.denied for no in ("no", "without"))
    ]
    until, begun = duration if end is None else end, start
    start = max(start, known)
    if not steps or until - start < FAINTEST_S:
        return SceneReading(None, tuple(unkept))
    rng = random.Random(f"scene:{seed}:{start:g}")
    events: list[SceneEvent] = []
    since = begun if len(steps) == 1 else None  # what lasts was heard in what is there already, and goes on
    slots = _slots(steps, start, until)
    for number, step in enumerate(steps):
        following = itertools.takewhile(lambda later: steps[later].joins, range(number + 1, len(steps)))
        slot = slots[number][0], max([slots[number][1], *(slots[later][1] for later in following)])
        laid = _laid_out(step.parts, kinds, slot, rng=rng, piece=(start, until), since=since)
        unkept += _unkept(step.parts, kinds, slot, (start, until)) + _too_few(step.parts, kinds, laid)
        events += laid
    heard = sorted(events, key=lambda event: (event.start, event.kind))
    scene = Scene(events=tuple(heard), start=0.0, duration=duration) if heard else None
    return SceneReading(scene, tuple(dict.fromkeys(unkept)))


def _unkept(
    parts: Sequence[_AtOnce], kinds: SoundKinds, slot: tuple[float, float], piece: tuple[float, float]
) -> list[str]:
    """Return what some parts say of times that is not kept, and why."""
    found = []
    for part in parts:
        for kind in part.kinds:
            why = (_why_not(moment, kind in kinds.lasting, slot, piece) for moment in part.moments)
            found += [
                f"{kind} {moment.said}: {said}"
                for moment, said in zip(part.moments, why, strict=True)
                if said is not None
            ]
    return found


def _too_few(parts: Sequence[_AtOnce], kinds: SoundKinds, events: Sequence[SceneEvent]) -> list[str]:
    """Return which numbers of times that something is heard have no room."""
    heard = Counter[str]()
    for event in events:
        heard[event.kind] += max(1, len(event.bursts))
    return [
        f"{kind} {moment.said}: there is room for {heard[kind]}"
        for part in parts
        for kind in part.kinds
        if kind not in kinds.lasting
        for moment in part.moments
        if moment.count is not None and moment.period is None and 0 < heard[kind] < moment.count
    ]


def _why_not(
    moment: Moment, lasts: bool, slot: tuple[float, float], piece: tuple[float, float]
) -> str | None:
    """Return why what is said of a time is not kept; None where it is."""
    start = slot[0] if moment.start is None else moment.start
    end = moment.ends(start)
    if (moment.period is not None or moment.count is not None) and lasts:
        return "it goes on by itself, so it does not come again and again"
    if moment.period is not None and moment.period < _SHORTEST_PERIOD_S:
        return f"nothing comes more often than every {_SHORTEST_PERIOD_S:g} s"
    if end is not None and end - start < FAINTEST_S:
        return "it is over before it can be heard"
    if start >= piece[1] - FAINTEST_S:
        return f"that is behind the end, which is at {piece[1]:g} s"
    if end is not None and end > piece[1] + FAINTEST_S:
        return f"it ends with the piece, at {piece[1]:g} s"
    if start < piece[0] - FAINTEST_S:
        return f"what is before {piece[0]:g} s is there already, or is said otherwise"
    return None


def without_scene(text: str) -> str:
    """Return a text, in any language of `music.lexicons`, without what scenes tell: times, and who joins."""
    return _JOINS.sub(" ", _JOINED.sub(",", without_times(without_patterns(text, is_time))))


def has_times(scene: Scene) -> bool:
    """Return whether anything in a scene is not heard throughout."""
    return not all(_is_throughout(own, scene) for own in _by_kind(scene).values())


def scene_line(scene: Scene) -> str:
    """Return a scene on one line: "rain, dog 2-4.5 s". What is heard throughout has no times."""
    parts = []
    for kind, own in _by_kind(scene).items():
        times = ", ".join(f"{_rounded(event.start)}-{_rounded(event.end)}" for event in own)
        parts.append(kind if _is_throughout(own, scene) else f"{kind} {times} s")
    return "; ".join(parts) if any("," in part for part in parts) else ", ".join(parts)


def _by_kind(scene: Scene) -> dict[str, list[SceneEvent]]:
    found: dict[str, list[SceneEvent]] = {}
    for event in scene.events:
        found.setdefault(event.kind, []).append(event)
    return found


def _is_throughout(own: Sequence[SceneEvent], scene: Scene) -> bool:
    """Return whether one kind, heard in these events, is heard all the time, as far as people care."""
    end = scene.start + scene.duration
    return len(own) == 1 and own[0].start <= scene.start + _LATE_S and own[0].end >= end - 0.5


def _rounded(seconds: float) -> str:
    return f"{seconds:.1f}".removesuffix(".0")


def _steps(text: str, kinds: SoundKinds, denied: frozenset[str]) -> list[_Step]:
    """Return what an English text names and does not deny, one after the other; steps that name nothing are none, but
    for silence, and for what is no kind and says how long it is."""
    plain, meaning = marked(text_without_parts_of_songs(text) if kinds.are_instruments else text)
    plain = _JOINED.sub(" then join ", plain)
    found = [
        (_parts(step, kinds, meaning, denied), _JOINS.search(step) is not None) for step in in_order(plain)
    ]
    return [_Step.of(parts, joins=joins) for parts, joins in found if parts]


def _parts(
    text: str, kinds: SoundKinds, meaning: tuple[tuple[Moment, ...], ...], denied: frozenset[str]
) -> list[_AtOnce]:
    """Return what a marked text has at once. A time on its own is said of what stands before it, else behind it."""
    parts: list[_AtOnce] = []
    waiting: tuple[Moment, ...] = ()
    unnamed: tuple[Moment, ...] = ()  # how long something is heard that is no kind
    leads = False  # whether times stand before what they are said of: "at 2 s, a dog, at 5 s, a cat"
    for said in _BESIDE.split(text):
        moments = moments_in(said, meaning)
        heard = tuple(kind for kind in kinds.heard_in(without_marks(said)) if kind not in denied)
        if heard:
            parts.append(_AtOnce(heard, waiting + moments))
            waiting = ()
        elif content_in_order(without_marks(said)):
            unnamed += tuple(one for one in moments if one.length is not None or one.end is not None)
        elif moments and parts and not leads:
            parts[-1] = replace(parts[-1], moments=_and_then(parts[-1].moments, moments))
        elif moments:
            waiting, leads = waiting + moments, True
    if parts or not (unnamed or _SILENCE.search(text)):
        return parts
    return [_AtOnce((), unnamed)]


def _and_then(moments: tuple[Moment, ...], more: tuple[Moment, ...]) -> tuple[Moment, ...]:
    """Return what is said of one sound in two places; "every 2 s, three times" is one statement."""
    counts = [one.count for one in more]
    if (
        moments
        and moments[-1].count is None
        and len(more) == 1
        and more[0] == Moment(count=counts[0], said=more[0].said)
    ):
        return (*moments[:-1], replace(moments[-1], count=counts[0]))
    return moments + more


def _slots(steps: Sequence[_Step], start: float, until: float) -> list[tuple[float, float]]:
    """Divide a piece among steps: where one says its time, those before it end there and those behind it follow."""
    even = (until - start) / len(steps)
    places = [(0, start)]
    for number, step in enumerate(steps):
        if step.starts is not None and places[-1][1] < step.starts < until:
            places = [*(places if number else []), (number, step.starts)]
    slots: list[tuple[float, float]] = []
    for (first, begin), (behind, end) in itertools.pairwise([*places, (len(steps), until)]):
        slots += _shared(steps[first:behind], begin, end)
    if any(end - begin < _SHORTEST_STEP_S for begin, end in slots):
        return [(start + number * even, start + (number + 1) * even) for number in range(len(steps))]
    return slots


def _shared(steps: Sequence[_Step], begin: float, end: float) -> list[tuple[float, float]]:
    """Divide a time among steps that say how long they are, or when the first ends, and evenly among the others."""
    slots: list[tuple[float, float]] = []
    for step in steps[:-1]:
        if step.ends is None or not begin < step.ends < end:
            break
        slots.append((begin, step.ends))
        begin = step.ends
    lengths = [step.length for step in steps[len(slots) :]]
    free = end - begin - sum(length or 0.0 for length in lengths)
    share = max(0.0, free) / max(1, lengths.count(None))
    for length in lengths:
        until = min(end, begin + (share if length is None else length))
        slots.append((begin, until))
        begin = until
    return slots


def _laid_out(
    parts: Sequence[_AtOnce],
    kinds: SoundKinds,
    slot: tuple[float, float],
    *,
    rng: random.Random,
    piece: tuple[float, float],
    since: float | None,
) -> list[SceneEvent]:
    """Return when the kinds of one step are heard, which has the time of its slot.

    Args:
        piece: start and end of all steps; times in the text are seconds of the piece.
        since: where what lasts begins if this step is the only one, so that nothing need wait for its turn.
    """
    begin, end = slot
    events = [event for part in parts if part.moments for event in _at_times(part, kinds, slot, piece, rng)]
    timed = {kind for part in parts if part.moments for kind in part.kinds if kind in kinds.lasting}
    free = [kind for part in parts if not part.moments for kind in part.kinds if kind not in timed]
    free = list(dict.fromkeys(free))
    lasting = [kind for kind in free if kind in kinds.lasting]
    happening = [kind for kind in free if kind not in kinds.lasting]
    late = min(_LATE_S, 0.1 * (end - begin))
    for kind in lasting:
        start = begin + rng.uniform(0, late) if since is None else since
        events.append(SceneEvent(kind=kind, start=start, end=end))
    share = (end - begin) / max(1, len(happening))
    for number, kind in enumerate(happening):
        first = begin + number * share
        events += _repeated(kind, kinds, first, first + share, rng)
    return events


def _at_times(
    part: _AtOnce,
    kinds: SoundKinds,
    slot: tuple[float, float],
    piece: tuple[float, float],
    rng: random.Random,
) -> list[SceneEvent]:
    """Return when a part is heard whose text says it; what has a length alone begins where its step does."""
    events: list[SceneEvent] = []
    for kind in part.kinds:
        spans = [
            span for moment in part.moments for span in _spans(moment, kind in kinds.lasting, slot, piece)
        ]
        starts = sorted(start for start, *_ in spans)
        counts = {
            _spans(one, False, slot, piece)[0][0]: one.count
            for one in part.moments
            if one.count is not None and one.period is None and kind not in kinds.lasting
        }
        # Two statements may mean one time ("every 2 s, every 3 s"), which is heard once.
        for start, end, filled in {span[0]: span for span in reversed(spans)}.values():
            until = min(end, next((other for other in starts if other > start), end))
            if until - start >= FAINTEST_S:
                events += kinds.times(kind, start, until, rng, counts.get(start), filled=filled)
    return events


def _spans(
    moment: Moment, lasts: bool, slot: tuple[float, float], piece: tuple[float, float]
) -> list[tuple[float, float, bool]]:
    """Return (start, end, whether its text says the end) of each time that a moment means, within the piece."""
    start = slot[0] if moment.start is None else moment.start
    said, start = moment.ends(start), max(piece[0], start)
    room = slot[1] if slot[1] > start else piece[1]  # a step may have less than its text says
    if moment.count is not None and moment.period is None and not lasts:
        end = min(piece[1], room if said is None else said)
        return [(start, end, said is not None)]
    if moment.period is None or moment.period < _SHORTEST_PERIOD_S or lasts:
        # What lasts goes on until its step ends, what happens for five seconds at most.
        end = said if said is not None else room if lasts else min(room, start + _EVENT_S[0])
        return [(start, min(end, piece[1]), said is not None)]
    room = min(piece[1], room if moment.end is None else moment.end)
    longest = _EVENT_S[0] if moment.count is None else min(_EVENT_S[0], moment.period)
    length = longest if moment.length is None else moment.length
    count = max(0, math.ceil((room - start) / moment.period))
    count = count if moment.count is None else min(count, moment.count)
    begins = [start + number * moment.period for number in range(min(count, _MOST_TIMES))]
    return [(one, min(room, one + length), moment.length is not None) for one in begins]


def _repeated(kind: str, kinds: SoundKinds, begin: float, end: float, rng: random.Random) -> list[SceneEvent]:
    """Return how often something that happens does so in a time: once in a short one, again and again in a long one."""
    events, now = [], begin + rng.uniform(0, min(_LATE_S, 0.1 * (end - begin)))
    longest = _EVENT_S[1]
    while end - now >= FAINTEST_S:
        left = end - now
        seconds = left if left <= longest else rng.uniform(*_EVENT_S)
        events.append(kinds.event(kind, now, now + seconds, rng))
        now += seconds + rng.uniform(*_GAP_S)
        if end - now < 1.0:  # what is left is too short to be heard as one more
            break
    return events


__all__ = ["SceneReading", "has_times", "read_piece", "read_scene", "scene_line", "without_scene"]
