"""Audio while it is made over plain HTTP, a job's events as server-sent events, and finished files in parts."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from audiocraft.audio.encoders import content_type
from audiocraft.audio.formats import STREAM_FORMATS
from audiocraft.server.api.deps import GenerateCaller, Services, ServicesDep, asked
from audiocraft.server.api.downloads import finished_file, peaks
from audiocraft.server.api.followers import AudioFollower, EventFollower, StreamBroken, StreamLimits
from audiocraft.server.api.generations import PROBLEMS, JobId
from audiocraft.server.api.schemas import AudioFormat
from audiocraft.server.errors import NotReady
from audiocraft.server.jobs.records import TERMINAL, Job

# More parts than any player asks for; answering thousands of them is work that a stranger could order for nothing.
MAX_RANGES = 8
_STALL_SECONDS = StreamLimits().stall
_AUDIO = {
    form.media_type: {"schema": {"type": "string", "format": "binary"}} for form in STREAM_FORMATS.values()
}
# One event, as parsers of event streams give it; its data is JSON.
_EVENT = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string"},
        "event": {
            "type": "string",
            "enum": ["queued", "starting", "processing", "progress", "audio", *TERMINAL],
        },
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}
_UNSAFE_IN_NAMES = re.compile(r"[^A-Za-z0-9]+")

Format = Annotated[
    AudioFormat, Query(description=", ".join(f"{f.name}: {f.title}" for f in STREAM_FORMATS.values()))
]


class Peaks(BaseModel):
    """The outline of a piece: the loudest sample, 0 to 1, of each part."""

    peaks: list[float]
    seconds: float


class PacedResponse(StreamingResponse):
    """A stream whose reader is cut when it takes nothing for too long, and which never ends as if it were whole when
    it is not."""

    def __init__(
        self,
        content: AsyncIterator[bytes],
        *,
        stall: float,
        media_type: str,
        ended: Callable[[], object] | None = None,
    ) -> None:
        # Proxies that collect an answer before they pass it on would undo the streaming.
        super().__init__(content, media_type=media_type, headers={"X-Accel-Buffering": "no"})
        self._stall = stall
        self._ended = ended

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(_bounded(send, self._stall))
        except (StreamBroken, TimeoutError):
            # Nothing more is sent: the server closes the connection and the reader sees that something is missing.
            return
        finally:
            if self._ended is not None:
                with anyio.CancelScope(shield=True):
                    await run_in_threadpool(self._ended)


class PacedFile(FileResponse):
    """A file whose reader is cut like that of a stream; what is wrong with a range is a problem like others."""

    def __init__(self, path: Path, *, stall: float, **options: Any) -> None:
        super().__init__(path, **options)
        self._stall = stall

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        bounded = _bounded(send, self._stall)

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


def _bounded(send: Send, seconds: float) -> Send:
    """`send` that gives up when nothing is taken for so long."""

    async def bounded(message: Message) -> None:
        with anyio.fail_after(seconds):
            await send(message)

    return bounded


def make_router(limits: StreamLimits | None = None) -> APIRouter:
    """The routes, with these limits for their readers."""
    router = APIRouter(prefix="/v1/generations", tags=["streaming"], responses=PROBLEMS)
    _add_following(router, limits or StreamLimits())
    _add_files(router, (limits or StreamLimits()).stall)
    return router


def _add_following(router: APIRouter, limits: StreamLimits) -> None:
    """What goes on while a piece does."""

    @router.get(
        "/{job}/stream",
        response_class=Response,
        responses={200: {"content": _AUDIO, "description": "The audio from its beginning, as it is made."}},
    )
    async def stream(
        job: JobId, services: ServicesDep, who: GenerateCaller, request: Request, format: Format = "wav"
    ) -> Response:
        """Listen while a piece is made. The answer begins with the first audio and ends with the last."""
        found = await asked(services, services.store.get, job, owner=who.owner)
        return await stream_of(services, found, format, request, limits)

    @router.get(
        "/{job}/events",
        response_class=Response,
        responses={
            200: {
                "content": {"text/event-stream": {"schema": _EVENT}},
                "description": "queued, starting, processing, progress, audio, and one of succeeded, failed, canceled.",
            }
        },
    )
    async def events(
        job: JobId,
        services: ServicesDep,
        who: GenerateCaller,
        last_event_id: Annotated[
            str | None, Header(pattern=r"^\d{1,9}$", description="Go on after this one.")
        ] = None,
    ) -> Response:
        """What happens to a piece, as it happens. A reader that was cut off goes on with `Last-Event-ID`."""
        found = await asked(services, services.store.get, job, owner=who.owner)
        follower = EventFollower(services, found, limits, after=int(last_event_id or 0))
        return PacedResponse(_event_lines(follower), stall=limits.stall, media_type="text/event-stream")


def _add_files(router: APIRouter, stall: float) -> None:
    """What there is once it is finished, and its outline at any time."""

    @router.get(
        "/{job}/audio",
        response_class=Response,
        responses={
            200: {"content": _AUDIO, "description": "The whole file."},
            206: {"content": _AUDIO, "description": "The part that `Range` names."},
            304: {"description": "The file is still the one of `If-None-Match`."},
            416: {"description": "There is no such part, or too many were asked for."},
        },
    )
    @router.head("/{job}/audio", include_in_schema=False)
    async def audio(
        job: JobId,
        services: ServicesDep,
        who: GenerateCaller,
        request: Request,
        format: Format = "wav",
        download: Annotated[bool, Query(description="As a file to keep, with a name.")] = False,
    ) -> Response:
        """The file of a finished piece, in any format, whole or in parts."""
        found = await asked(services, services.store.get, job, owner=who.owner)
        return await file_of(services, found, format, request, download=download, stall=stall)

    @router.get("/{job}/peaks")
    def outline(
        job: JobId,
        services: ServicesDep,
        who: GenerateCaller,
        points: Annotated[int, Query(ge=1, le=2000, description="Into how many parts to cut it.")] = 200,
    ) -> Peaks:
        """How loud a piece is along its time, to draw it small without loading its audio."""
        found = services.store.get(job, owner=who.owner)
        seconds = found.samples / found.sample_rate if found.sample_rate else 0.0
        return Peaks(peaks=peaks(services, found, points), seconds=seconds)


async def stream_of(
    services: Services,
    job: Job,
    format: AudioFormat,
    request: Request,
    limits: StreamLimits,
    *,
    ended: Callable[[], object] | None = None,
) -> Response:
    """The audio of a job as it is made; at the end, whoever caused it, `ended` is called in a thread."""
    follower = AudioFollower(services, job, format, limits)
    encoder = await follower.ready(request.is_disconnected)
    kind = content_type(encoder)
    return PacedResponse(follower.chunks(), stall=limits.stall, media_type=kind, ended=ended)


async def file_of(
    services: Services,
    job: Job,
    format: AudioFormat,
    request: Request,
    *,
    download: bool = False,
    stall: float = _STALL_SECONDS,
) -> Response:
    """The file of a finished job."""
    if job.status != "succeeded":
        raise NotReady(
            f"the piece is {job.status}: its file is there once it has succeeded; "
            f"/v1/generations/{job.id}/stream gives what there is"
        )
    form = STREAM_FORMATS[format]
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
        path, stall=stall, media_type=kind, headers=headers, filename=name,
        content_disposition_type="attachment" if download else "inline",
    )  # fmt: skip


def file_name(job: Job) -> str:
    """What a person would call the file: the first words of the prompt and the seed."""
    words = _UNSAFE_IN_NAMES.sub("-", job.prompt.lower()).strip("-")[:48].strip("-")
    return f"{words or job.kind}-{job.seed}"


async def _event_lines(follower: EventFollower) -> AsyncIterator[bytes]:
    # Something at once: proxies and browsers take the stream as open only then.
    yield b": audiocraft\nretry: 1000\n\n"
    async for event in follower.events():
        if event is None:
            yield b": still here\n\n"
            continue
        document: dict[str, Any] = await follower.document(event)
        data = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        yield f"id: {event.sequence}\nevent: {event.kind}\ndata: {data}\n\n".encode()
