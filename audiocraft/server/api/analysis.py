"""Listening to a file that was sent: recording or generated, how loud, how fast, in which key."""

from __future__ import annotations

import base64
import threading
from pathlib import Path
from typing import Annotated, Literal

import anyio
from fastapi import APIRouter, File, Form, UploadFile
from pydantic import BaseModel, Field

from audiocraft.analysis.report import analyse
from audiocraft.audio.spectrogram import spectrogram_png
from audiocraft.errors import CheckpointError
from audiocraft.models.detectors.detector import BUNDLED, Detector, load_detector
from audiocraft.server.api.deps import AnalyzeCaller, ServicesDep
from audiocraft.server.api.generations import PROBLEMS
from audiocraft.server.api.uploads import read_audio
from audiocraft.server.errors import NotImplementedHere
from audiocraft.server.jobs.uploads import Decoded
from audiocraft.server.worker.slots import Turns

_WAITING = 16

Probability = Annotated[float, Field(ge=0, le=1)]


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


class Analyst:
    """The detector of a process, loaded at the first file, and its one seat: files are judged one after the other."""

    def __init__(self, model: str | Path = BUNDLED) -> None:
        self._model = model
        self._lock = threading.Lock()
        self._detector: Detector | None = None
        self.turns = Turns("the detector", at_once=1, waiting=_WAITING)

    def detector(self) -> Detector:
        """The detector; other threads wait while it is loaded."""
        with self._lock:
            if self._detector is None:
                try:
                    self._detector = load_detector(self._model)
                except CheckpointError as error:
                    raise NotImplementedHere(f"this server has no detector: {error}") from error
            return self._detector

    def analyse(
        self, decoded: Decoded, threshold: float | None, feature_maps: bool, spectrogram: bool
    ) -> Analysis:
        """Everything about one file. Takes seconds: not for event loops."""
        report = analyse(
            decoded.wav,
            decoded.sample_rate,
            self.detector(),
            threshold=threshold,
            feature_maps=feature_maps,
        )
        picture = None
        if spectrogram:
            picture = base64.b64encode(spectrogram_png(decoded.wav, decoded.sample_rate)).decode("ascii")
        return Analysis(**report.as_json(), spectrogram=picture)


def make_analysis_router(analyst: Analyst | None = None) -> APIRouter:
    """`POST /v1/analyze`, and the same as `POST /analyze`."""
    router = APIRouter(tags=["analysis"], responses=PROBLEMS)
    listener = analyst or Analyst()

    @router.post("/v1/analyze")
    @router.post("/analyze", include_in_schema=False)
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
        async with listener.turns.turn():  # so that no decoded audio waits
            decoded = await read_audio(services, file)
            return await anyio.to_thread.run_sync(
                listener.analyse, decoded, threshold, feature_maps, spectrogram
            )

    return router
