"""The body in which codes of a codec are sent to be decoded."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from audiocraft.server.api.schemas import ModelName, Strict

Scale = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class CodesBody(Strict):
    """Codes of a codec, and what else the answer of `encode` says of them: it may be sent back as it is."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"codes": [[311, 439, 439, 496]], "samples": 3840}]}
    )

    codes: Annotated[
        list[Annotated[list[Annotated[int, Field(ge=0, le=65535)]], Field(min_length=1, max_length=200_000)]],
        Field(min_length=1, max_length=64),
    ] = Field(description="A list for each codebook, the coarsest first.")
    model: ModelName | None = Field(default=None, description="The codec; by default the server's.")
    scale: Scale | list[Scale] | None = Field(
        default=None, description="The volume of each chunk, with codecs that keep it apart."
    )
    samples: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="How long the audio was: what is beyond is cut off."
    )
    object: Literal["codes"] = Field(default="codes", description="As `encode` says it.")
    sample_rate: int | None = Field(default=None, description="If given, it must be the codec's.")
    channels: int | None = Field(default=None, description="If given, they must be the codec's.")
    frame_rate: float | None = Field(default=None, description="If given, it must be the codec's.")
