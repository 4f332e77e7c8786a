"""A job while it runs, read from the store and from its file, whatever process runs it: its audio and its events; and
all jobs of an owner, as they change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from fastapi.concurrency import run_in_threadpool

from audiocraft.audio.encoders import AudioEncoder, open_encoder
from audiocraft.server.api.backpressure import StreamLimits
from audiocraft.server.api.deps import run_query
from audiocraft.server.api.responses import generation_document
from audiocraft.server.errors import NotFound, NotReady, ShuttingDown
from audiocraft.server.jobs.notifier import ANY_JOB
from audiocraft.server.jobs.records import (
    RUNNING,
    TERMINAL,
    GenerationJob,
    JobEventRecord,
    JobNotFound,
    tags_of,
)
from audiocraft.server.services import Services

_LOOK_SECONDS = 1.0
_NEWEST = 20
_MOST_UNFINISHED = 100


class StreamBroken(Exception):
    """The rest of a stream will not come; it must not look as if it had ended well."""


class AudioFollower:
    """Reads a job's audio while it grows, as bytes of one format.

    A job that begins again on another worker makes the same audio, so reading goes on where it was.
    """

    def __init__(self, services: Services, job: GenerationJob, format: str, limits: StreamLimits) -> None:
        self.job = job
        self.encoder: AudioEncoder | None = None
        self._services = services
        self._format = format
        self._limits = limits
        self._sent = 0

    async def ready(self, gone: Callable[[], Awaitable[bool]]) -> AudioEncoder:
        """Wait for the first audio -> its encoder. Raises NotReady, NotFound or ShuttingDown where none will come soon.

        Args:
            gone: asked whether the reader has left.
        """
        deadline = time.monotonic() + self._limits.wait
        while not self.job.samples:
            if self.job.finished:
                raise NotReady(_why_silent(self.job))
            if time.monotonic() >= deadline or await gone():
                raise NotReady("the piece has not begun yet; come back for its audio", retry_after=5.0)
            if self._services.draining and self.job.status not in RUNNING:
                raise ShuttingDown("the server is about to stop; try again in a moment", retry_after=5.0)
            await self._services.notifier.wait(self.job.id, self._limits.poll)
            self.job = await run_query(self._services, self._services.store.get, self.job.id)
        path = self._services.blobs.audio_path(self.job)
        if self.job.finished and not await run_in_threadpool(path.is_file):
            raise NotFound(f"the audio of {self.job.id} is not kept any more")
        return self._open()

    def _open(self) -> AudioEncoder:
        job = self.job
        assert job.sample_rate is not None and job.channels is not None
        # A canceled piece is as long as it got.
        total = job.samples if job.finished else round(job.duration * job.sample_rate)
        self.encoder = open_encoder(
            self._format, job.sample_rate, job.channels, total_samples=total, tags=tags_of(job)
        )
        return self.encoder

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield all bytes, until the job ends. Raises StreamBroken where the audio ends before it should."""
        assert self.encoder is not None
        try:
            while True:
                data = await run_in_threadpool(self._next)
                if data is None:
                    break
                if data:
                    yield data
                else:
                    await self._services.notifier.wait(self.job.id, self._limits.poll)
        except JobNotFound:
            raise StreamBroken("the piece was deleted") from None
        if tail := await run_in_threadpool(self.encoder.finish):
            yield tail
        if self.job.status == "failed":
            raise StreamBroken(_why_silent(self.job))

    def _next(self) -> bytes | None:
        """Return the next bytes, b"" where the caller must wait for them, None at the end."""
        assert self.encoder is not None
        if self._sent >= self.job.samples:
            self.job = job = self._services.store.get(self.job.id)
            if self._sent >= job.samples:
                if self._services.draining and job.status not in RUNNING and not job.finished:
                    raise StreamBroken("the server stops")
                return None if job.finished else b""
        block = max(1, int(self._limits.block * (self.job.sample_rate or 1)))
        try:
            audio = self._services.blobs.read(self.job, self._sent, min(self.job.samples, self._sent + block))
        except FileNotFoundError:
            # Taken by another worker between the look at the job and the look at its file, or removed.
            fence, self.job = self.job.fence, self._services.store.get(self.job.id)
            if self.job.finished and self.job.fence == fence:
                raise StreamBroken("its audio is gone") from None
            return b""
        self._sent += audio.shape[-1]
        return self.encoder.encode(audio) or (b"" if audio.shape[-1] == 0 else self._next())


class EventFollower:
    """Reads a job's events in order, each once.

    Args:
        after: the number of the last event that the reader has.
    """

    def __init__(self, services: Services, job: GenerationJob, limits: StreamLimits, after: int = 0) -> None:
        self.job = job
        self._services = services
        self._limits = limits
        self._after = after

    async def events(self) -> AsyncIterator[JobEventRecord | None]:
        """Yield events as they happen, and None after a while without any, until the one that ends the job."""
        said = time.monotonic()
        while True:
            found = await run_query(
                self._services, self._services.store.events, self.job.id, after=self._after
            )
            for event in found:
                self._after, said = event.sequence, time.monotonic()
                yield event
                if event.kind in TERMINAL:
                    return
            if found:
                continue
            if not await self._goes_on():
                return
            if time.monotonic() - said >= self._limits.heartbeat:
                said = time.monotonic()
                yield None
            await self._services.notifier.wait(self.job.id, self._limits.poll)

    async def document(self, event: JobEventRecord) -> dict[str, Any]:
        """Return the document that is sent for an event: its data, and at the beginning and end of a job the job
        itself."""
        if event.kind == "progress" or event.kind == "audio":
            return {"id": self.job.id, **event.data}
        try:
            job = await run_query(self._services, self._services.store.get, self.job.id)
        except JobNotFound:
            return {"id": self.job.id, **event.data}
        return {"id": job.id, **event.data, "generation": generation_document(job)}

    async def _goes_on(self) -> bool:
        """Return whether more events may come: none do of jobs that were deleted, or whose end was told before."""
        try:
            job = await run_query(self._services, self._services.store.get, self.job.id)
        except JobNotFound:
            return False
        if job.finished:
            newest = await run_query(self._services, self._services.store.events, job.id, after=self._after)
            return bool(newest)
        return not (self._services.draining and job.status not in RUNNING)


class PiecesFollower:
    """Reads what changes among the jobs of an owner: which are new, how far they are, how they end."""

    def __init__(self, services: Services, owner: str, limits: StreamLimits) -> None:
        self._services = services
        self._owner = owner
        self._limits = limits
        self._newest: str | None = None
        self._unfinished: dict[str, tuple[float, int | None]] = {}

    async def changes(self) -> AsyncIterator[tuple[str, GenerationJob | None, int | None]]:
        """Yield (id, job, place in the queue) of each job as it changes, the unfinished ones first; without a job, one
        that was deleted before it ended."""
        while True:
            for change in await run_query(self._services, lambda: list(self._look())):
                yield change
            # News of this process wake us, those of others are seen at the next look. The pause keeps a busy server
            # from looking for every step of every piece.
            await self._services.notifier.wait(ANY_JOB, _LOOK_SECONDS)
            await asyncio.sleep(self._limits.poll)

    def _look(self) -> Iterator[tuple[str, GenerationJob | None, int | None]]:
        store = self._services.store
        # A piece may begin and end between two looks: the newest are among those that are told.
        newest = store.newest(owner=self._owner, limit=_NEWEST)
        found = {job.id: job for job in newest if self._newest is not None and job.id > self._newest}
        self._newest = max([job.id for job in newest[:1]] + [self._newest or ""])
        for job in store.newest(owner=self._owner, statuses=("queued", *RUNNING), limit=_MOST_UNFINISHED):
            found[job.id] = job
        for name in self._unfinished.keys() - found.keys():
            del self._unfinished[name]
            try:
                found[name] = store.get(name, owner=self._owner)
            except JobNotFound:
                yield name, None, None
        for name, job in found.items():
            position = store.position(job) if job.status == "queued" else None
            told = (job.updated_at, position)
            if self._unfinished.get(name) == told:
                continue
            if not job.finished:
                self._unfinished[name] = told
            else:
                self._unfinished.pop(name, None)
            yield name, job, position


def _why_silent(job: GenerationJob) -> str:
    if job.status == "canceled":
        return "the piece was canceled before it had any audio"
    return f"the piece failed: {job.error.message if job.error else 'the reason was not stored'}"
