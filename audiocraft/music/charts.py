"""Charts: a score plan as text that a musician reads and changes, and back. `| Am F | C G |` are two bars.

A chart has one tempo and one metre; its sections begin at bar lines, each with what the music should be from there on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from audiocraft.errors import InvalidInput
from audiocraft.music.harmony import parse_chord, parse_key
from audiocraft.music.planning import (
    BEATS_PER_BAR,
    FASTEST,
    SLOWEST,
    ScoreSettings,
    plans_over_time,
    reachable,
)
from audiocraft.music.reading import read
from audiocraft.music.translating import translate
from audiocraft.music.vocabulary import content_of
from audiocraft.types import ScorePlan

GOES_ON = "."
"""A part of a bar in which the chord before goes on."""

_NOTHING_SET = ScoreSettings()
_CLOSE = 1e-3  # of a beat
_DIGITS = 6  # of the seconds of whole bars
_FINEST = 4  # parts of a beat in which a chord may begin


@dataclass(frozen=True, slots=True)
class Section:
    """A section has some bars of a chart, which belong together.

    Args:
        words: what the music should be from here on; may be empty.
        bars: the chords of each bar, which share it equally; `GOES_ON` is no new chord.
    """

    words: str
    bars: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """A chart is a plan that is written as bars.

    Args:
        tempo: beats per minute.
        duration: seconds; None is as long as the bars.
        first_beat: second of the first bar line, in (-one bar, 0]: a piece may begin within a bar.
        leads_to: the chord that the last bar leads to, which is heard if the piece goes on.
    """

    prompt: str | None
    seed: int | None
    tempo: float
    beats_per_bar: int
    key: str | None
    sections: tuple[Section, ...]
    duration: float | None = None
    first_beat: float = 0.0
    leads_to: str | None = None

    @property
    def bar_seconds(self) -> float:
        return self.beats_per_bar * 60 / self.tempo

    @property
    def seconds(self) -> float:
        """Return how many seconds the piece lasts."""
        bars = sum(len(section.bars) for section in self.sections)
        end = round(self.first_beat + bars * self.bar_seconds, _DIGITS)
        return end if self.duration is None else self.duration

    def plan(self) -> ScorePlan:
        """Return the plan, whose chords lie where the bars say."""
        chords: list[tuple[float, str]] = []
        bars = [bar for section in self.sections for bar in section.bars]
        for place, bar in enumerate(bars):
            share = self.beats_per_bar / len(bar)
            step = share * 60 / self.tempo  # whole steps, so that times are those of a plan from a prompt
            for part, symbol in enumerate(bar):
                if symbol != GOES_ON:
                    beat = place * self.beats_per_bar + part * share
                    chords.append((self.first_beat + beat / share * step, symbol))
        if self.leads_to is not None:
            share = self.beats_per_bar / len(bars[-1])
            beat = len(bars) * self.beats_per_bar
            chords.append((self.first_beat + beat / share * (share * 60 / self.tempo), self.leads_to))
        return ScorePlan(
            tempo=self.tempo,
            first_beat=self.first_beat,
            beats_per_bar=self.beats_per_bar,
            key=self.key,
            chords=tuple(chord for chord in chords if chord[0] <= self.seconds + 1e-9),
            duration=self.seconds,
        )

    def schedule(self) -> tuple[tuple[float, str], ...]:
        """Return (second, words) of the sections, as requests take them; () where none says anything."""
        if not any(section.words for section in self.sections):
            return ()
        bars = 0
        entries: list[tuple[float, str]] = []
        for section in self.sections:
            second = max(0.0, self.first_beat + bars * self.bar_seconds)
            if (section.words or not entries) and second < self.seconds:
                entries.append((second, section.words))
            bars += len(section.bars)
        return tuple(entries)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; the inverse is `music.chart_text.chart_from_dict`."""
        return {
            "prompt": self.prompt,
            "seed": self.seed,
            "tempo": self.tempo,
            "key": self.key,
            "beats_per_bar": self.beats_per_bar,
            "duration": self.seconds,
            "first_beat": self.first_beat,
            "sections": [
                {"words": section.words, "bars": [" ".join(bar) for bar in section.bars]}
                for section in self.sections
            ],
            "leads_to": self.leads_to,
        }


def chart_of(
    plan: ScorePlan,
    *,
    prompt: str | None = None,
    seed: int | None = None,
    schedule: Sequence[tuple[float, str]] = (),
    score: ScoreSettings = _NOTHING_SET,
) -> Chart:
    """Write a plan as bars.

    Args:
        schedule: (second, text) of what the piece should become; what they say of chords is in the chart.
        score: what was said outright, which the schedule does not change.

    Raises:
        InvalidInput: tempo or metre change within the piece, or two sections begin in one bar.
    """
    plans = plans_over_time(
        plan, schedule or ((0.0, ""),), duration=plan.duration, seed=seed or 0, score=score
    )
    for entry, later in zip(schedule, plans, strict=False):
        if later is not None and (later.tempo, later.beats_per_bar) != (plan.tempo, plan.beats_per_bar):
            raise InvalidInput(
                f"a plan as text has one tempo and metre, and {entry[1]!r} at {entry[0]:g} s brings others: make that "
                "part as a piece that continues the first (--continue)",
                field="schedule",
            )
    last = plans[-1] or plan
    bar = last.beats_per_bar * 60 / last.tempo
    first = last.first_beat - max(0, math.ceil(last.first_beat / bar - 1e-9)) * bar
    count = max(1, math.ceil((last.duration - first) / bar - 1e-6))
    bars = [_bar(last, first + place * bar) for place in range(count)]
    end = first + count * bar
    leads = next((symbol for time, symbol in last.chords if abs(time - end) < _CLOSE * 60 / last.tempo), None)
    return Chart(
        prompt=prompt,
        seed=seed,
        tempo=plan.tempo,
        beats_per_bar=plan.beats_per_bar,
        key=plan.key,
        sections=_sections(bars, schedule, first, bar),
        duration=None if round(end, _DIGITS) == last.duration else last.duration,
        first_beat=first + 0.0,
        leads_to=leads,
    )


def check_setting(name: str, value: Any) -> None:
    """Refuse a tempo, metre or key that no piece of the models can have."""
    if name == "tempo" and not SLOWEST <= value <= FASTEST:
        near = f"; {reachable(value):g} bpm is the same pulse" if value > 0 and math.isfinite(value) else ""
        raise InvalidInput(
            f"tempo {value:g} is not between {SLOWEST:g} and {FASTEST:g} bpm{near}", field="tempo"
        )
    if name == "beats_per_bar" and value not in BEATS_PER_BAR:
        raise InvalidInput(f"metre {value}/4 is not one of 3/4 and 4/4", field="beats_per_bar")
    if name == "key" and value is not None:
        parse_key(value)


def check_words(words: str) -> None:
    """Refuse words of a section that say what the whole piece has."""
    told = read(translate(words).text)
    said = {"a tempo": told.tempo, "a key": told.key, "chords": told.chords, "a metre": told.beats_per_bar}
    found = next((name for name, value in said.items() if value), None)
    if found is not None:
        raise InvalidInput(
            f"{words!r} names {found}; a plan says that in its own lines and bars, and a section only what it sounds "
            "like",
            field="sections",
        )


def _bar(plan: ScorePlan, start: float) -> tuple[str, ...]:
    """Return the chords of the bar that begins at a second."""
    beat = 60 / plan.tempo
    inside = [
        ((time - start) / beat, symbol)
        for time, symbol in plan.chords
        if -_CLOSE <= (time - start) / beat < plan.beats_per_bar - _CLOSE
    ]
    beats = plan.beats_per_bar
    finest = beats * _FINEST
    for parts in (number for number in range(1, finest + 1) if finest % number == 0):
        places = [at * parts / beats for at, _ in inside]
        if all(abs(place - round(place)) < _CLOSE for place in places) or parts == finest:
            names = {round(place): symbol for place, (_, symbol) in zip(places, inside, strict=True)}
            return tuple(names.get(part, GOES_ON) for part in range(parts))
    raise AssertionError("the finest parts end the loop")


def _sections(
    bars: list[tuple[str, ...]], schedule: Sequence[tuple[float, str]], first: float, bar: float
) -> tuple[Section, ...]:
    starts = [max(0, round((second - first) / bar)) if second else 0 for second, _ in schedule] or [0]
    words = [_sound_of(text) for _, text in schedule] or [""]
    for (early, late), (_, text) in zip(pairwise(starts), schedule[1:], strict=True):
        if early == late or late >= len(bars):
            raise InvalidInput(f"{text!r} has no bar of its own in the plan", field="schedule")
    ends = [*starts[1:], len(bars)]
    return tuple(
        Section(said, tuple(bars[low:high])) for said, low, high in zip(words, starts, ends, strict=True)
    )


def _sound_of(text: str) -> str:
    """Return a text without what the bars say."""
    try:
        check_words(text)
    except InvalidInput:
        rest = read(translate(text).text).rest
        return ", ".join(" ".join(part.split()) for part in rest.split(",") if content_of(part))
    return text


def check_symbol(symbol: str) -> str:
    """Return a chord of a bar, as it is written; raises InvalidInput where it is none."""
    if symbol != GOES_ON:
        parse_chord(symbol)
    return symbol
