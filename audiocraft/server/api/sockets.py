"""One WebSocket for everything about a piece: ask for it, hear it, watch it, stop it.

Text messages are JSON, binary messages are audio. The client sends `generate` (with `request`, and `format` of the
audio), `follow` (with the `id` of a piece) and `cancel`; the server answers `accepted`, then the events of the piece
under their names, `audio_format` before the first audio and `audio_end` after the last, and `error`. After `watch` it
tells, beside all that, of each of the caller's pieces whatever changes: `changed` with the `generation`, or `deleted`.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import anyio
from anyio.abc import TaskGroup
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from fastapi.concurrency import run_in_threadpool
from pydantic import ValidationError

from audiocraft.audio.encoders import content_type
from audiocraft.audio.formats import stream_format
from audiocraft.errors import AudioCraftError, InvalidInput
from audiocraft.server.api import submission
from audiocraft.server.api.deps import require_scope
from audiocraft.server.api.followers import AudioFollower, EventFollower, PiecesFollower, StreamBroken
from audiocraft.server.api.responses import generation_document, generation_of
from audiocraft.server.api.schemas import GenerationBody
from audiocraft.server.errors import RequestRefused, fault_of, fault_of_body
from audiocraft.server.jobs.database import DATABASE_ERRORS
from audiocraft.server.jobs.records import GenerationJob, JobNotFound, is_id
from audiocraft.server.security.authentication import principal_of, services_of
from audiocraft.server.security.keys import Principal
from audiocraft.server.services import Services

POLICY_VIOLATION, TOO_BIG = 1008, 1009


router = APIRouter()


@router.websocket("/v1/stream")
async def stream(websocket: WebSocket) -> None:
    """Generate, hear, watch and stop pieces on one connection."""
    try:
        who = await run_in_threadpool(principal_of, websocket)
        require_scope(who, "generate")
    except RequestRefused as refusal:
        await websocket.close(POLICY_VIOLATION, str(refusal)[:120])
        return
    await websocket.accept("bearer" if "bearer" in websocket.scope.get("subprotocols", []) else None)
    await SocketSession(websocket, services_of(websocket), who).run()


class SocketSession:
    """A session serves one connection. It carries one piece at a time."""

    def __init__(self, websocket: WebSocket, services: Services, who: Principal) -> None:
        self._websocket = websocket
        self._services = services
        self._who = who
        self._limits = services.stream_limits
        self._sending = anyio.Lock()
        self._job: GenerationJob | None = None
        self._cancel_on_close = False
        self._watches = False

    async def run(self) -> None:
        """Serve the client until it leaves; then cancel its piece, if it asked for that."""
        try:
            async with anyio.create_task_group() as tasks:
                await self._listen(tasks)
                tasks.cancel_scope.cancel()
        finally:
            if self._cancel_on_close and self._job is not None:
                with anyio.CancelScope(shield=True), contextlib.suppress(JobNotFound):  # deleted, then
                    await run_in_threadpool(submission.cancel, self._services, self._job.id, self._who.owner)

    async def _listen(self, tasks: TaskGroup) -> None:
        """Do what the client says until it leaves."""
        while True:
            try:
                text = await self._websocket.receive_text()
            except (WebSocketDisconnect, KeyError):  # it left, or sent audio, which nobody asked for
                return
            if len(text) > self._services.config.request.json_bytes:
                await self._websocket.close(TOO_BIG, "a message is too long")
                return
            try:
                await self._obey(_message(text), tasks)
            except (AudioCraftError, ValidationError, MemoryError, OSError, *DATABASE_ERRORS) as error:
                await self._complain(error)

    async def _obey(self, message: Mapping[str, Any], tasks: TaskGroup) -> None:
        match message["type"]:
            case "generate":
                body = GenerationBody.model_validate(message.get("request") or {})
                form = self._form(message)
                job, _ = await submission.submit(self._services, self._who, body)
                self._cancel_on_close = message.get("cancel_on_close") is True
                await self._begin(job, form, tasks)
            case "follow":
                form = self._form(message)
                wanted = str(message.get("id", ""))
                if not is_id(wanted, "gen"):
                    raise JobNotFound(f"there is no generation {wanted[:80]!r}")
                job = await run_in_threadpool(self._services.store.get, wanted, owner=self._who.owner)
                await self._begin(job, form, tasks)
            case "watch":
                if self._watches:
                    raise InvalidInput("this connection watches your pieces already", field="type")
                self._watches = True
                tasks.start_soon(self._watch, tasks)
            case "cancel":
                if self._job is None:
                    raise InvalidInput("there is nothing to cancel: generate or follow first", field="type")
                await run_in_threadpool(submission.cancel, self._services, self._job.id, self._who.owner)
            case other:
                raise InvalidInput(
                    f"unknown message {other!r}: send generate, follow, watch or cancel", field="type"
                )

    def _form(self, message: Mapping[str, Any]) -> str:
        if self._job is not None:
            raise InvalidInput(f"this connection is busy with {self._job.id}; open another", field="type")
        return stream_format(str(message.get("format", "pcm"))).name

    async def _begin(self, job: GenerationJob, form: str, tasks: TaskGroup) -> None:
        self._job = job
        await self._say({"type": "accepted", "generation": generation_document(job)})
        tasks.start_soon(self._deliver, job, form, tasks)

    async def _deliver(self, job: GenerationJob, form: str, tasks: TaskGroup) -> None:
        """Send a piece's events and audio; a client that takes nothing is cut."""
        try:
            async with anyio.create_task_group() as both:
                both.start_soon(self._events, job)
                both.start_soon(self._audio, job, form)
        except* (TimeoutError, WebSocketDisconnect, RuntimeError, OSError):
            # The client is gone, or as good as gone: closing would wait for it as well.
            # What it wanted done at its leaving is still known, so `run` does it.
            tasks.cancel_scope.cancel()
        else:
            self._job = None
            self._cancel_on_close = False

    async def _watch(self, tasks: TaskGroup) -> None:
        """Tell what changes among the caller's pieces until the client leaves or takes nothing more."""
        follower = PiecesFollower(self._services, self._who.owner, self._limits)
        try:
            await self._say({"type": "watching"})
            async for name, job, position in follower.changes():
                if job is None:
                    await self._say({"type": "deleted", "id": name})
                    continue
                generation = generation_of(job, position=position).model_dump(mode="json", by_alias=True)
                await self._say({"type": "changed", "generation": generation})
        except (TimeoutError, WebSocketDisconnect, RuntimeError, OSError):
            tasks.cancel_scope.cancel()

    async def _events(self, job: GenerationJob) -> None:
        follower = EventFollower(self._services, job, self._limits)
        async for event in follower.events():
            if event is not None:
                await self._say({"type": event.kind, **await follower.document(event)})

    async def _audio(self, job: GenerationJob, form: str) -> None:
        # However long the queue is: the connection costs little, and its events tell how far it is.
        follower = AudioFollower(self._services, job, form, replace(self._limits, wait=math.inf))
        try:
            encoder = await follower.ready(_never)
            await self._say(
                {
                    "type": "audio_format", "id": job.id, "format": form, "content_type": content_type(encoder),
                    "sample_rate": encoder.sample_rate, "channels": encoder.channels,
                }
            )  # fmt: skip
            async for data in follower.chunks():
                async with self._sending:
                    with anyio.fail_after(self._limits.stall):
                        await self._websocket.send_bytes(data)
        except (StreamBroken, RequestRefused, JobNotFound):
            pass  # the event that ends the piece says why
        await self._say({"type": "audio_end", "id": job.id, "complete": follower.job.status == "succeeded"})

    async def _say(self, message: Mapping[str, Any]) -> None:
        async with self._sending:
            with anyio.fail_after(self._limits.stall):
                await self._websocket.send_text(json.dumps(message, ensure_ascii=False))

    async def _complain(self, error: Exception) -> None:
        if isinstance(error, ValidationError):
            fault = fault_of_body(error.errors()[0], GenerationBody)
        else:
            fault = fault_of(error)
        words = {"code": fault.code, "message": fault.message, "field": fault.field, "status": fault.status}
        await self._say({"type": "error", **words})


async def _never() -> bool:
    """Return False: a WebSocket that closes cancels the task that waits, so nobody has to ask."""
    return False


def _message(text: str) -> Mapping[str, Any]:
    try:
        message = json.loads(text)
    except ValueError as error:
        raise InvalidInput("a message must be JSON", field=None) from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise InvalidInput("a message must be an object with a type", field="type")
    return message
