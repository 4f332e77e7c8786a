"""Listening to a file that was sent: recording or generated, how loud, how fast, in which key."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import anyio
from fastapi import APIRouter, File, Form, Query, UploadFile
from pydantic import BaseModel, Field

from audiocraft.server.api.deps import AnalyzeCaller, ServicesDep
from audiocraft.server.api.responses import PROBLEMS
from audiocraft.server.api.uploads import read_audio
from audiocraft.server.jobs.uploads import DecodedUpload
from audiocraft.server.services import Services
from audiocraft.server.worker.ports import AnalysisOptions

Probability = Annotated[float, Field(ge=0, le=1)]

router = APIRouter(tags=["analysis"], responses=PROBLEMS)


class WindowAnswer(BaseModel):
    """One window; silent ones have no scores."""

    start: float
    score: Probability | None
    mpd_score: Probability | None
    msd_score: Probability | None
    msstftd_score: Probability | None
    domain_distance: float


class FeatureMapAnswer(BaseModel):
    """One layer of one sub-discriminator, of the loudest window."""

    discriminator: str
    part: int
    layer: int
    shape: list[int]
    mean: float
    std: float
    profile: list[float]


class LevelAnswer(BaseModel):
    """Loudness in LUFS, peaks in dB below full scale; nothing of silence."""

    loudness: float | None
    true_peak: float | None
    sample_peak: float | None
    clipped_samples: int


class MusicAnswer(BaseModel):
    """Beats per minute, and the key."""

    tempo: float | None
    key: str | None


class Analysis(BaseModel):
    """Scores are probabilities of being a recording. `is_real` is null where the detector may not judge: the audio is
    silent, or not of a kind that it knows (`in_domain` false)."""

    verdict: Literal["real", "generated", "unknown"]
    is_real: bool | None
    in_domain: bool
    domain_distance: float
    domain_limit: float
    threshold: Probability
    score: Probability | None
    mpd_score: Probability | None
    msd_score: Probability | None
    msstftd_score: Probability | None
    duration: float
    sample_rate: int
    channels: int
    level: LevelAnswer
    music: MusicAnswer
    windows: list[WindowAnswer]
    feature_maps: list[FeatureMapAnswer] | None = None
    spectrogram: str | None = Field(None, description="A PNG picture in base64, if it was asked for.")
    notes: list[str]


class FirstAnalysis(Analysis):
    """The same with the feature maps as the first version of the platform sent them: one row of numbers a map."""

    feature_maps: list[list[float]]  # type: ignore[assignment]


@router.post("/v1/analyze")
async def analyze(
    file: Annotated[UploadFile, File(description="wav, flac, ogg or mp3")],
    services: ServicesDep,
    _who: AnalyzeCaller,
    threshold: Annotated[
        float | None, Form(ge=0, le=1, description="In place of the calibrated one.")
    ] = None,
    feature_maps: Annotated[bool, Form(description="Also describe the layers' maps.")] = False,
    spectrogram: Annotated[bool, Form(description="Also draw it.")] = False,
) -> Analysis:
    """Tell a recording from generated audio; measure loudness, peak, tempo and key."""
    options = AnalysisOptions(threshold=threshold, feature_maps=feature_maps, spectrogram=spectrogram)
    return Analysis(**await _report(services, file, options))


@router.post("/analyze", tags=["compatible"])
async def analyze_first(
    audio_file: Annotated[UploadFile, File(description="wav, flac, ogg or mp3")],
    services: ServicesDep,
    _who: AnalyzeCaller,
    threshold: Annotated[
        float | None, Query(ge=0, le=1, description="In place of the calibrated one.")
    ] = None,
) -> FirstAnalysis:
    """The analysis as the first version of this platform took it: `audio_file`, and `threshold` in the address."""
    options = AnalysisOptions(threshold=threshold, feature_maps=True)
    report = await _report(services, audio_file, options)
    rows = [entry["profile"] for entry in report["feature_maps"] or ()]
    return FirstAnalysis(**{**report, "feature_maps": rows})


async def _report(services: Services, file: UploadFile, options: AnalysisOptions) -> dict[str, Any]:
    async with services.analysing.slot():  # so that no decoded audio waits
        decoded = await read_audio(services, file)
        return await anyio.to_thread.run_sync(_analyse, services, decoded, options)


def _analyse(services: Services, decoded: DecodedUpload, options: AnalysisOptions) -> dict[str, Any]:
    """The report on a file, made where the models are; a server without models loads the detector itself."""
    if services.models is not None:
        return services.models.analyse(decoded.wav, decoded.sample_rate, options)
    from audiocraft.server.worker.analyst import bundled_analyst  # imports torch

    return bundled_analyst().analyse(decoded.wav, decoded.sample_rate, options)
