"""A piece of several takes: all are made, they are compared, and the one that is most like the request is kept."""

from __future__ import annotations

import time
from dataclasses import replace

from audiocraft.generation.keeping import kept_samples
from audiocraft.generation.progress import Progress
from audiocraft.models.watermarks.provenance import finished_and_marked
from audiocraft.server.api.schemas import GenerationBody
from audiocraft.server.api.scores import marks_of_job
from audiocraft.server.jobs.records import GenerationJob
from audiocraft.server.worker.requests import finish_of
from audiocraft.server.worker.studio.work import StudioResult, StudioWork
from audiocraft.workflows.editing.loops import finished_loop
from audiocraft.workflows.quality.best import best_of
from audiocraft.workflows.takes import worthwhile


def has_takes(job: GenerationJob) -> bool:
    """Return whether a job is a piece of several takes."""
    return int(job.request.get("takes") or 1) > 1 or job.request.get("budget") is not None


def make_best(work: StudioWork) -> StudioResult:
    """Return the best take of the piece of a job."""
    began = time.perf_counter()
    body = GenerationBody.model_validate(dict(work.job.request))
    work.report(0.0, "takes")

    def told(event: Progress) -> None:
        work.report(event.done / max(1, event.total), "takes")

    model = work.model(work.job.model, None)
    until = None if body.budget_seconds is None else began + body.budget_seconds
    (best,) = best_of(model, work.request(), body.most_takes, until=until, progress=told, cancel=work.cancel)
    chosen = best.take
    take = worthwhile(model, chosen.request, chosen.result, chosen.row, cancel=work.cancel)
    result, rate, compared = take.result, take.result.sample_rate, best.compared
    work.begun(result.plans[take.row])
    finish, marks = replace(finish_of(work.job), watermark=work.watermark), marks_of_job(work.job)
    audio = take.audio.float().cpu()
    if marks is None:
        audio = finished_and_marked(audio, rate, finish, kept_samples(take.request, take.row))
    else:
        audio = finished_loop(audio, rate, finish)
    facts = {
        "seed": result.seeds[take.row],
        "takes": {
            "take": compared.take, "of": compared.of, "kept": dict(compared.kept), "totals": list(compared.totals),
            "line": compared.line(),
        },
    }  # fmt: skip
    if take.fault is not None:
        facts["fault"] = take.fault
    return StudioResult(
        audio=audio, sample_rate=rate, plan=result.plans[take.row], facts=facts, marks=marks, finished=True,
    )  # fmt: skip
