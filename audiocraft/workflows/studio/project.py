"""Projects of songs: what a song is made of, as a JSON file `*.acproj` that people can change."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from audiocraft.config.decode import decode, encode
from audiocraft.config.limits import MAX_SEED, SONG_DUCK_DB, SONG_GAIN_DB, EndingKind
from audiocraft.errors import ConfigError, InvalidInput
from audiocraft.music.charts import check_setting
from audiocraft.music.closing import closing
from audiocraft.music.harmony import PROGRESSIONS, parse_key, realise
from audiocraft.music.planning import ScoreSettings, make_plan, progression_of
from audiocraft.music.progressions import laid_out, parse_progression
from audiocraft.music.reading import read
from audiocraft.music.translating import translate
from audiocraft.types import ScorePlan
from audiocraft.utils.files import atomic_write
from audiocraft.workflows.studio.seeds import seed_for

SUFFIX = ".acproj"
FORMAT = 1
MOST_SECTIONS = 64
MOST_BARS = 256
_DEFAULT_BARS = 8
_USUAL_EFFECT_S = 3.0
NOTHING_SET = ScoreSettings()

Transition = Literal["cut", "blend", "pause"]
"""How a section begins: at its bar line, with a cross-fade of a beat on either side, or after a beat of silence."""

_BOUNDS = {
    "seed": (0, MAX_SEED, ""),
    "seconds": (0.2, 60, " s"),
    "gain_db": (*SONG_GAIN_DB, " dB"),
    "pan": (-1, 1, ", left to right"),
    "duck_db": (*SONG_DUCK_DB, " dB"),
    "loudness": (-70, -5, " LUFS"),
    "ceiling": (-60, 0, " dB"),
}
_PLACE = re.compile(
    r"(?P<name>.+?)(?:\s+bar\s+(?P<bar>\d+))?(?:\s+beat\s+(?P<beat>\d+(?:\.\d+)?))?\s*", re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SongLayer:
    """A layer is something that plays along in a section, on its grid.

    Args:
        seed: None draws it from the section's.
        gain_db: beside the section's own take.
        pan: -1 is left, 1 right.
    """

    prompt: str
    seed: int | None = None
    gain_db: float = -4.0
    pan: float = 0.0

    def __post_init__(self) -> None:
        if not self.prompt.strip():
            raise InvalidInput("a layer has no prompt", field="layers")
        _check_bounds(f"layer {self.prompt!r}", self, "seed", "gain_db", "pan")


@dataclass(frozen=True, kw_only=True, slots=True)
class SongSection:
    """A section has some bars of a song.

    Args:
        chords: the progression that it repeats.
        seed: sections with the same name but for its number share theirs, unless they say their own.
        transition: how it begins.
    """

    name: str
    prompt: str
    bars: int = _DEFAULT_BARS
    chords: tuple[str, ...] = ()
    seed: int | None = None
    transition: Transition = "cut"
    gain_db: float = 0.0
    pan: float = 0.0
    layers: tuple[SongLayer, ...] = ()

    def __post_init__(self) -> None:
        if not self.prompt.strip():
            raise InvalidInput(f"section {self.name!r} has no prompt", field="sections")
        if not 1 <= self.bars <= MOST_BARS:
            raise InvalidInput(
                f"section {self.name!r} has 1 to {MOST_BARS} bars, got {self.bars}", field="bars"
            )
        _check_bounds(f"section {self.name!r}", self, "seed", "gain_db", "pan")
        if self.chords:
            parse_progression(" ".join(self.chords))


@dataclass(frozen=True, kw_only=True, slots=True)
class SongEffect:
    """An effect is a sound at a place of the song.

    Args:
        at: seconds ("12.5"), or a place in the music ("chorus", "chorus bar 3 beat 2"); the sound's attack falls there.
        gain_db: on top of the level that makes it heard; None is that level itself.
        duck_db: by how much the music makes room.
    """

    prompt: str
    at: str
    seconds: float = _USUAL_EFFECT_S
    seed: int | None = None
    gain_db: float | None = None
    pan: float = 0.0
    duck_db: float = 3.0

    def __post_init__(self) -> None:
        if not self.prompt.strip():
            raise InvalidInput("an effect has no prompt", field="effects")
        _check_bounds(f"effect {self.prompt!r}", self, "seconds", "seed", "gain_db", "pan", "duck_db")


def _check_bounds(what: str, record: object, *names: str) -> None:
    """Refuse numbers of a record that no song can be made with; None is left to the song."""
    for name in names:
        value, (least, most, unit) = getattr(record, name), _BOUNDS[name]
        if value is not None and not least <= value <= most:  # what is no number lies nowhere
            called = name.removesuffix("_db")
            raise InvalidInput(
                f"{what}: {called} lies between {least} and {most}{unit}, got {value}", field=name
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Song:
    """This record describes a song before it is made: one key and tempo, sections with prompts of their own, effects,
    levels.

    Args:
        chords: the progression of sections that have none of their own.
        ending: how the last section ends; None stops at its last bar line.
        loudness: of the whole, in LUFS.
        ceiling: of its true peaks, in dB below full scale.
    """

    format: int = FORMAT
    kind: Literal["song"] = "song"
    title: str = ""
    artist: str = ""
    tempo: float
    key: str
    beats_per_bar: int = 4
    chords: tuple[str, ...]
    seed: int = 0
    model: str = "musicgen-nano"
    sound_model: str = "audiogen-nano"
    ending: EndingKind | None = "ring"
    loudness: float = -14.0
    ceiling: float = -1.0
    sections: tuple[SongSection, ...]
    effects: tuple[SongEffect, ...] = ()

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise InvalidInput(f"a song of format {self.format}; this version reads {FORMAT}", field="format")
        check_setting("tempo", self.tempo)
        check_setting("beats_per_bar", self.beats_per_bar)
        _check_bounds("the song", self, "seed", "loudness", "ceiling")
        parse_key(self.key)
        parse_progression(" ".join(self.chords))
        if not 1 <= len(self.sections) <= MOST_SECTIONS:
            raise InvalidInput(
                f"a song has 1 to {MOST_SECTIONS} sections, got {len(self.sections)}", field="sections"
            )
        names = [section.name for section in self.sections]
        twice = next((name for name in names if names.count(name) > 1 or not name.strip()), None)
        if twice is not None:
            raise InvalidInput(f"section names are all different and not empty: {twice!r}", field="sections")
        for effect in self.effects:
            self.second_of(effect.at)

    @property
    def beat_seconds(self) -> float:
        return 60 / self.tempo

    @property
    def bar_seconds(self) -> float:
        return self.beats_per_bar * self.beat_seconds

    @property
    def seconds(self) -> float:
        """Return how many seconds it lasts."""
        return sum(section.bars for section in self.sections) * self.bar_seconds

    def starts(self) -> dict[str, float]:
        """Return the second at which each section begins."""
        bars, found = 0, {}
        for section in self.sections:
            found[section.name] = bars * self.bar_seconds
            bars += section.bars
        return found

    def section(self, name: str) -> SongSection:
        """Return the section of this name."""
        found = next((section for section in self.sections if section.name == name), None)
        if found is None:
            known = ", ".join(section.name for section in self.sections)
            raise InvalidInput(f"no section {name!r}; there are {known}", field="section")
        return found

    def changed(self, name: str, **changes: object) -> Song:
        """Return the song with one section changed."""
        self.section(name)
        sections = tuple(
            replace(section, **changes) if section.name == name else section  # type: ignore[arg-type]
            for section in self.sections
        )
        return replace(self, sections=sections)

    def second_of(self, at: str) -> float:
        """Return the second of a place such as "12.5", "chorus" or "chorus bar 3 beat 2"."""
        text = at.strip()
        try:
            second = float(text.removesuffix("s"))
        except ValueError:
            second = self._place(text)
        if not (math.isfinite(second) and 0 <= second < self.seconds):
            raise InvalidInput(f"{at!r} is not within the {self.seconds:g} s of the song", field="at")
        return second

    def _place(self, text: str) -> float:
        found = _PLACE.fullmatch(text)
        starts = {name.lower(): second for name, second in self.starts().items()}
        name = "" if found is None else found["name"].lower()
        if found is None or name not in starts:
            raise InvalidInput(
                f"cannot tell where {text!r} is: give seconds, or a section with bar and beat, as in "
                f"{self.sections[0].name + ' bar 2 beat 1'!r}",
                field="at",
            )
        bar, beat = int(found["bar"] or 1), float(found["beat"] or 1)
        if bar < 1 or not 1 <= beat < self.beats_per_bar + 1:
            raise InvalidInput(
                f"{text!r}: bars count from 1, beats from 1 to {self.beats_per_bar}", field="at"
            )
        return starts[name] + (bar - 1) * self.bar_seconds + (beat - 1) * self.beat_seconds

    def plan(self) -> ScorePlan:
        """Return the plan of the whole, as it is heard."""
        chords: list[tuple[float, str]] = []
        starts = self.starts()
        for section in self.sections:
            end = section.bars * self.bar_seconds - 1e-9
            own = self._ended(section) if section is self.sections[-1] else self.plan_of(section).chords
            chords += [(starts[section.name] + time, symbol) for time, symbol in own if time < end]
        return ScorePlan(
            tempo=self.tempo,
            beats_per_bar=self.beats_per_bar,
            key=self.key,
            chords=tuple(chords),
            duration=self.seconds,
        )

    def _ended(self, section: SongSection) -> tuple[tuple[float, str], ...]:
        """Return the chords of the last section, which rests on the tonic where the song has an ending. It is made from
        a beat before its first bar line on, so that something is before its last bar."""
        if self.ending is None:
            return self.plan_of(section).chords
        lead = self.beat_seconds
        made = self.plan_of(section, lead=lead)
        ended = closing(made, duration=made.duration).chords
        return tuple((max(0.0, time - lead), symbol) for time, symbol in ended if time > lead - 1e-6)

    def seed_of(self, section: SongSection) -> int:
        """Return the seed of a section's own take."""
        return section.seed if section.seed is not None else seed_for(self.seed, kind_of(section.name))

    def plan_of(self, section: SongSection, *, lead: float = 0.0, tail: float = 0.0) -> ScorePlan:
        """Return the plan of a section from `lead` seconds before its first bar line to `tail` seconds behind its
        last one. What is around it is its own progression, so that no other section changes it."""
        progression = section.chords or self.chords
        end = section.bars * self.bar_seconds
        laid = laid_out(
            progression, tempo=self.tempo, beats_per_bar=self.beats_per_bar, duration=end + tail + 1e-9
        )
        inside = [(time, symbol) for time, symbol in laid if time < end + tail - 1e-9 or tail > 0]
        chords = [(lead + time, symbol) for time, symbol in inside]
        if lead > 0:
            chords.insert(0, (0.0, [symbol for time, symbol in laid if time < end - 1e-9][-1]))
        return ScorePlan(
            tempo=self.tempo,
            first_beat=lead,
            beats_per_bar=self.beats_per_bar,
            key=self.key,
            chords=tuple(chords),
            duration=lead + end + tail,
        )


def kind_of(name: str) -> str:
    """Return the name of a section without its number: "verse 2" is a "verse"."""
    return re.sub(r"[\s\d._-]+$", "", name.lower()) or name.lower()


def new_song(
    sections: Mapping[str, str],
    *,
    duration: float | None = None,
    bars: Mapping[str, int] | int | None = None,
    score: ScoreSettings = NOTHING_SET,
    seed: int = 0,
    title: str = "",
    artist: str = "",
) -> Song:
    """Return a song of sections and their prompts, in one key and tempo: what `score` says, else what a prompt names,
    else drawn with the seed from what the words suggest. The first kind of section has the song's progression, every
    other kind one of its own in the same key; sections of one kind share progression and seed, and so their theme.

    Args:
        duration: seconds, about: sections get whole bars.
        bars: of every section, or of each by name; 8 by default.

    Raises:
        InvalidInput: there are no sections, or two prompts name different tempi, keys or metres.
    """
    if not sections:
        raise InvalidInput('a song needs sections, as in {"verse": "calm piano"}', field="sections")
    plan = _common_plan(sections, score, seed)
    assert plan.key is not None, "make_plan draws a key"
    bar = plan.beats_per_bar * 60 / plan.tempo
    counts = _bars_of(sections, bars, duration, bar)
    chords = progression_of(plan)
    first = kind_of(next(iter(sections)))
    made = []
    for name, prompt in sections.items():
        own = read(translate(prompt).text).chords
        kind = kind_of(name)
        if not own and kind != first and not score.chords and kind not in ("outro", "intro", "end", "ending"):
            own = _other_progression(plan.key, chords, seed_for(seed, f"chords {kind}"))
        made.append(SongSection(name=name, prompt=prompt, bars=counts[name], chords=own or chords))
    return Song(
        title=title,
        artist=artist,
        tempo=plan.tempo,
        key=plan.key,
        beats_per_bar=plan.beats_per_bar,
        chords=chords,
        seed=seed,
        sections=tuple(made),
    )


def read_song(path: str | os.PathLike[str]) -> Song:
    """Return the song in a project file; what is wrong in it is named with its place."""
    source = Path(path)
    try:
        data = json.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"cannot read {source}: {error.strerror or error}", field="project") from error
    except ValueError as error:
        raise InvalidInput(f"{source} is no project: {error}", field="project") from error
    if not isinstance(data, dict) or data.get("kind") != "song":
        raise InvalidInput(f"{source} is no project of a song", field="project")
    try:
        return decode(Song, data, where=source.name)
    except InvalidInput as error:
        raise InvalidInput(f"{source.name}: {error}", field=error.field) from error
    except ConfigError as error:
        raise InvalidInput(str(error), field="project") from error


def write_song(path: str | os.PathLike[str], song: Song) -> Path:
    """Write a project file.

    Raises:
        InvalidInput: it has another suffix.
        ConfigError: the song is none that can be read again; nothing is written.
    """
    target = Path(path)
    if target.suffix != SUFFIX:
        raise InvalidInput(f"a project's name ends in {SUFFIX}, got {target}", field="project")
    content = encode(song)
    decode(Song, content, where=target.name)  # what cannot be read again replaces nothing
    target.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(target, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return target


def _common_plan(sections: Mapping[str, str], score: ScoreSettings, seed: int) -> ScorePlan:
    """Return tempo, metre, key and progression that all sections share."""
    for what, name in (("tempo", "tempo"), ("key", "key"), ("metre", "beats_per_bar")):
        if getattr(score, name) is not None:
            continue
        said: dict[str, str] = {}
        for section, prompt in sections.items():
            told = getattr(read(translate(prompt).text), name)
            if told is not None:
                said.setdefault(str(getattr(told, "name", told)), section)
        if len(said) > 1:
            places = " and ".join(f"{value} ({section})" for value, section in said.items())
            raise InvalidInput(f"a song has one {what}, and its prompts name {places}", field="sections")
    # Chords that a section names are its own, and words of mood count for the whole.
    words = ", ".join(read(translate(prompt).text).rest for prompt in sections.values())
    named = [read(translate(prompt).text) for prompt in sections.values()]
    tempo = score.tempo or next((told.tempo for told in named if told.tempo), None)
    key = score.key or next((told.key.name for told in named if told.key), None)
    beats = score.beats_per_bar or next((told.beats_per_bar for told in named if told.beats_per_bar), None)
    settled = ScoreSettings(tempo=tempo, key=key, chords=score.chords, beats_per_bar=beats)
    plan = make_plan(words or "music", duration=60.0, seed=seed, score=settled)
    assert plan is not None, "there are words"
    return plan


def _bars_of(
    sections: Mapping[str, str], bars: Mapping[str, int] | int | None, duration: float | None, bar: float
) -> dict[str, int]:
    if isinstance(bars, Mapping):
        unknown = set(bars) - set(sections)
        if unknown:
            raise InvalidInput(f"bars for {sorted(unknown)[0]!r}, which is no section", field="bars")
        return {name: bars.get(name, _DEFAULT_BARS) for name in sections}
    if bars is not None or duration is None:
        return dict.fromkeys(sections, bars or _DEFAULT_BARS)
    if not (math.isfinite(duration) and duration >= len(sections) * bar):
        raise InvalidInput(
            f"{len(sections)} sections need {len(sections) * bar:.1f} s or more, got {duration:g}",
            field="duration",
        )
    total = max(len(sections), round(duration / bar))
    pairs, single = divmod(total, 2)
    if pairs < len(sections):
        each, more = divmod(total, len(sections))
        return {name: each + (place < more) for place, name in enumerate(sections)}
    each, more = divmod(pairs, len(sections))
    counts = {name: 2 * (each + (place < more)) for place, name in enumerate(sections)}
    counts[next(reversed(list(sections)))] += single
    return counts


def _other_progression(key: str, taken: tuple[str, ...], seed: int) -> tuple[str, ...]:
    """Return a progression in the key that is not the one that is taken."""
    known = parse_key(key)
    choices = [realise(progression, known) for progression in PROGRESSIONS[known.mode]]
    others = [tuple(choice) for choice in choices if tuple(choice) != taken] or [taken]
    return others[seed % len(others)]
