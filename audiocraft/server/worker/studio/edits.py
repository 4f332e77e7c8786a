"""Edits of a piece: what is new is marked and joined to what is there, which outside stays bit for bit."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from audiocraft.analysis.hearing import heard_plan
from audiocraft.audio.finishing import Finish
from audiocraft.errors import InvalidInput
from audiocraft.generation.progress import Progress
from audiocraft.generation.request import GenerationRequest
from audiocraft.models.generator import GeneratorModel
from audiocraft.models.watermarks.provenance import marked
from audiocraft.server.api.edit_bodies import EditBody
from audiocraft.server.worker.studio.work import StudioResult, StudioWork
from audiocraft.types import ScorePlan
from audiocraft.workflows.editing.loops import cut_loop, finished_loop
from audiocraft.workflows.editing.regions import Edited, Source, extend_after, extend_before, redo
from audiocraft.workflows.editing.styles import restyle
from audiocraft.workflows.loop_marks import marks_of

_MADE = 0.95  # of the whole, when the model has finished
_ENDING_BARS = 2
_RAMP_S = 0.02  # in which the mark begins and ends within what is new


def make_edit(work: StudioWork) -> StudioResult:
    """Return the piece of a job after its edit."""
    body = EditBody.model_validate(dict(work.job.request))
    audio, rate = work.heard("audio")
    work.report(0.0, "listening")
    plan, exact = _plan(body, audio, rate)
    work.begun(plan)
    if body.edit == "loop":
        found = cut_loop(audio, rate, plan, body.bars, exact=exact)
        return StudioResult(
            audio=finished_loop(found.audio, rate, Finish(watermark=work.watermark)),
            sample_rate=rate, plan=found.plan, facts={"bars": found.bars}, marks=marks_of(found.plan), finished=True,
        )  # fmt: skip

    def told(event: Progress) -> None:
        work.report(_MADE * event.done / max(1, event.total), body.edit)

    assert body.model is not None and body.seed is not None
    model = work.model(body.model, told)
    request = GenerationRequest(prompts=(body.prompt or None,), seeds=(body.seed,))
    if body.edit == "restyle":
        result = restyle(model, request, plan, tune_of=(audio, rate), cancel=work.cancel)
        return StudioResult(audio=result.audio[0], sample_rate=result.sample_rate, plan=plan)
    edited = _edited(work, body, model, request, Source(audio=audio, sample_rate=rate, plan=plan))
    start, end = (round(at / rate, 6) for at in edited.changed)
    return StudioResult(
        audio=_marked_inside(edited, work.watermark),
        sample_rate=rate,
        plan=edited.plan,
        facts={
            "changed": [start, end],
            "joints": [round(joint.at / rate, 3) for joint in edited.joints],
        },
        finished=True,
    )


def _edited(
    work: StudioWork, body: EditBody, model: GeneratorModel, request: GenerationRequest, source: Source
) -> Edited:
    if body.edit == "redo":
        assert body.region is not None
        end = min(body.region.end, source.seconds)
        return redo(model, request, source, body.region.start, end, cancel=work.cancel)
    if body.edit == "end":
        request = replace(request, ending=body.ending or "ring")
        return extend_after(model, request, source, body.bars or _ENDING_BARS, cancel=work.cancel)
    if body.before is not None:
        return extend_before(model, request, source, body.before, cancel=work.cancel)
    assert body.after is not None
    return extend_after(model, request, source, body.after, cancel=work.cancel)


def _plan(body: EditBody, audio: Tensor, rate: int) -> tuple[ScorePlan, bool]:
    """Return the plan of the piece, and whether it is known; else it was heard."""
    seconds = audio.shape[-1] / rate
    said = body.plan
    if said is not None and said.tempo is not None and body.tempo is None:
        chords = tuple((one.at, one.chord) for one in said.chords if not isinstance(one, str))
        return (
            ScorePlan(
                tempo=said.tempo, key=said.key, beats_per_bar=said.beats_per_bar or 4, first_beat=said.first_beat,
                chords=chords, duration=seconds,
            ),
            True,
        )  # fmt: skip
    plan = heard_plan(audio, rate, tempo=body.tempo)
    if plan is None:
        raise InvalidInput(
            "no beat is heard in it: it is too short or silent, or librosa is missing where the server runs; name its "
            "tempo",
            field="tempo",
        )
    return plan, False


def _marked_inside(edited: Edited, watermark: str | None) -> Tensor:
    """Return the piece [C, N] with the mark where it is new; what was there had its own, or none."""
    if watermark is None:
        return edited.audio
    start, end = edited.changed
    ramp = max(1, min(round(_RAMP_S * edited.sample_rate), (end - start) // 2))
    weight = torch.zeros(edited.audio.shape[-1])
    weight[start:end] = 1.0
    rise = torch.linspace(0, 1, ramp + 1)[:-1]
    if start > 0:
        weight[start : start + ramp] = rise
    if end < weight.shape[-1]:
        weight[end - ramp : end] = rise.flip(0)
    mark = marked(edited.audio.float(), edited.sample_rate, watermark) - edited.audio
    return edited.audio + weight * mark
