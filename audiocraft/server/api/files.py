"""Finished pieces as files, whole or in parts: the WAV that is there, or another format made of it once and kept."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from audiocraft.audio.encoders import open_encoder
from audiocraft.audio.formats import DOWNLOAD_FORMATS, FILE_FORMATS
from audiocraft.audio.marks import marked
from audiocraft.server.api.coded import models_of
from audiocraft.server.api.deps import GenerateCaller, ServicesDep, run_query
from audiocraft.server.api.generations import JobId
from audiocraft.server.api.responses import PROBLEMS
from audiocraft.server.api.schemas import FILE_CONTENT, DownloadFormat, DownloadQuery
from audiocraft.server.api.scores import marks_of_job
from audiocraft.server.api.streams import with_deadline
from audiocraft.server.errors import NotFound, NotReady
from audiocraft.server.jobs.records import GenerationJob, tags_of
from audiocraft.server.services import Services
from audiocraft.server.worker.ports import AcxOptions
from audiocraft.utils.files import atomic_path

_BLOCK_SECONDS = 4
# More parts than any player asks for; answering thousands of them is work that a stranger could order for nothing.
MAX_RANGES = 8
_NAME_LETTERS = 48

router = APIRouter(prefix="/v1/generations", tags=["streaming"], responses=PROBLEMS)


class Peaks(BaseModel):
    """The outline of a piece: the loudest sample, 0 to 1, of each part."""

    peaks: list[float]
    seconds: float


class PacedFile(FileResponse):
    """A file whose reader is cut like that of a stream; what is wrong with a range is a problem like others."""

    def __init__(self, path: Path, *, stall: float, **options: Any) -> None:
        super().__init__(path, **options)
        self._stall = stall

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        bounded = with_deadline(send, self._stall)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in (400, 416):
                wanted, size = Headers(scope=scope).get("range"), Headers(raw=message["headers"])
                place = {"Content-Range": size["content-range"]} if "content-range" in size else {}
                raise HTTPException(message["status"], f"there is no part {wanted!r} of this file", place)
            await bounded(message)

        try:
            await super().__call__(scope, receive, sending)
        except* TimeoutError:
            pass


@router.get(
    "/{job}/audio",
    response_class=Response,
    responses={
        200: {"content": FILE_CONTENT, "description": "The whole file."},
        206: {"content": FILE_CONTENT, "description": "The part that `Range` names."},
        304: {"description": "The file is still the one of `If-None-Match`."},
        416: {"description": "There is no such part, or too many were asked for."},
    },
)
@router.head("/{job}/audio", include_in_schema=False)
async def get_audio(
    job: JobId,
    services: ServicesDep,
    who: GenerateCaller,
    request: Request,
    format: DownloadQuery = "wav",
    download: Annotated[bool, Query(description="As a file to keep, with a name.")] = False,
) -> Response:
    """The file of a finished piece, in any format, whole or in parts."""
    found = await run_query(services, services.store.get, job, owner=who.owner)
    return await file_of(services, found, format, request, download=download)


@router.get("/{job}/peaks")
def get_peaks(
    job: JobId,
    services: ServicesDep,
    who: GenerateCaller,
    points: Annotated[int, Query(ge=1, le=2000, description="Into how many parts to cut it.")] = 200,
) -> Peaks:
    """How loud a piece is along its time, to draw it small without loading its audio."""
    found = services.store.get(job, owner=who.owner)
    seconds = found.samples / found.sample_rate if found.sample_rate else 0.0
    return Peaks(peaks=peaks(services, found, points), seconds=seconds)


async def file_of(
    services: Services,
    job: GenerationJob,
    format: DownloadFormat,
    request: Request,
    *,
    download: bool = False,
) -> Response:
    """Return the file of a finished job."""
    if job.finished and job.status != "succeeded":
        raise NotReady(
            f"the piece is {job.status}, so that it has no file: send its request again to have it made"
        )
    if job.status != "succeeded":
        raise NotReady(
            f"the piece is {job.status}: its file is there once it has succeeded; "
            f"/v1/generations/{job.id}/stream gives what there is"
        )
    form = DOWNLOAD_FORMATS[format]
    etag = f'"{(job.result or {}).get("sha256", job.id)[:32]}-{format}"'
    headers = {"ETag": etag, "Cache-Control": "private, max-age=3600"}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if request.headers.get("range", "").count(",") >= MAX_RANGES:
        raise HTTPException(416, f"at most {MAX_RANGES} parts of a file are sent at a time")
    path = await services.coding.run(finished_file, services, job, format)
    name = f"{file_name(job)}.{form.suffix}"
    kind = form.media_type
    if format in ("pcm", "f32"):  # raw samples say neither their rate nor their channels
        kind = f"{kind};rate={job.sample_rate};channels={job.channels}"
    return PacedFile(
        path, stall=services.stream_limits.stall, media_type=kind, headers=headers, filename=name,
        content_disposition_type="attachment" if download else "inline",
    )  # fmt: skip


def finished_file(services: Services, job: GenerationJob, format: str) -> Path:
    """Return the path of a finished job's file in this format. It blocks while the file is made the first time."""
    source = services.blobs.audio_path(job)
    if not source.is_file() or job.sample_rate is None or job.channels is None:
        raise NotFound(f"the audio of {job.id} is not kept any more")
    if format == "wav":
        return source
    form = DOWNLOAD_FORMATS[format]
    target = services.blobs.folder_of(job.id) / f"audio-{job.fence}.{form.suffix}"
    if not target.is_file():
        if form.coded:
            _write_acx(services, job, source, target)
        else:
            _encode(services, job, format, target)
    return target


def _write_acx(services: Services, job: GenerationJob, source: Path, target: Path) -> None:
    codec = services.catalogue.choose(None, "codec").name
    with atomic_path(target) as temporary:
        models_of(services).write_acx(codec, source, temporary, AcxOptions(tags=tags_of(job)))


def _encode(services: Services, job: GenerationJob, format: str, target: Path) -> None:
    assert job.sample_rate is not None and job.channels is not None
    peak = (job.result or {}).get(
        "true_peak"
    )  # of what was mastered to a loudness, which its files shall have
    encoder = open_encoder(
        format, job.sample_rate, job.channels, total_samples=job.samples, tags=tags_of(job), true_peak=peak
    )
    block = _BLOCK_SECONDS * job.sample_rate
    with atomic_path(target) as temporary, open(temporary, "wb") as file:
        for start in range(0, job.samples, block):
            audio = services.blobs.read(job, start, min(job.samples, start + block))
            file.write(encoder.encode(audio))
        file.write(encoder.finish())
        file.close()
        marks = marks_of_job(job)
        if marks is not None and format in FILE_FORMATS:
            content = temporary.read_bytes()
            temporary.write_bytes(
                marked(content, format, marks, sample_rate=job.sample_rate, samples=job.samples)
            )


def peaks(services: Services, job: GenerationJob, points: int) -> list[float]:
    """Return the loudest sample, 0 to 1, of each of `points` equal parts of what there is of a job's audio."""
    if not job.samples or job.sample_rate is None:
        return []
    edges = np.linspace(0, job.samples, points + 1).astype(int)
    found = np.zeros(points, np.float32)
    per_block = max(1, int(points * _BLOCK_SECONDS * job.sample_rate / job.samples))
    for first in range(0, points, per_block):
        cuts = edges[first : first + per_block + 1]
        try:
            audio = services.blobs.read(job, int(cuts[0]), int(cuts[-1]))
        except FileNotFoundError:
            raise NotFound(f"the audio of {job.id} is not kept any more") from None
        loudness = np.abs(audio).max(0)
        for index, (start, stop) in enumerate(zip(cuts[:-1] - cuts[0], cuts[1:] - cuts[0], strict=True)):
            found[first + index] = loudness[start:stop].max(initial=0.0)
    return [round(float(value), 3) for value in found]


def file_name(job: GenerationJob) -> str:
    """Return what a person would call the file: the first words of its title or prompt, in any alphabet, and the
    seed."""
    # Letters, the marks that belong to them, and numbers; everything else could mean something to a file system.
    text = unicodedata.normalize("NFC", job.title.lower())
    kept = (letter if unicodedata.category(letter)[0] in "LMN" else "-" for letter in text)
    words = re.sub("-+", "-", "".join(kept)).strip("-")[:_NAME_LETTERS].strip("-")
    return f"{words or job.kind}-{job.seed}"
