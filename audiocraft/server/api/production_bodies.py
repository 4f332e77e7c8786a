"""Bodies of requests for podcasts and for the audio of games."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from audiocraft.music.harmony import parse_key
from audiocraft.server.api.schemas import AudioInput, ModelName, PromptText, Seed, Strict
from audiocraft.server.api.spelling import named
from audiocraft.server.api.studio_bodies import Progression, ShortText, StudioBody, Tempo
from audiocraft.server.api.timed_bodies import Second

PauseMusic = Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)]
Theme = Annotated[str, StringConstraints(min_length=1, max_length=400, pattern=r"^[^\x00]*\S[^\x00]*$")]


class ChapterBody(Strict):
    """A chapter, which begins at this second of the voice."""

    start: Second = Field(description="Seconds.")
    title: ShortText = Field(description="What it is called.")


class PodcastBody(StudioBody):
    """This asks for an episode around a voice."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "voice": {"upload": "upl_01m0000000000000000000000a"},
                    "theme": "science, calm",
                    "chapters": [{"start": 0, "title": "Welcome"}, {"start": 62.5, "title": "Questions"}],
                }
            ]
        }
    )

    kind: Literal["podcast"] = Field(default="podcast", description="As answers say it.")
    voice: AudioInput = Field(description="What is said.")
    theme: Theme = Field(default="calm", description="What the music is like; its tempo and key follow.")
    chapters: Annotated[list[ChapterBody], Field(max_length=200)] = Field(
        default_factory=list, description="Where they begin in the voice; they are in the MP3 file."
    )
    channels: Annotated[int, Field(ge=1, le=2)] = Field(default=2, description="1 is mono.")
    loudness: Annotated[float, Field(ge=-30, le=-6, allow_inf_nan=False)] | None = Field(
        default=None, description="In LUFS; by default -16 in stereo, -19 in mono."
    )
    intro: PauseMusic = Field(default=8.0, description="Seconds of music before the voice; 0 for none.")
    outro: PauseMusic = Field(default=8.0, description="Seconds of music after the voice; 0 for none.")
    bed: bool = Field(default=True, description="Whether music goes on under the voice.")
    bed_db: Annotated[float, Field(ge=-40, le=6, allow_inf_nan=False)] = Field(
        default=-6.0, description="How loud it is beside the voice in pauses."
    )
    depth_db: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = Field(
        default=12.0, description="How much softer it is while somebody speaks."
    )
    transitions: bool = Field(default=True, description="A sound before each chapter but the first.")
    prepare_voice: bool = Field(
        default=True, description="Take rumble from the voice and even out its level."
    )
    seed: Seed | None = Field(default=None, description="Same seed, same music; drawn where none is given.")
    model: ModelName | None = Field(
        default=None, description="What makes the music; by default the server's."
    )

    @property
    def inputs(self) -> dict[str, AudioInput]:
        """Return the voice, by its field."""
        return {"voice": self.voice}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name in ("intro", "outro"):
            if 0 < getattr(self, name) < 2:
                raise ValueError(f"{name}: it lasts 2 to 60 s, or 0 for none")
        starts = [chapter.start for chapter in self.chapters]
        if any(later <= earlier for earlier, later in itertools.pairwise(starts)):
            raise ValueError("chapters: each begins after the one before it")
        return self


class BankBody(StudioBody):
    """The audio of a game: music of layers that follow tension and location, stingers, and the sound of places."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"prompt": "fantasy", "locations": ["forest", "dungeon"], "metadata": {"title": "Elm"}}
            ]
        }
    )

    kind: Literal["bank"] = Field(default="bank", description="As answers say it.")
    prompt: PromptText = Field(default="", description="Words for all of its music.")
    locations: Annotated[list[ShortText], Field(min_length=1, max_length=8)] = Field(
        default_factory=lambda: ["neutral"],
        description="Where music plays: forest, ocean, city, dungeon, neutral or any words.",
    )
    environments: Annotated[list[ShortText], Field(max_length=8)] | None = Field(
        default=None, description="Places whose sound is in it; by default the locations but for neutral."
    )
    ambience_seconds: Annotated[float, Field(ge=20, le=1800, allow_inf_nan=False)] = Field(
        default=60.0, description="After which the sound of a place repeats."
    )
    bars: Annotated[int, Field(ge=1, le=32)] = Field(default=8, description="Of every loop.")
    stingers: bool = Field(default=True, description="Short pieces for victory, danger and discovery.")
    tempo: Tempo | None = Field(default=None, description="Beats a minute, of all music.")
    key: Annotated[str, StringConstraints(max_length=20)] | None = Field(
        default=None, description="Of all music, such as D minor."
    )
    chords: Progression = Field(default_factory=list, description="A progression such as Dm Bb F C.")
    format: Literal["ogg", "wav", "flac"] = Field(default="ogg", description="Of its files.")
    seed: Seed | None = Field(default=None, description="Same seed, same bank; drawn where none is given.")
    model: ModelName | None = Field(
        default=None, description="One that takes plans; by default the server's."
    )
    sound_model: ModelName | None = Field(default=None, description="What makes the sound of places.")

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.key is not None:
            named("key", parse_key, self.key)
        for name in ("locations", "environments"):
            said = [one.strip().lower() for one in getattr(self, name) or ()]
            if len(set(said)) < len(said) or not all(said):
                raise ValueError(f"{name}: each has a name of its own")
        return self

    @property
    def places(self) -> list[str]:
        """Return the places whose sound is in it."""
        if self.environments is not None:
            return list(self.environments)
        return [place for place in self.locations if place.strip().lower() != "neutral"]
