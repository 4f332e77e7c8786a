"""From the body of a stored job back to the request that an engine runs, and from its plan to a document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch

from audiocraft.analysis.following import with_heard
from audiocraft.analysis.hearing import heard_plan, stays_home
from audiocraft.audio.finishing import Finish
from audiocraft.audio.keeping import KeptSamples
from audiocraft.checkpoints.facts import find_facts
from audiocraft.config.decode import encode
from audiocraft.config.limits import FADE
from audiocraft.generation.controls import Controls
from audiocraft.generation.held_tones import longest_tone_of
from audiocraft.generation.request import GenerationRequest, WindowSettings, records_of
from audiocraft.music.continuing import going_on, homeward, where_new
from audiocraft.music.midi_file import MidiNote, MidiNotes
from audiocraft.music.planning import ScoreSettings
from audiocraft.server.adapters import AdapterCatalogue
from audiocraft.server.api.schemas import GenerationBody
from audiocraft.server.api.scores import plan_of_body, schedule_of, score_of, words_of
from audiocraft.server.jobs.blobs import BlobStore
from audiocraft.server.jobs.records import GenerationJob
from audiocraft.server.worker.ports import Samples
from audiocraft.types import ScorePlan, StyleSettings
from audiocraft.workflows.controls import with_notes, with_tune_of

AudioAndRate = tuple[Samples, int]
"""Samples [C, N] and their rate."""


def request_of(
    job: GenerationJob, blobs: BlobStore, adapters: AdapterCatalogue | None = None
) -> GenerationRequest:
    """Return the request of a stored job, with the audio and the adapters that it refers to.

    Raises:
        InvalidInput: an adapter has left the server meanwhile.
    """
    body = GenerationBody.model_validate(dict(job.request))
    found = {role: blobs.input_of(job.id, role) for role in ("audio", *body.inputs)}
    inputs = {role: audio for role, audio in found.items() if audio is not None}
    if "audio" in inputs and not body.keep and body.audio is not None and body.audio.generation is not None:
        # The end of one's own piece was faded out; going on behind the fade would leave a gap.
        audio, rate = inputs["audio"]
        inputs["audio"] = (audio[:, : max(1, audio.shape[-1] - round(Finish().fade * rate))], rate)
    request = _in_what_it_follows(to_request(body, inputs), body, job.model)
    asked = [one.model_dump() for one in body.adapters]
    return replace(request, adapters=(adapters or AdapterCatalogue()).files(asked)) if asked else request


def _in_what_it_follows(request: GenerationRequest, body: GenerationBody, model: str) -> GenerationRequest:
    """Return `request` in the tempo and key of the tune or drums that it follows, as far as nothing else says them."""
    controls, melody = request.controls, body.kind == "melody"
    if controls.drums is None and controls.melody is None and not melody:
        return request
    facts = find_facts(model)
    if facts is None or "plan" not in facts.takes:
        return request
    return with_heard(request, melody=melody)[0]


def finish_of(job: GenerationJob) -> Finish:
    """Return how the audio of a stored job is finished."""
    loop = job.request.get("loop") is not None
    return Finish(fade=0.0 if loop else job.request.get("fade", FADE))


def kept_of(job: GenerationJob, blobs: BlobStore) -> KeptSamples | None:
    """Return what puts the regions that a stored job keeps back into its audio, once that is finished; None where it
    keeps none."""
    if not job.request.get("keep"):
        return None
    body, found = GenerationBody.model_validate(dict(job.request)), blobs.input_of(job.id, "audio")
    if found is None:
        return None
    audio, rate = found
    return KeptSamples(
        audio=torch.from_numpy(audio),
        sample_rate=rate,
        regions=body.regions,
        duration=body.duration,
        level=False,
    )


def to_request(
    body: GenerationBody, inputs: Mapping[str, AudioAndRate] = MappingProxyType({})
) -> GenerationRequest:
    """Return a body whose model and seed are decided as the engine takes it.

    Args:
        inputs: the audio that its fields name.
    """
    sample_rate, wav = None, None
    if "audio" in inputs:
        samples, sample_rate = inputs["audio"]
        wav = torch.from_numpy(samples)
    continues = wav is not None and body.kind == "continuation"
    keeps = wav is not None and bool(body.keep)
    plan = plan_of_body(body)
    if (
        (continues or keeps)
        and wav is not None
        and sample_rate
        and body.plan is not None
        and body.plan.from_audio
    ):
        plan = _heard(body, wav, sample_rate)
    follows = wav is not None and body.kind in ("melody", "style")
    schedule = schedule_of(body.sections)
    return GenerationRequest(
        prompts=(body.prompt or None,),
        duration=body.duration,
        seeds=(body.seed,) if body.seed is not None else None,
        **records_of(body.settings),
        window=WindowSettings(stride=body.stride),
        schedule=schedule,
        prompt_audio=wav[None] if continues and wav is not None else None,
        prompt_sample_rate=sample_rate if continues else None,
        keep=body.regions,
        audio=wav[None] if keeps and wav is not None else None,
        audio_sample_rate=sample_rate if keeps else None,
        plans=None if plan is None else (plan,),
        score=ScoreSettings() if plan is not None else score_of(body),
        reference_audio=(wav,) if follows else None,
        reference_sample_rate=sample_rate if follows else None,
        controls=_controls(body, inputs),
        style=StyleSettings(**body.style.model_dump()) if body.style is not None else None,
        negative=body.negative or None,
        loop=body.loop is not None,
        ending=body.ending,
        longest_tone=longest_tone_of([body.prompt, *(text for _, text in schedule)]),
        decoder=body.decoder,
    )


def _controls(body: GenerationBody, inputs: Mapping[str, AudioAndRate]) -> Controls:
    """Return what a body follows moment by moment."""
    controls = Controls(chords=body.timed_chords)
    drums = inputs.get("audio") if body.kind == "drums" else inputs.get("drums")
    if drums is not None:
        controls = replace(controls, drums=torch.from_numpy(drums[0]), drums_sample_rate=drums[1])
    if "tune" in inputs:
        samples, rate = inputs["tune"]
        controls = with_tune_of(controls, torch.from_numpy(samples), rate)
    if body.notes:
        notes = tuple(MidiNote(note.at, note.until, note.pitch) for note in body.notes)
        controls = with_notes(controls, MidiNotes(notes, ()))
    return controls


def plan_document(plan: ScorePlan | None) -> dict[str, Any] | None:
    """Return a plan as it is stored and answered."""
    document: dict[str, Any] | None = encode(plan) if plan is not None else None
    return document


def _heard(body: GenerationBody, wav: torch.Tensor, sample_rate: int) -> ScorePlan | None:
    """Return the plan of audio [C, N] that goes on, or of which regions are kept, as far as it can be heard."""
    plan = heard_plan(wav, sample_rate)
    if plan is None:
        return None
    seconds, text = wav.shape[-1] / sample_rate, words_of(body)
    if body.keep:  # between what is kept, the chords are those that were there
        seconds = where_new(body.regions)
    else:
        text = homeward(plan, text, stays=stays_home(plan, at=seconds, duration=body.duration))
    return going_on(plan, text, at=seconds, duration=body.duration, seed=body.seed or 0)
