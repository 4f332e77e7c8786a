"""Bodies of requests that change a piece: a region made anew, more bars, a loop, an ending, another style."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from audiocraft.config.limits import EndingKind
from audiocraft.server.api.schemas import AudioInput, ModelName, PlanBody, PromptText, RegionBody, Seed
from audiocraft.server.api.studio_bodies import StudioBody, Tempo

EditKind = Literal["redo", "extend", "loop", "end", "restyle"]
Bars = Annotated[int, Field(ge=1, le=64)]

_OWN = {
    "redo": ("region",), "extend": ("before", "after"), "loop": ("bars",), "end": ("bars", "ending"), "restyle": (),
}  # fmt: skip
_NEEDS_WORDS = "restyle"
LEAST_REGION = 0.5
"""Seconds of a region that can be made anew."""


class EditBody(StudioBody):
    """A piece after an edit; the piece itself stays what it is."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "edit": "redo",
                    "audio": {"generation": "gen_01m0000000000000000000000a"},
                    "region": {"start": 4, "end": 8},
                },
                {
                    "edit": "extend",
                    "audio": {"generation": "gen_01m0000000000000000000000a"},
                    "after": 4,
                },
            ]
        }
    )

    kind: Literal["edit"] = Field(default="edit", description="As answers say it.")
    edit: EditKind = Field(
        description="redo makes `region` anew, extend adds bars `before` or `after` it, loop cuts `bars` out of it "
        "whose end leads into their beginning, end adds `bars` in which it comes to rest, and restyle plays its "
        "tempo, bars and chords as `prompt` says, and its tune with a model that follows plans and tunes."
    )
    audio: AudioInput = Field(description="The piece.")
    prompt: PromptText = Field(default="", description="What is new; by default the words of the piece.")
    region: RegionBody | None = Field(
        default=None, description="With redo: what is made anew; the rest stays."
    )
    before: Bars | None = Field(default=None, description="With extend: bars more before its beginning.")
    after: Bars | None = Field(default=None, description="With extend: bars more behind its end.")
    bars: Bars | None = Field(
        default=None, description="With loop: as many as fit, if left out; with end: by default 2."
    )
    ending: EndingKind | None = Field(default=None, description="With end: how it ends; by default ring.")
    tempo: Tempo | None = Field(default=None, description="Its tempo, where another would be heard.")
    plan: PlanBody | None = Field(
        default=None,
        description="Its tempo, bars and chords with their times; known of pieces of this server, else heard.",
    )
    seed: Seed | None = Field(default=None, description="Same seed, same result; drawn where none is given.")
    model: ModelName | None = Field(
        default=None, description="One that takes plans; by default the server's."
    )

    @property
    def inputs(self) -> dict[str, AudioInput]:
        """Return the piece, by its field."""
        return {"audio": self.audio}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        own = _OWN[self.edit]
        for name in ("region", "before", "after", "bars", "ending"):
            if getattr(self, name) is not None and name not in own:
                raise ValueError(
                    f"{name}: {self.edit} has no {name}; it has {', '.join(own) or 'words alone'}"
                )
        if self.edit == "redo" and self.region is None:
            raise ValueError("region: which seconds are made anew?")
        if self.region is not None and self.region.end - self.region.start < LEAST_REGION:
            raise ValueError(f"region: {LEAST_REGION:g} s or more are made anew at a time")
        if self.edit == "extend" and (self.before is None) == (self.after is None):
            raise ValueError("after: say how many bars come before or after it; for both, extend twice")
        if self.edit == _NEEDS_WORDS and not self.prompt.strip():
            raise ValueError("prompt: which style? say it in words, such as house with synth bass")
        if self.plan is not None and not self.plan.timed:
            raise ValueError("plan.chords: a plan of audio has chords with their times")
        return self
