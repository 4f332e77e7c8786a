"""One job of the studio from its beginning to its end: its workflow in a thread, what it says in the store, its audio
in the job's file, finished and marked."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from audiocraft.environment import VERSION
from audiocraft.errors import Cancelled
from audiocraft.generation.progress import CancelToken, ProgressCallback
from audiocraft.generation.request import GenerationRequest
from audiocraft.models.generator import GeneratorModel
from audiocraft.server.api.scores import understood_as
from audiocraft.server.errors import is_database_away, job_error_of
from audiocraft.server.jobs.blobs import BlobStore, digest_of
from audiocraft.server.jobs.records import GenerationJob, JobError, LeaseLost, tags_of
from audiocraft.server.jobs.store import JobStore
from audiocraft.server.worker.requests import plan_document
from audiocraft.server.worker.studio.banks import make_bank
from audiocraft.server.worker.studio.best import has_takes, make_best
from audiocraft.server.worker.studio.edits import make_edit
from audiocraft.server.worker.studio.podcasts import make_podcast
from audiocraft.server.worker.studio.songs import make_song
from audiocraft.server.worker.studio.work import AudioAndRate, StudioResult, StudioWork
from audiocraft.types import ScorePlan
from audiocraft.workflows.takes import FaultyAudio

_log = logging.getLogger(__name__)

_STEPS = 1000
_PROGRESS_SECONDS = 0.25

WORKFLOWS: Mapping[str, Callable[[StudioWork], StudioResult]] = {
    "song": make_song, "edit": make_edit, "podcast": make_podcast, "bank": make_bank
}  # fmt: skip
"""By the kind of a job."""


def workflow_of(job: GenerationJob) -> Callable[[StudioWork], StudioResult] | None:
    """Return what makes a job, where that is more than one request to an engine."""
    return WORKFLOWS.get(job.kind) or (make_best if has_takes(job) else None)


class StudioRun:
    """This object makes one job.

    Args:
        workflow: makes it.
        model: a model by name.
        request: what a job that is a single piece asks for.
        watermark: what marks all that is given out; None: nothing does.
        turns: held while the job is made: mixes of many songs would only hold each other up.
        ended: called once, from the run's thread, when nothing more will be stored.
    """

    def __init__(
        self,
        store: JobStore,
        blobs: BlobStore,
        job: GenerationJob,
        *,
        workflow: Callable[[StudioWork], StudioResult],
        model: Callable[[str, ProgressCallback | None], GeneratorModel],
        request: Callable[[], GenerationRequest],
        watermark: str | None,
        turns: threading.Semaphore,
        ended: Callable[[], object],
    ) -> None:
        self._store, self._blobs, self._job = store, blobs, job
        self._workflow, self._request = workflow, request
        self._model, self._watermark, self._ended = model, watermark, ended
        self._turns = turns
        self._cancel = CancelToken()
        self._started = self._told_at = time.monotonic()
        self._begun = False

    def start(self) -> None:
        """Begin, in a thread of its own."""
        name = f"audiocraft-{self._job.kind}"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def cancel(self) -> None:
        """Stop before the next step; nothing more is stored."""
        self._cancel.cancel()

    def _run(self) -> None:
        try:
            with self._turns:
                self._cancel.check()
                work = self._work()
                self._finish(work, self._workflow(work))
        except (Cancelled, LeaseLost):
            pass  # whoever canceled it has ended the job already, or it runs elsewhere
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one job must not stop the worker
            self._fail(error)
        finally:
            self._ended()

    def _work(self) -> StudioWork:
        return StudioWork(
            job=self._job,
            parts=self._blobs.parts_of(self._job.id),
            files=self._files,
            model=self._model,
            request=self._request,
            heard=self._heard,
            watermark=self._watermark,
            report=self._report,
            begun=self._begin,
            cancel=self._cancel,
        )

    @property
    def _files(self) -> Path:
        return self._blobs.file_path(self._job, "")

    def _heard(self, role: str) -> AudioAndRate:
        found = self._blobs.input_of(self._job.id, role)
        assert found is not None, "its audio was put beside it when it was accepted"
        return torch.from_numpy(found[0]), found[1]

    def _begin(self, plan: ScorePlan | None) -> None:
        data: dict[str, Any] = {"seed": self._job.seed}
        values: dict[str, Any] = {"status": "processing", "total": _STEPS}
        if plan is not None:
            data["plan"] = plan_document(plan)
            if self._job.kind not in WORKFLOWS and self._job.understood is not None:
                values["understood"] = understood_as(self._job.understood, plan)
        if not self._begun:
            values["started_at"] = self._store.database.now()
        self._begun = True
        self._store.advance(self._job, values, [("processing", data)])

    def _report(self, share: float, what: str) -> None:
        self._cancel.check()
        if not self._begun:
            self._begin(None)
        now = time.monotonic()
        if now - self._told_at < _PROGRESS_SECONDS:
            return
        self._told_at = now
        done = min(_STEPS - 1, int(share * _STEPS))
        told = {"done": done, "total": _STEPS, "elapsed": round(now - self._started, 3), "part": what}
        self._store.advance(self._job, {"done": done}, [("progress", told)])

    def _finish(self, work: StudioWork, made: StudioResult) -> None:
        self._cancel.check()
        audio = made.audio.float().cpu() if made.finished else work.finished(made.audio, made.sample_rate)
        writer = self._blobs.writer(self._job, made.sample_rate, audio.shape[0])
        for start in range(0, audio.shape[-1], made.sample_rate):
            writer.append(audio[:, start : start + made.sample_rate])
        writer.finish(tags_of(replace(self._job, result=made.facts)), made.marks)
        document = {
            "sha256": digest_of(writer.path),
            "samples": writer.samples,
            "seed": self._job.seed,
            "plan": plan_document(made.plan),
            "timings": {"total": round(time.monotonic() - self._started, 3)},
            "audiocraft": VERSION,
            "watermark": self._watermark,
            **made.facts,
            "files": [self._described(name, kind) for name, kind in made.files.items()],
        }
        values: dict[str, Any] = {
            "sample_rate": made.sample_rate, "channels": audio.shape[0], "samples": writer.samples,
            "duration": writer.samples / made.sample_rate, "done": _STEPS, "total": _STEPS,
        }  # fmt: skip
        understood = self._job.understood
        if understood is not None and self._job.kind != "song":  # of a song all was known before
            told = {**understood, "seed": document["seed"]}
            if self._job.kind in WORKFLOWS:
                told["duration"] = round(values["duration"], 3)
            values["understood"] = understood_as(told, made.plan)
        self._store.succeed(self._job, document, values)

    def _described(self, name: str, kind: str) -> dict[str, Any]:
        path = self._files / name
        return {"name": name, "media_type": kind, "bytes": path.stat().st_size, "sha256": digest_of(path)}

    def _fail(self, error: Exception) -> None:
        found = job_error_of(error)
        if isinstance(error, FaultyAudio):
            found = JobError(code="faulty_audio", message=str(error))
        if found.code == "internal_error":
            _log.error("generation %s failed", self._job.id, exc_info=error)
        if is_database_away(error):
            return  # its lease runs out, and whoever is there then makes it again
        shutil.rmtree(self._files, ignore_errors=True)
        try:
            self._store.fail(self._job, found)
        except Exception:  # noqa: BLE001 - the job is lost, or the store is away: its lease says the rest
            _log.info("the end of generation %s could not be stored", self._job.id, exc_info=True)
