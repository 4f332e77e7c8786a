"""Writes what an engine says about one job to its audio file, finished, and to its row."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from audiocraft.audio.finishing import Faults, Opening, find_faults
from audiocraft.audio.processing import ProcessorStream, processed
from audiocraft.audio.writer import GrowingWav
from audiocraft.environment import VERSION
from audiocraft.generation.events import AudioChunk, Event, Failed, Finished, Queued, Started, Stopped
from audiocraft.generation.progress import Progress
from audiocraft.generation.request import GenerationResult
from audiocraft.models.watermarks.provenance import way_out
from audiocraft.server.api.scores import marks_of_job, understood_as
from audiocraft.server.errors import job_error_of
from audiocraft.server.jobs.blobs import BlobStore, digest_of
from audiocraft.server.jobs.records import GenerationJob, JobError, tags_of
from audiocraft.server.jobs.store import JobStore
from audiocraft.server.worker.requests import finish_of, kept_of, plan_document
from audiocraft.workflows.editing.loops import finished_loop
from audiocraft.workflows.takes import SILENT_TAKES, every_take_is, take_seed

_log = logging.getLogger(__name__)

# How often what is new is stored; more would only make the database write. The first audio never waits.
_AUDIO_SECONDS = 0.1
_PROGRESS_SECONDS = 0.25


class Recorder:
    """A recorder writes the events of one job. It raises LeaseLost as soon as the job belongs to another worker.

    Nobody can hear a piece before it is sure not to be silent. One that is silent or broken as a whole is asked for
    again, a few times, with another seed.

    Args:
        rate_of: the sample rate of a model's audio, by the model's name.
        watermark: what marks the audio; None: nothing does. Whatever gives audio out reads the file that is written
            here, so that this is where all of it is marked.
    """

    def __init__(
        self,
        store: JobStore,
        blobs: BlobStore,
        job: GenerationJob,
        *,
        rate_of: Callable[[str], int],
        watermark: str | None,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._job = job
        self._rate_of = rate_of
        self._finish = replace(finish_of(job), watermark=watermark)
        self._marks = marks_of_job(job)
        self._way_out = way_out(self._finish, kept_of(job, blobs))
        self._stream: ProcessorStream | None = None
        self._opening: Opening | None = None
        self._skip = 0.0
        self._take = 0
        self._writer: GrowingWav | None = None
        self._stored_at = 0.0
        self._values: dict[str, Any] = {}
        self._news: dict[str, dict[str, Any]] = {}
        self._closed = False

    def skip(self, seconds: float) -> None:
        """Skip so many seconds of audio with which the piece begins: they are not the model's and are not judged."""
        self._skip = seconds

    def take(self, event: Event) -> int | None:
        """Store one event, or keep it until there is more to store with it -> the seed of the take that is to be made
        in place of the one that this event ends, if it is not worth hearing."""
        if self._closed:
            return None
        match event:
            case Started():
                self._start(event)
            case Progress():
                self._progress(event)
            case AudioChunk():
                self._chunk(event)
            case Finished():
                return self._end(event.result)
            case Failed():
                self._fail(event.error)
            case Stopped():
                # Whoever canceled it has ended the job already, or it runs elsewhere; this attempt is over.
                self.close()
            case Queued():
                pass
        return None

    def close(self) -> None:
        """Write nothing more."""
        self._closed = True
        if self._writer is not None:
            self._writer.abandon()

    def _start(self, event: Started) -> None:
        now = self._store.database.now()
        data: dict[str, Any] = {"seed": event.seeds[0] if event.seeds else self._job.seed}
        plan = plan_document(event.plans[0]) if event.plans else None
        values: dict[str, Any] = {"status": "processing"} | ({} if self._take else {"started_at": now})
        if plan is not None:
            data["plan"] = plan
        if event.plans and event.plans[0] is not None and self._job.understood is not None:
            values["understood"] = understood_as(self._job.understood, event.plans[0])
        self._store.advance(self._job, values, [("processing", data)])

    def _progress(self, event: Progress) -> None:
        self._values |= {"done": event.done, "total": event.total}
        self._news["progress"] = {
            "done": event.done,
            "total": event.total,
            "elapsed": round(event.elapsed, 3),
        }
        self._store_after(_AUDIO_SECONDS if "audio" in self._news else _PROGRESS_SECONDS)

    def _chunk(self, event: AudioChunk) -> None:
        if event.row != 0 or (self._opening is None and event.start != 0):
            return
        if self._marks is not None:  # a loop is finished as a whole, so that its end leads into its beginning
            return
        rate = self._rate_of(self._job.model)
        if self._opening is None or self._stream is None:
            samples = round(self._job.duration * rate)
            self._opening = Opening(rate, samples, skip=round(self._skip * rate))
            self._stream = self._way_out.open(rate, event.audio.shape[0])
        if self._opening.open and not bool(event.audio.isfinite().all()):
            self._end_not_finite()
            return
        for audio in self._opening.push(event.audio):
            self._append(self._stream.push(audio))

    def _append(self, audio: Tensor) -> None:
        """Add finished audio [C, n] to the file, and say that it is there."""
        if not audio.shape[-1]:
            return
        first = self._writer is None
        if self._writer is None:
            rate = self._rate_of(self._job.model)
            self._writer = self._blobs.writer(self._job, rate, audio.shape[0])
            if self._closed:  # by another thread, which saw no file to close
                self._writer.abandon()
                return
            self._values |= {"sample_rate": rate, "channels": audio.shape[0]}
        samples = self._writer.append(audio)
        self._values["samples"] = samples
        self._news["audio"] = {"samples": samples, "seconds": round(samples / self._writer.sample_rate, 3)}
        self._store_after(0.0 if first else _AUDIO_SECONDS)

    def _store_after(self, pause: float) -> None:
        """Store what has come since the last time, if that was long enough ago."""
        now = time.monotonic()
        if now - self._stored_at < pause:
            return
        self._stored_at = now
        values, news = self._values, list(self._news.items())
        self._values, self._news = {}, {}
        self._store.advance(self._job, values, news)

    def _end(self, result: GenerationResult) -> int | None:
        audio = result.audio[0]
        skip = round(self._skip * result.sample_rate)
        faults = find_faults(audio[:, skip:], result.sample_rate, music=self._job.kind != "sound")
        if faults.broken or (faults.silent and self._writer is None):
            return self._end_faulty(faults)
        if self._stream is not None:
            self._append(self._stream.finish())
        writer = self._writer
        if writer is None or writer.samples != audio.shape[-1]:
            if writer is not None:
                writer.abandon()
            writer = self._writer = self._blobs.writer(self._job, result.sample_rate, audio.shape[0])
            if self._marks is None:
                whole = processed(audio, result.sample_rate, self._way_out)
            else:
                whole = finished_loop(audio, result.sample_rate, self._finish)
            writer.append(whole)
        writer.finish(tags_of(self._job), self._marks)
        document = {
            "sha256": digest_of(writer.path),
            "samples": writer.samples,
            "seed": result.seeds[0],
            "plan": plan_document(result.plans[0]),
            "timings": {stage: round(seconds, 3) for stage, seconds in result.timings.items()},
            "audiocraft": VERSION,
            "watermark": self._finish.watermark,
        }
        if self._take:
            document["take"] = self._take + 1
        if faults.reason is not None:
            document["fault"] = faults.reason
        values: Mapping[str, Any] = {
            **self._values,
            "sample_rate": result.sample_rate,
            "channels": audio.shape[0],
            "samples": writer.samples,
        }
        self._closed = True
        self._store.succeed(self._job, document, values)
        return None

    def _fail(self, error: Exception) -> None:
        found = job_error_of(error)
        if found.code == "internal_error":
            _log.error("generation %s failed", self._job.id, exc_info=error)
        self._end_failed(found)

    def _end_faulty(self, faults: Faults) -> int | None:
        """Have another take made, if nobody has heard anything of this one, and there is one left."""
        reason = faults.reason or ""
        if self._writer is not None:
            self._end_not_finite()
            return None
        if self._take + 1 == SILENT_TAKES:
            title = repr(self._job.request.get("prompt") or "")
            self._end_failed(JobError(code="faulty_audio", message=str(every_take_is(reason, title))))
            return None
        self._take += 1
        seed = take_seed(self._job.seed, self._take)
        self._opening = self._stream = None
        self._values, self._news = {}, {}
        told = {"take": self._take + 1, "of": SILENT_TAKES, "seed": seed, "reason": reason}
        self._store.advance(self._job, {"done": 0}, [("retry", told)])
        _log.info("generation %s: %s; trying seed %d", self._job.id, reason, seed)
        return seed

    def _end_not_finite(self) -> None:
        self._end_failed(
            JobError(code="not_finite", message="the model produced samples that are no numbers")
        )

    def _end_failed(self, error: JobError) -> None:
        self.close()
        self._store.fail(self._job, error)
