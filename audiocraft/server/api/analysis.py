"""Listening to a file that was sent: recording or generated, how loud, how fast, in which key."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator
from typing import IO, Annotated, Any, Literal

import anyio
from fastapi import APIRouter, File, Form, Query, Request, UploadFile
from pydantic import BaseModel, Field

from audiocraft.errors import Cancelled, InvalidInput
from audiocraft.server.api.coded import acx_reader
from audiocraft.server.api.deps import AnalyzeCaller, ServicesDep
from audiocraft.server.api.responses import PROBLEMS
from audiocraft.server.api.streams import PacedResponse
from audiocraft.server.errors import RequestRefused, fault_of, problem_document, request_id_of
from audiocraft.server.security import sandbox
from audiocraft.server.security.keys import Principal
from audiocraft.server.services import Services
from audiocraft.server.worker.ports import AnalysisOptions

Probability = Annotated[float, Field(ge=0, le=1)]

_LOOK_SECONDS = 0.1
# What the library calls the audio that it is given, which here is a file of the request.
_AUDIO_OF_THE_LIBRARY = ("wav", "audio", "file")
# One event, as parsers of event streams give it; its data is JSON.
EVENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"type": "string", "enum": ["progress", "report", "error"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}

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
    """This is one layer of one sub-discriminator, of the loudest window."""

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
    """These are the beats per minute, and the key."""

    tempo: float | None
    key: str | None


class WatermarkAnswer(BaseModel):
    """Whether audio carries the mark of `audioseal-nano`. That none is found proves nothing."""

    marked: bool = Field(description="Whether the audio as a whole carries a mark.")
    ours: bool = Field(description="Whether it carries the message that AudioCraft puts into what it makes.")
    share: Probability = Field(description="The share of its audible seconds that are marked.")
    agreement: Probability | None = Field(
        description="How far it agrees with that message; above 0.45 is ours, at another speed above 0.6."
    )
    speed: float = Field(description="How fast it is played beside when it was marked: 1.05 is 5 % faster.")
    message: str | None = Field(description="The bits that are read, where anything is marked.")
    duration: float = Field(description="Seconds.")
    seconds: list[Probability] = Field(description="Of each second, the detector's probability of a mark.")
    found: list[bool] = Field(description="Of each second, whether it is marked.")


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
    watermark: WatermarkAnswer | None = Field(
        None, description="The watermark; null where the audio is silent or shorter than half a second."
    )
    windows: list[WindowAnswer]
    feature_maps: list[FeatureMapAnswer] | None = None
    spectrogram: str | None = Field(None, description="A PNG picture in base64, if it was asked for.")
    notes: list[str]


class FirstAnalysis(Analysis):
    """The same with the feature maps as the first version of the platform sent them: one row of numbers a map."""

    feature_maps: list[list[float]]  # type: ignore[assignment]


@router.post(
    "/v1/analyze",
    response_model=Analysis,
    responses={200: {"content": {"text/event-stream": {"schema": EVENT}}}},
)
async def analyze(
    file: Annotated[UploadFile, File(description="wav, flac, ogg, mp3 or acx")],
    services: ServicesDep,
    who: AnalyzeCaller,
    request: Request,
    threshold: Annotated[
        float | None, Form(ge=0, le=1, description="In place of the calibrated one.")
    ] = None,
    feature_maps: Annotated[bool, Form(description="Also describe the layers' maps.")] = False,
    spectrogram: Annotated[bool, Form(description="Also draw it.")] = False,
) -> Any:
    """Tell a recording from generated audio; measure loudness, peak, tempo and key. It ends when its client leaves.
    With `Accept: text/event-stream` it says how far it is: events `progress`, and at last `report` or `error`."""
    options = AnalysisOptions(threshold=threshold, feature_maps=feature_maps, spectrogram=spectrogram)
    work = _Work(services, who, await anyio.to_thread.run_sync(_kept, file.file), options)
    if "text/event-stream" in request.headers.get("accept", ""):
        lines = _event_lines(work, request_id_of(request))
        return PacedResponse(lines, stall=services.stream_limits.stall, media_type="text/event-stream")
    return Analysis(**await work.while_wanted(request))


@router.post("/analyze", tags=["compatible"])
async def analyze_first(
    audio_file: Annotated[UploadFile, File(description="wav, flac, ogg, mp3 or acx")],
    services: ServicesDep,
    who: AnalyzeCaller,
    request: Request,
    threshold: Annotated[
        float | None, Query(ge=0, le=1, description="In place of the calibrated one.")
    ] = None,
) -> FirstAnalysis:
    """The analysis as the first version of this platform took it: `audio_file`, and `threshold` in the address."""
    options = AnalysisOptions(threshold=threshold, feature_maps=True)
    kept = await anyio.to_thread.run_sync(_kept, audio_file.file)
    report = await _Work(services, who, kept, options, "audio_file").while_wanted(request)
    rows = [entry["profile"] for entry in report["feature_maps"] or ()]
    return FirstAnalysis(**{**report, "feature_maps": rows})


@router.post("/v1/watermark/detect")
async def detect_watermark(
    file: Annotated[UploadFile, File(description="wav, flac, ogg or mp3")],
    services: ServicesDep,
    who: AnalyzeCaller,
    request: Request,
) -> WatermarkAnswer:
    """Say whether a file carries the watermark of this software, which of its seconds do, and what it says. It ends
    when its client leaves."""
    kept = await anyio.to_thread.run_sync(_kept, file.file)
    report = await _Work(services, who, kept, AnalysisOptions(watermark_only=True)).while_wanted(request)
    return WatermarkAnswer(**report["watermark"])


class _Work:
    """One analysis: it waits for its turn, counts against the quota, and can be stopped at any time.

    Args:
        kept: the file that was sent, on disk.
        field: what the route calls it, as refusals do.
    """

    def __init__(
        self,
        services: Services,
        who: Principal,
        kept: IO[bytes],
        options: AnalysisOptions,
        field: str = "file",
    ) -> None:
        self._field = field
        self.done = 0.0
        self._services = services
        self._who = who
        self._kept = kept
        self._options = options
        self._stop = threading.Event()
        self._waiting = anyio.CancelScope()

    def stop(self) -> None:
        """End it within a second, whether it has begun or not."""
        self._stop.set()
        self._waiting.cancel()

    async def report(self) -> dict[str, Any]:
        """Return the fields of the report. Raises Cancelled after `stop`."""
        with self._kept, self._waiting:
            async with self._services.analysing.slot(), self._services.decoding.slot():
                return await anyio.to_thread.run_sync(self._run)
        raise Cancelled("the analysis was stopped")

    async def while_wanted(self, request: Request) -> dict[str, Any]:
        """Return the same, stopped when the client leaves."""
        watching = asyncio.create_task(self._watch(request))
        try:
            return await self.report()
        finally:
            watching.cancel()

    async def _watch(self, request: Request) -> None:
        while not await request.is_disconnected():
            await anyio.sleep(_LOOK_SECONDS)
        self.stop()

    def _run(self) -> dict[str, Any]:
        services = self._services
        content = self._kept.read(services.config.upload.bytes + 1)
        limits, read_coded = services.config.upload, acx_reader(services)
        with sandbox.decoded_file(content, limits, field=self._field, read_coded=read_coded) as file:
            del content
            services.store.count(self._who.owner, self._who.quota, file.seconds)
            try:
                return services.analysts.analyse(file, self._options, progress=self._note, stop=self._stop)
            except (InvalidInput, RequestRefused) as error:
                if error.field in _AUDIO_OF_THE_LIBRARY:
                    error.field = self._field
                raise

    def _note(self, done: float) -> None:
        self.done = done


def _kept(sent: IO[bytes]) -> IO[bytes]:
    """Return a copy of a file that was sent, on disk: its analysis may have to wait, and the framework closes its
    own."""
    kept = tempfile.TemporaryFile(prefix=sandbox.FOLDER_PREFIX)
    shutil.copyfileobj(sent, kept)
    kept.seek(0)
    return kept


async def _event_lines(work: _Work, request_id: str | None) -> AsyncIterator[bytes]:
    """Yield how far an analysis is, as it goes on, and then what came of it."""
    task = asyncio.create_task(work.report())
    try:
        said = -1.0
        while not task.done():
            if work.done != said:
                said = work.done
                yield _event("progress", {"progress": round(said, 3)})
            await asyncio.wait((task,), timeout=_LOOK_SECONDS)
        error = task.exception()
        if error is None:
            yield _event("report", Analysis(**task.result()).model_dump(mode="json"))
        else:
            yield _event("error", problem_document(fault_of(error), request_id))
    finally:
        work.stop()  # nothing more to stop, unless the client has left
        with anyio.CancelScope(shield=True):
            await asyncio.wait((task,))


def _event(kind: str, document: dict[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(document, ensure_ascii=False)}\n\n".encode()
