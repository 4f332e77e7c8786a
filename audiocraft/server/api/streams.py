"""Audio while it is made, over plain HTTP, and a job's events as server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.types import Message, Send

from audiocraft.audio.encoders import content_type
from audiocraft.server.api.backpressure import StreamLimits
from audiocraft.server.api.deps import GenerateCaller, ServicesDep, run_query
from audiocraft.server.api.followers import AudioFollower, EventFollower, StreamBroken
from audiocraft.server.api.generations import JobId
from audiocraft.server.api.responses import PROBLEMS
from audiocraft.server.api.schemas import AUDIO_CONTENT, AudioFormatName, FormatQuery
from audiocraft.server.jobs.records import TERMINAL, GenerationJob
from audiocraft.server.services import Services

# One event, as parsers of event streams give it; its data is JSON.
_EVENT = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string"},
        "event": {
            "type": "string",
            "enum": ["queued", "starting", "processing", "retry", "progress", "audio", *TERMINAL],
        },
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}

router = APIRouter(prefix="/v1/generations", tags=["streaming"], responses=PROBLEMS)


class PacedResponse(StreamingResponse):
    """A stream that cuts off a reader that takes nothing for too long, and that never ends as if it were whole when it
    is not.

    Args:
        stall: seconds that the reader may take nothing.
        ended: called in a thread when the stream has ended, whoever ended it.
    """

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
        """Send the stream, and break it off where it cannot go on."""
        try:
            await super().stream_response(with_deadline(send, self._stall))
        except (StreamBroken, TimeoutError):
            # Nothing more is sent: the server closes the connection and the reader sees that something is missing.
            return
        finally:
            if self._ended is not None:
                with anyio.CancelScope(shield=True):
                    await run_in_threadpool(self._ended)


def with_deadline(send: Send, seconds: float) -> Send:
    """Return `send` that raises TimeoutError where the reader takes nothing for so many seconds."""

    async def bounded(message: Message) -> None:
        with anyio.fail_after(seconds):
            await send(message)

    return bounded


@router.get(
    "/{job}/stream",
    response_class=Response,
    responses={
        200: {"content": AUDIO_CONTENT, "description": "The audio from its beginning, as it is made."}
    },
)
async def stream_generation(
    job: JobId, services: ServicesDep, who: GenerateCaller, request: Request, format: FormatQuery = "wav"
) -> Response:
    """Listen while a piece is made. The answer begins with the first audio and ends with the last."""
    found = await run_query(services, services.store.get, job, owner=who.owner)
    return await stream_of(services, found, format, request)


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
async def stream_events(
    job: JobId,
    services: ServicesDep,
    who: GenerateCaller,
    last_event_id: Annotated[
        str | None, Header(pattern=r"^\d{1,9}$", description="Go on after this one.")
    ] = None,
) -> Response:
    """What happens to a piece, as it happens. A reader that was cut off goes on with `Last-Event-ID`."""
    found = await run_query(services, services.store.get, job, owner=who.owner)
    follower = EventFollower(services, found, services.stream_limits, after=int(last_event_id or 0))
    return PacedResponse(
        _event_lines(follower), stall=services.stream_limits.stall, media_type="text/event-stream"
    )


async def stream_of(
    services: Services,
    job: GenerationJob,
    format: AudioFormatName,
    request: Request,
    *,
    limits: StreamLimits | None = None,
    ended: Callable[[], object] | None = None,
) -> Response:
    """Return the audio of a job as it is made.

    Args:
        limits: how the reader is treated; by default as the server does.
        ended: called in a thread when the stream has ended, whoever ended it.
    """
    limits = limits or services.stream_limits
    follower = AudioFollower(services, job, format, limits)
    encoder = await follower.ready(request.is_disconnected)
    kind = content_type(encoder)
    return PacedResponse(follower.chunks(), stall=limits.stall, media_type=kind, ended=ended)


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
