"""Score plans from sentences: which tempo, key and chords a prompt asks for, and sensible choices where it is silent.

Words are matched by rule, because a number such as "80 bpm" has one meaning and a model should not have to guess it.
What the music sounds like (instruments, style, mood) is left to the text conditioner of the model.
"""

from __future__ import annotations

import math
import numbers
import random
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType

from audiocraft.errors import InvalidInput
from audiocraft.music.denying import unweighted, without_denials
from audiocraft.music.harmony import (
    FASTEST_TEMPO,
    KEYS,
    PROGRESSIONS,
    SLOWEST_TEMPO,
    Key,
    is_tempo,
    parse_chord,
    parse_key,
    realise,
)
from audiocraft.music.progressions import BAR, bars_heard, laid_out, parse_progression, symbols_of
from audiocraft.music.reading import Reading, read
from audiocraft.music.translating import translate
from audiocraft.types import ScorePlan

SLOWEST, FASTEST = 60.0, 180.0  # what the bundled models were trained on
DEFAULT_TEMPI = (70, 140)

# A word of the prompt narrows the range of tempi that is drawn from; several words intersect their ranges.
_TEMPO_WORDS: MappingProxyType[str, tuple[int, int]] = MappingProxyType(
    {
        **dict.fromkeys(
            ("slow", "slowly", "adagio", "largo", "ballad", "ambient", "lullaby", "meditation", "meditative")
            + ("sleep", "spa", "yoga", "funeral"),
            (60, 80),
        ),
        **dict.fromkeys(("reggae", "dub", "hip-hop", "hiphop", "rap", "chillhop", "boom-bap"), (70, 96)),
        **dict.fromkeys(
            ("calm", "peaceful", "relaxing", "relaxed", "gentle", "sad", "dreamy", "lofi", "lo-fi"), (62, 94)
        ),
        **dict.fromkeys(("moderate", "medium", "andante", "walking"), (84, 112)),
        **dict.fromkeys(("synthwave", "vaporwave", "retrowave"), (84, 118)),
        **dict.fromkeys(("march", "military", "epic", "battle", "anthem", "polka", "tango"), (104, 138)),
        **dict.fromkeys(("upbeat", "lively", "allegro", "dance", "energetic", "house"), (116, 150)),
        **dict.fromkeys(("techno", "disco", "edm", "club", "rave", "eurodance"), (118, 138)),
        **dict.fromkeys(("trance", "dubstep", "trap", "drill"), (132, 146)),
        **dict.fromkeys(("metal", "punk", "bluegrass", "swing", "bebop", "ska", "chase"), (132, 172)),
        **dict.fromkeys(("fast", "quick", "presto", "rapid", "driving"), (136, 176)),
        **dict.fromkeys(("drum-and-bass", "dnb", "hardcore", "hardstyle", "gabber"), (160, 178)),
    }
)
_MODE_WORDS: MappingProxyType[str, str] = MappingProxyType(
    {
        **dict.fromkeys(
            ("minor", "sad", "dark", "melancholic", "tense", "gloomy", "mysterious", "scary", "ominous")
            + ("evil", "sinister", "spooky", "creepy", "horror", "eerie", "haunted", "tragic", "mournful")
            + ("melancholy", "somber", "sombre", "gothic", "lonely", "menacing", "villain", "flamenco"),
            "minor",
        ),
        **dict.fromkeys(
            ("major", "happy", "joyful", "cheerful", "bright", "uplifting", "playful", "sunny")
            + ("fun", "funny", "silly", "kids", "christmas", "birthday", "festive", "triumphant", "hopeful")
            + ("joy", "merry", "cute", "celebration", "victory", "lullaby"),
            "major",
        ),
    }
)
PLAN_WORDS = frozenset(_TEMPO_WORDS) | frozenset(_MODE_WORDS)
"""Words of a prompt that a plan heeds, whether the model was taught them or not."""

_WORDS = re.compile(r"[a-z][a-z-]*")
# What stands between the words of names that are more than one word: "drum n bass", "hip hop".
_PHRASES = re.compile(
    r"(?<=\bdrum)(?: and | n |'n'| & )(?=bass\b)|(?<=\bhip) (?=hop\b)|(?<=\bboom) (?=bap\b)"
)
_LONGEST_ROUND = 8  # chords of a progression that is looked for
_SAME_S = 0.02  # by which chords may miss their times and still be where a progression has them
BEATS_PER_BAR = (3, 4)  # what the bundled models were trained on


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreSettings:
    """This record holds what a request says outright about the music as a whole; it wins over what the prompt says.

    Args:
        tempo: beats per minute.
        key: such as "A minor".
        chords: symbols such as ("Am", "F", "C", "G"), or bars such as ("C", "|", "Am", "F", "|"), played again and
            again (`music.progressions`).
        beats_per_bar: 3 or 4.
    """

    tempo: float | None = None
    key: str | None = None
    chords: tuple[str, ...] = ()
    beats_per_bar: int | None = None

    def __post_init__(self) -> None:
        if self.tempo is not None:
            _check_tempo(self.tempo)
        if self.key is not None:
            parse_key(self.key)
        if self.chords:
            parse_progression(" ".join(self.chords))
        if self.beats_per_bar not in (None, *BEATS_PER_BAR):
            raise InvalidInput(
                f"beats_per_bar must be 3 or 4, got {self.beats_per_bar!r}", field="beats_per_bar"
            )

    @property
    def given(self) -> tuple[str, ...]:
        """Return the names of what is said."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name) not in (None, ()))


def _check_tempo(tempo: object) -> None:
    if isinstance(tempo, bool) or not isinstance(tempo, numbers.Real):
        raise InvalidInput(f"tempo must be a number of beats per minute, got {tempo!r}", field="tempo")
    if not is_tempo(float(tempo)):
        raise InvalidInput(
            f"tempo must be between {SLOWEST_TEMPO:g} and {FASTEST_TEMPO:g} beats per minute, got {tempo}",
            field="tempo",
        )


def make_plan(
    text: str | None, *, duration: float, seed: int, score: ScoreSettings = ScoreSettings()
) -> ScorePlan | None:
    """Plan the metre and harmony of a piece from a prompt.

    Tempo, key and chords that the score settings or the prompt name are taken literally ("120 bpm", "A minor",
    "chords: Am F C G"); otherwise they are drawn from ranges its adjectives suggest, by ``seed`` alone. A chord lasts
    a bar, or half a bar in slow pieces; chords in bars last what the bars say.

    Args:
        text: the prompt, in any language of `music.lexicons`; nothing, or only white space, means no plan, unless
            there are score settings.
        duration: length of the piece in seconds.
        seed: same text, duration and seed give the same plan; a longer duration continues the same plan.
        score: what is said outright.
    Returns:
        a plan covering the whole piece, or None where nothing is said.
    """
    text = text or ""
    if not text.strip() and not score.given:
        return None
    text = without_denials(unweighted(translate(text).text))
    words, told = frozenset(_WORDS.findall(_one_word(text.lower()))), read(text)
    # Each choice has its own stream, so naming the tempo in the prompt does not also change the chords.
    tempo = reachable(score.tempo or told.tempo or _choose_tempo(words, random.Random(f"tempo:{seed}")))
    key = parse_key(score.key) if score.key is not None else told.key
    symbols = _plain(score.chords) or told.chords
    if key is None:
        key = _key_of_chords(symbols_of(symbols)) or _choose_key(words, random.Random(f"key:{seed}"))
    if not symbols:
        progressions = PROGRESSIONS[key.mode]
        symbols = realise(progressions[random.Random(f"chords:{seed}").randrange(len(progressions))], key)
    beats_per_bar = score.beats_per_bar or told.beats_per_bar or 4
    return ScorePlan(
        tempo=tempo,
        beats_per_bar=beats_per_bar,
        key=key.name,
        chords=laid_out(symbols, tempo=tempo, beats_per_bar=beats_per_bar, duration=duration),
        duration=duration,
    )


def _one_word(text: str) -> str:
    """Return a text with names of several words in one: "drum n bass" is "drum-and-bass"."""
    return _PHRASES.sub(lambda gap: "-" if gap[0] == " " else "-and-", text)


def _plain(chords: tuple[str, ...]) -> tuple[str, ...]:
    """Return a progression in plain letters."""
    return parse_progression(" ".join(chords)) if chords else ()


def plans_over_time(
    plan: ScorePlan | None,
    schedule: Sequence[tuple[float, str]],
    *,
    duration: float,
    seed: int,
    score: ScoreSettings = ScoreSettings(),
) -> tuple[ScorePlan | None, ...]:
    """Make one plan for each entry of a schedule, `plan` being that of the first. Tempo, metre, key and chords go on
    until a later text names others; a new tempo or metre begins with a bar at that second, new chords with the next
    bar.

    Args:
        schedule: (second, text) in ascending order.
        score: what was said outright, which no text changes.
    Returns:
        None for each where there is no first plan.
    """
    if plan is None:
        return (None,) * len(schedule)
    plans, since = [plan], 0.0  # where the present progression began
    for second, text in schedule[1:]:
        told = _left_open(read(translate(text).text), score)
        plan, since = _followed(plan, told, second, since=since, duration=duration, seed=seed)
        plans.append(plan)
    return tuple(plans)


def part_of_plan(plan: ScorePlan, start: float, duration: float) -> ScorePlan:
    """Return `plan` seen through another window, with the chords that are heard in it and one on either side: a piece
    of hours has tens of thousands."""
    times = [time for time, _ in plan.chords]
    first = max(0, bisect_right(times, start) - 2)
    last = bisect_left(times, start + duration) + 2
    return replace(plan, start=start, duration=duration, chords=plan.chords[first:last])


def lasting(plan: ScorePlan, duration: float) -> ScorePlan:
    """Fit `plan` to a piece of another length: it is cut off, or goes on with its progression."""
    chords = [chord for chord in plan.chords if chord[0] <= duration]
    bars = _in_bars(plan, duration)
    if bars is not None:
        chords = bars
    elif len(chords) > 1 and len(chords) == len(plan.chords):
        symbols = [symbol for _, symbol in chords]
        step, first, cycle = chords[-1][0] - chords[-2][0], chords[-1][0], _last_round(symbols)
        more = int((duration - first) / step + 1e-9)
        chords += [(first + (place + 1) * step, cycle[place % len(cycle)]) for place in range(more)]
    return replace(plan, duration=duration, chords=tuple(chords))


def _in_bars(plan: ScorePlan, duration: float) -> list[tuple[float, str]] | None:
    """Return the chords of `plan` for a piece of `duration` seconds, where they are one progression in bars."""
    progression = progression_of(plan)
    if BAR not in progression:
        return None
    first = plan.chords[0][0]
    longest = max(duration, plan.chords[-1][0]) - first
    laid = laid_out(
        progression, tempo=plan.tempo, beats_per_bar=plan.beats_per_bar, duration=longest + _SAME_S
    )
    chords = [(first + time, symbol) for time, symbol in laid]
    pairs = zip(chords, plan.chords, strict=False)
    if len(chords) < len(plan.chords) or any(
        symbol != other or abs(time - at) > _SAME_S for (time, symbol), (at, other) in pairs
    ):
        return None
    known = [*plan.chords, *chords[len(plan.chords) :]]
    return [chord for chord in known if chord[0] <= duration]


def progression_of(plan: ScorePlan, since: float | None = None) -> tuple[str, ...]:
    """Return the chords of a plan, once each round; where they change later, those that it begins with. Where names
    alone would not be played as they are, they are divided into bars.

    Args:
        since: the second at which they begin; None for the beginning of the plan.
    """
    first = plan.start if since is None else since
    end = plan.start + plan.duration
    chords = tuple(chord for chord in plan.chords if first - 1e-6 <= chord[0] < end)
    names = _round([symbol for _, symbol in chords])
    if not names or _as_laid(names, chords, plan):
        return names
    bar = plan.beats_per_bar * 60 / plan.tempo
    begin = plan.first_beat + math.floor((chords[0][0] - plan.first_beat + _SAME_S) / bar) * bar
    bars = bars_heard(chords, first=begin, tempo=plan.tempo, beats_per_bar=plan.beats_per_bar, until=end)
    return names if bars is None else bars


def _as_laid(progression: tuple[str, ...], chords: Sequence[tuple[float, str]], plan: ScorePlan) -> bool:
    """Return whether a progression would be played at the times of `chords`, one round of it at least."""
    first = chords[0][0]
    laid = laid_out(
        progression,
        tempo=plan.tempo,
        beats_per_bar=plan.beats_per_bar,
        duration=chords[-1][0] - first + _SAME_S,
    )
    played = chords[: len(progression) + 1]
    return len(laid) >= len(played) and all(
        abs(time + first - other) < _SAME_S for (time, _), (other, _) in zip(laid, played, strict=False)
    )


def _round(symbols: list[str]) -> tuple[str, ...]:
    """Return what `symbols` repeat, as far as they do."""
    cycle = _cycle(symbols)
    if len(cycle) < len(symbols) or len(cycle) <= _LONGEST_ROUND:
        return cycle
    rounds = (
        length for length in range(1, _LONGEST_ROUND + 1) if symbols[:length] * 3 == symbols[: 3 * length]
    )
    return tuple(symbols[: next(rounds, _LONGEST_ROUND)])


def _last_round(symbols: list[str]) -> tuple[str, ...]:
    """Return what a progression goes on with, again and again."""
    cycle = _cycle(symbols)
    if len(cycle) < len(symbols):
        done = len(symbols) % len(cycle)
        return cycle[done:] + cycle[:done]
    for length in range(2, _LONGEST_ROUND + 1):  # the chords changed on the way
        if symbols[-length:] == symbols[-2 * length : -length]:
            return tuple(symbols[-length:])
    return cycle


def _left_open(told: Reading, score: ScoreSettings) -> Reading:
    """Return what a text may still change."""
    return replace(
        told,
        tempo=None if score.tempo else told.tempo,
        beats_per_bar=None if score.beats_per_bar else told.beats_per_bar,
        key=None if score.key or score.chords else told.key,
        chords=() if score.key or score.chords else told.chords,
    )


def _followed(
    plan: ScorePlan, told: Reading, second: float, *, since: float, duration: float, seed: int
) -> tuple[ScorePlan, float]:
    """Return `plan` from `second` on, and where its progression begins."""
    tempo = reachable(told.tempo or plan.tempo)
    beats_per_bar = told.beats_per_bar or plan.beats_per_bar
    key, symbols = told.key, told.chords
    new_metre = (tempo, beats_per_bar) != (plan.tempo, plan.beats_per_bar)
    if symbols and key is None:
        key = _key_of_chords(symbols)
    if not new_metre and not symbols and (key is None or key.name == plan.key):
        return plan, since
    if not symbols and key is not None and key.name != plan.key:
        progressions = PROGRESSIONS[key.mode]
        choice = random.Random(f"chords:{seed}:{second:g}").randrange(len(progressions))
        symbols = realise(progressions[choice], key)
    symbols = symbols or progression_of(plan, since)
    begin = second if new_metre else _next_bar(plan, second)
    kept = tuple(chord for chord in plan.chords if chord[0] < begin - 1e-6)
    added: tuple[tuple[float, str], ...] = ()
    if symbols and begin < duration:
        laid = laid_out(symbols, tempo=tempo, beats_per_bar=beats_per_bar, duration=duration - begin)
        added = tuple((begin + time, symbol) for time, symbol in laid)
    changed = replace(
        plan,
        tempo=tempo,
        beats_per_bar=beats_per_bar,
        first_beat=second if new_metre else plan.first_beat,
        key=plan.key if key is None else key.name,
        chords=kept + added,
    )
    return changed, begin


def _next_bar(plan: ScorePlan, second: float) -> float:
    bar = plan.beats_per_bar * 60 / plan.tempo
    return plan.first_beat + math.ceil((second - plan.first_beat) / bar - 1e-6) * bar


def _cycle(symbols: list[str]) -> tuple[str, ...]:
    """Return the shortest progression that `symbols` repeat."""
    for length in range(1, len(symbols)):
        if symbols[length:] == symbols[:-length]:
            return tuple(symbols[:length])
    return tuple(symbols)


def reachable(tempo: float) -> float:
    """Return the named tempo, doubled or halved into the range that the models know; the pulse stays the listener's."""
    if tempo <= 0:
        raise InvalidInput(f"tempo {tempo:g} bpm must be positive", field="tempo")
    while tempo < SLOWEST:
        tempo *= 2
    while tempo > FASTEST:
        tempo /= 2
    return tempo


def _choose_tempo(words: frozenset[str], rng: random.Random) -> float:
    low, high = DEFAULT_TEMPI
    ranges = [_TEMPO_WORDS[word] for word in sorted(words & _TEMPO_WORDS.keys())]
    if ranges:
        low, high = max(low for low, _ in ranges), min(high for _, high in ranges)
        if low > high:  # "slow energetic": no tempo is both, so meet in the middle
            low = high = (low + high) // 2
    return float(rng.randint(low, high))


def _choose_key(words: frozenset[str], rng: random.Random) -> Key:
    modes = {_MODE_WORDS[word] for word in words & _MODE_WORDS.keys()}
    return rng.choice([key for key in KEYS if not modes or key.mode in modes])


def _key_of_chords(symbols: tuple[str, ...]) -> Key | None:
    """Return the key whose scale holds most of the chords' notes, the first chord's own key winning ties; None
    without any."""
    sounding = [chord for chord in map(parse_chord, symbols) if chord.pitch_classes]
    if not sounding:
        return None
    first = sounding[0]
    third_is_minor = (first.root + 3) % 12 in first.pitch_classes
    home = Key(first.root, "minor" if third_is_minor else "major")
    notes = [note for chord in sounding for note in chord.pitch_classes]

    def fit(key: Key) -> tuple[int, bool]:
        scale = set(key.scale)
        return sum(note in scale for note in notes), key == home

    return max(KEYS, key=fit)
