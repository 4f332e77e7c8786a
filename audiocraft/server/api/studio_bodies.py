"""Bodies of requests for what is made of several pieces: what they share, and songs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from audiocraft.config.limits import SONG_DUCK_DB, SONG_GAIN_DB, EndingKind
from audiocraft.errors import InvalidInput
from audiocraft.music.harmony import parse_key
from audiocraft.music.planning import ScoreSettings
from audiocraft.music.progressions import parse_progression
from audiocraft.server.api.schemas import (
    MOST_METADATA,
    AudioInput,
    GenerationId,
    MetadataName,
    MetadataWord,
    ModelName,
    PromptText,
    Seconds,
    Seed,
    Strict,
)
from audiocraft.server.api.spelling import named
from audiocraft.workflows.studio.project import (
    MOST_BARS,
    MOST_SECTIONS,
    Song,
    SongEffect,
    SongLayer,
    SongSection,
    Transition,
    new_song,
)

Decibels = Annotated[float, Field(ge=SONG_GAIN_DB[0], le=SONG_GAIN_DB[1], allow_inf_nan=False)]
Pan = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
Tempo = Annotated[float, Field(ge=20, le=400, allow_inf_nan=False)]
ShortText = Annotated[str, StringConstraints(min_length=1, max_length=60, pattern=r"^[^\x00-\x1f]*$")]


def _spelled(chords: object) -> object:
    if isinstance(chords, str):
        return list(named("chords", parse_progression, chords)) if chords.strip() else []
    return chords


Progression = Annotated[list[str], Field(max_length=256), BeforeValidator(_spelled)]
"""Chords that come round again and again: a text such as "Am F C G" or "C | Am F | G7", or a list of its words."""


class StudioBody(Strict):
    """What every request of the studio has."""

    priority: Annotated[int, Field(ge=0, le=9)] = Field(
        default=0,
        description="Higher goes first, before those of others too: above 0 it needs the scope `admin`.",
    )
    metadata: Annotated[dict[MetadataName, MetadataWord], Field(max_length=MOST_METADATA)] = Field(
        default_factory=dict,
        description="Words of your own, given back as they are; `title` names files and is searched.",
    )
    webhook: Annotated[str, StringConstraints(max_length=2000)] | None = Field(
        default=None, description="An https address that is told when it is finished."
    )

    @property
    def inputs(self) -> dict[str, AudioInput]:
        """Return all audio that is named, by the field that names it."""
        return {}


class LayerBody(Strict):
    """Something that plays along in a section."""

    prompt: PromptText = Field(description="What plays along.")
    seed: Seed | None = Field(default=None, description="By default drawn from the section's.")
    gain_db: Decibels = Field(default=-4.0, description="Beside the section's own take.")
    pan: Pan = Field(default=0.0, description="-1 is left, 1 right.")


class SongSectionBody(Strict):
    """A section has some bars of a song."""

    name: ShortText | None = Field(
        default=None, description="Such as verse 2: sections of one name share progression and seed."
    )
    prompt: PromptText = Field(description="What this section sounds like.")
    bars: Annotated[int, Field(ge=1, le=MOST_BARS)] | None = Field(
        default=None, description="By default 8, or what `duration` leaves."
    )
    chords: Progression = Field(default_factory=list, description="Its own progression, such as Am F C G.")
    seed: Seed | None = Field(
        default=None, description="Another seed makes another take of this section only."
    )
    transition: Transition = Field(default="cut", description="How it begins: pause is a beat of silence.")
    gain_db: Decibels = Field(default=0.0, description="Louder or softer.")
    pan: Pan = Field(default=0.0, description="-1 is left, 1 right.")
    layers: Annotated[list[LayerBody], Field(max_length=8)] = Field(
        default_factory=list, description="What plays along on its grid."
    )


class SongEffectBody(Strict):
    """A sound at a place of a song."""

    prompt: PromptText = Field(description="What it sounds like.")
    at: Annotated[str, StringConstraints(min_length=1, max_length=80)] = Field(
        default="0", description="Seconds, or a place such as `chorus bar 3 beat 2`."
    )
    seconds: Annotated[float, Field(ge=0.2, le=60, allow_inf_nan=False)] = Field(
        default=3.0, description="How long it is."
    )
    seed: Seed | None = Field(default=None, description="By default drawn from the song's.")
    gain_db: Decibels | None = Field(default=None, description="On top of the level that makes it heard.")
    pan: Pan = Field(default=0.0, description="-1 is left, 1 right.")
    duck_db: Annotated[float, Field(ge=SONG_DUCK_DB[0], le=SONG_DUCK_DB[1], allow_inf_nan=False)] = Field(
        default=3.0, description="By how much the music makes room."
    )


class SongBody(StudioBody):
    """A song: sections with prompts of their own in one key and tempo."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "sections": [
                        {"name": "verse", "prompt": "calm piano"},
                        {"name": "chorus", "prompt": "piano, strings and drums"},
                    ],
                    "tempo": 96,
                    "key": "A minor",
                    "metadata": {"title": "Morning"},
                }
            ]
        }
    )

    kind: Literal["song"] = Field(default="song", description="As answers say it.")
    sections: Annotated[list[SongSectionBody], Field(min_length=1, max_length=MOST_SECTIONS)] = Field(
        description="What comes after what."
    )
    effects: Annotated[list[SongEffectBody], Field(max_length=64)] = Field(
        default_factory=list, description="Sounds at their places."
    )
    tempo: Tempo | None = Field(default=None, description="Beats a minute, of all sections.")
    key: Annotated[str, StringConstraints(max_length=20)] | None = Field(
        default=None, description="Of all sections, such as A minor."
    )
    beats_per_bar: Annotated[int, Field(ge=1, le=16)] | None = Field(
        default=None, description="Of all sections."
    )
    chords: Progression = Field(
        default_factory=list, description="The progression of sections that say none of their own."
    )
    duration: Seconds | None = Field(
        default=None, description="Seconds, about, where sections say no bars: they get whole ones."
    )
    seed: Seed | None = Field(default=None, description="Same seed, same song; drawn where none is given.")
    model: ModelName | None = Field(
        default=None, description="One that takes plans; by default the server's."
    )
    sound_model: ModelName | None = Field(default=None, description="What makes the effects.")
    ending: EndingKind | None = Field(
        default="ring", description="How the last section ends; null stops at its last bar line."
    )
    loudness: Annotated[float, Field(ge=-30, le=-6, allow_inf_nan=False)] = Field(
        default=-14.0, description="Of the whole, in LUFS."
    )
    stems: bool = Field(default=False, description="Also every section as a file of its own, before the mix.")
    base: GenerationId | None = Field(
        default=None,
        description="An earlier song of yours: sections that are the same in both are not made again. Seed, tempo, "
        "metre, key, chords and models that are left out are those of that song.",
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.key is not None:
            named("key", parse_key, self.key)
        for section in self.sections:
            if not section.prompt.strip():
                raise ValueError("sections: each needs a prompt")
            if section.chords:
                named("sections.chords", parse_progression, " ".join(section.chords))
        if self.chords:
            named("chords", parse_progression, " ".join(self.chords))
        if self.duration is not None and any(section.bars is not None for section in self.sections):
            raise ValueError("duration: the bars of sections say how long the song is; leave one out")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the sections; those without one are letters."""
        return tuple(section.name or chr(ord("A") + place % 26) + str(place // 26 or "")
                     for place, section in enumerate(self.sections))  # fmt: skip

    def song(self, *, model: str, sound_model: str, seed: int) -> Song:
        """Return the song that it asks for; raises InvalidInput where there is none."""
        names = self.names
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InvalidInput(
                f"two sections are called {twice!r}; call one of them {twice + ' 2'!r}", field="sections"
            )
        parts = dict(zip(names, self.sections, strict=True))
        bars = {name: part.bars for name, part in parts.items() if part.bars is not None}
        made = new_song(
            {name: part.prompt for name, part in parts.items()},
            duration=self.duration,
            bars=bars or None,
            score=ScoreSettings(
                tempo=self.tempo, key=self.key, chords=tuple(self.chords), beats_per_bar=self.beats_per_bar
            ),
            seed=seed,
            title=self.metadata.get("title", ""),
        )
        sections = tuple(_section(section, parts[section.name]) for section in made.sections)
        return Song(
            title=made.title, tempo=made.tempo, key=made.key, beats_per_bar=made.beats_per_bar, chords=made.chords,
            seed=seed, model=model, sound_model=sound_model, ending=self.ending, loudness=self.loudness,
            sections=sections, effects=tuple(SongEffect(**effect.model_dump()) for effect in self.effects),
        )  # fmt: skip

    def settled(self, song: Song) -> SongBody:
        """Return the same with everything decided, so that it makes the same song wherever it is sent."""
        sections = [
            part.model_copy(update={"name": made.name, "bars": made.bars, "chords": list(made.chords)})
            for part, made in zip(self.sections, song.sections, strict=True)
        ]
        return self.model_copy(
            update={
                "sections": sections, "tempo": song.tempo, "key": song.key, "beats_per_bar": song.beats_per_bar,
                "chords": list(song.chords), "seed": song.seed, "model": song.model,
                "sound_model": song.sound_model, "duration": None,
            }
        )  # fmt: skip


def _section(made: SongSection, asked: SongSectionBody) -> SongSection:
    layers = tuple(SongLayer(**layer.model_dump()) for layer in asked.layers)
    return SongSection(
        name=made.name, prompt=made.prompt, bars=made.bars, chords=tuple(asked.chords) or made.chords,
        seed=asked.seed, transition=asked.transition, gain_db=asked.gain_db, pan=asked.pan, layers=layers,
    )  # fmt: skip


def song_of_job(request: Mapping[str, Any]) -> Song:
    """Return the song of a stored request, which is settled."""
    body = SongBody.model_validate(dict(request))
    assert body.model is not None and body.sound_model is not None and body.seed is not None
    return body.song(model=body.model, sound_model=body.sound_model, seed=body.seed)
