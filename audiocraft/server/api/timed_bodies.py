"""What has its time in a piece: chords, notes, regions; and what all bodies of requests share."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Second = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]


class Strict(BaseModel):
    """A body in which an unknown field is an error, not a wish that is ignored, and "true" is no number."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())


class ChordBody(Strict):
    """A chord sounds from this second on."""

    at: Second = Field(description="Seconds.")
    chord: Annotated[str, StringConstraints(min_length=1, max_length=16)] = Field(
        description="Such as C, Am or F#m7."
    )


class NoteBody(Strict):
    """A note of a tune."""

    at: Second = Field(description="Seconds.")
    until: Second = Field(description="Seconds; behind `at`.")
    pitch: Annotated[int, Field(ge=0, le=127)] = Field(description="As MIDI counts; 60 is middle C.")

    @model_validator(mode="after")
    def _sounds(self) -> Self:
        if not self.until > self.at:
            raise ValueError(f"notes: one begins at {self.at:g} s and ends at {self.until:g} s")
        return self


class RegionBody(Strict):
    """A region is a part of audio, in seconds."""

    start: Second = Field(description="Seconds.")
    end: Second = Field(description="Seconds.")
