"""Bodies of requests. One for music, sound, continuation, melody and style."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal, Self

from fastapi import Query
from pydantic import ConfigDict, Field, StringConstraints, field_validator, model_validator

from audiocraft.audio.formats import DOWNLOAD_FORMATS, STREAM_FORMATS
from audiocraft.config.limits import FADE, MAX_FADE, MAX_PROMPT_CHARACTERS, MAX_SEED, EndingKind
from audiocraft.config.settings import PLACES
from audiocraft.music.harmony import parse_chord, parse_key
from audiocraft.music.lead_sheet import checked_chords
from audiocraft.music.looping import MOST_BARS
from audiocraft.music.midi_file import MOST_NOTES
from audiocraft.music.progressions import parse_progression
from audiocraft.server.api.effort_body import EffortBody
from audiocraft.server.api.spelling import (
    OF_MIDI,
    adapter_name,
    check_moments,
    named,
    or_midi,
    spelled_adapter,
    spelled_chord,
    spelled_region,
    with_music,
)
from audiocraft.server.api.timed_bodies import ChordBody, NoteBody, RegionBody, Strict

Kind = Literal["music", "sound", "continuation", "melody", "style", "drums"]
JobKind = Literal[
    "music", "sound", "continuation", "melody", "style", "drums", "song", "edit", "podcast", "bank"
]  # fmt: skip
"""What a job may be: a piece of one model, or something of the studio."""
AudioFormatName = Literal["wav", "flac", "mp3", "opus", "pcm", "f32"]
DownloadFormat = Literal["wav", "flac", "mp3", "opus", "pcm", "f32", "acx"]
FormatQuery = Annotated[
    AudioFormatName,
    Query(description=", ".join(f"{form.name}: {form.title}" for form in STREAM_FORMATS.values())),
]
DownloadQuery = Annotated[
    DownloadFormat,
    Query(description=", ".join(f"{form.name}: {form.title}" for form in DOWNLOAD_FORMATS.values())),
]
AUDIO_CONTENT, FILE_CONTENT = (
    {form.media_type: {"schema": {"type": "string", "format": "binary"}} for form in formats.values()}
    for formats in (STREAM_FORMATS, DOWNLOAD_FORMATS)
)
"""The kinds of audio that a stream or a file may be, for the description of the interface."""
NEEDS_AUDIO: tuple[Kind, ...] = ("continuation", "melody", "style", "drums")

# JavaScript and some databases lose larger whole numbers.
SERVER_MAX_SEED = min(MAX_SEED, 2**53 - 1)

PromptText = Annotated[str, StringConstraints(max_length=MAX_PROMPT_CHARACTERS, pattern=r"^[^\x00]*$")]
ModelName = Annotated[
    str, StringConstraints(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")
]
GenerationId = Annotated[str, StringConstraints(pattern=r"^gen_[0-9a-hjkmnp-tv-z]{26}$")]
UploadId = Annotated[str, StringConstraints(pattern=r"^upl_[0-9a-hjkmnp-tv-z]{26}$")]
Seed = Annotated[int, Field(ge=0, le=SERVER_MAX_SEED)]
Temperature = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]
TopK = Annotated[int, Field(ge=0, le=100_000)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
GuidanceScale = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
Passes = Annotated[int, Field(ge=1, le=1000)]
Tolerance = Annotated[float, Field(ge=1e-7, le=1, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class AudioInput(Strict):
    """Audio to start from: a file uploaded before, a piece of one's own, or the bytes of a file in base64."""

    upload: UploadId | None = Field(default=None, description="The id of an upload.")
    generation: GenerationId | None = Field(default=None, description="The id of a finished piece of yours.")
    data: str | None = Field(default=None, description="A wav, flac, ogg, mp3 or acx file in base64.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(one is not None for one in (self.upload, self.generation, self.data)) != 1:
            raise ValueError("audio: give one of upload, generation and data")
        return self


class PlanBody(Strict):
    """Tempo and harmony, for models that take a plan. What is said here wins over the prompt, and what is left out
    follows from it. The plan of an answer may be sent as it is."""

    tempo: Annotated[float, Field(ge=20, le=400, allow_inf_nan=False)] | None = Field(
        default=None, description="Beats a minute."
    )
    key: Annotated[str, StringConstraints(max_length=20)] | None = Field(
        default=None, description="Such as A minor."
    )
    beats_per_bar: Annotated[int, Field(ge=1, le=16)] | None = Field(
        default=None, description="3 is a waltz; by default 4, or what the prompt says."
    )
    first_beat: Annotated[float, Field(ge=-60, le=60, allow_inf_nan=False)] = Field(
        default=0.0, description="Seconds until the first beat, where chords have times."
    )
    chords: (
        Annotated[list[ChordBody], Field(max_length=10_000)] | Annotated[list[str], Field(max_length=256)]
    ) = Field(
        default_factory=list,
        description="Chords with times, each of which lasts until the next (they need a tempo): {at, chord} or "
        "[seconds, chord]. Or a progression that is played again and again: a text such as Am F C G, or in bars, "
        "C | Am F | G7, or a list of these words.",
    )
    start: Annotated[float, Field(ge=0, le=0)] = Field(default=0.0, description="As answers say it: 0.")
    duration: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] | None = Field(
        default=None, description="As answers say it: in a longer piece the chords come round again."
    )
    from_audio: bool | None = Field(
        default=None,
        description="Whether a continuation, or a piece that keeps regions, keeps tempo, bars, key and chords of its "
        "audio; by default it does.",
    )

    @field_validator("chords", mode="before")
    @classmethod
    def _spelled(cls, chords: object) -> object:
        if isinstance(chords, str):
            return list(named("plan.chords", parse_progression, chords)) if chords.strip() else []
        if not isinstance(chords, list | tuple):
            return chords
        spelled = [
            {"at": one[0], "chord": one[1]} if isinstance(one, list | tuple) and len(one) == 2 else one
            for one in chords
        ]
        if len({isinstance(one, str) for one in spelled}) > 1:
            raise ValueError("plan.chords: give all of them a time, or none")
        return spelled

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.timed and self.tempo is None:
            raise ValueError("plan.tempo: chords that have times need a tempo")
        if self.key is not None:
            named("plan.key", parse_key, self.key)
        names = [chord for chord in self.chords if isinstance(chord, str)]
        if names:
            named("plan.chords", parse_progression, " ".join(names))
        for chord in self.chords:
            if isinstance(chord, ChordBody):
                named("plan.chords", parse_chord, chord.chord)
        return self

    @property
    def timed(self) -> bool:
        """Return whether the chords have times: then it is a whole plan, to which nothing is added."""
        return any(isinstance(chord, ChordBody) for chord in self.chords)


class StyleBody(Strict):
    """How a style is read from the audio, for models that take one."""

    eval_q: Annotated[int, Field(ge=1, le=32)] = Field(
        default=3, description="Codebooks of the style: fewer follow it more loosely."
    )
    excerpt_length: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = Field(
        default=3.0, description="Seconds of the audio that are listened to."
    )


class SectionBody(Strict):
    """A part of a longer piece; the prompt of the whole holds throughout."""

    prompt: PromptText = Field(description="What this part should sound like.")
    duration_ms: Annotated[int, Field(ge=500, le=3_600_000)] = Field(description="Milliseconds.")
    styles: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=200)]], Field(max_length=10)
    ] = Field(default_factory=list, description="Further words for this part.")

    @property
    def text(self) -> str:
        """Return the prompt and the styles, as one text."""
        return ", ".join(word for word in (self.prompt, *self.styles) if word.strip())


class AdapterBody(Strict):
    """This puts an adapter on the model."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")] = Field(
        description="One of `adapters` of /v1/models."
    )
    strength: Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False)] = Field(
        default=1.0, description="How much of what it learnt counts; 1 is what its file holds."
    )

    @field_validator("name")
    @classmethod
    def _without_its_file(cls, name: str) -> str:
        return adapter_name(name)


MOST_METADATA = 16
MetadataName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MetadataWord = Annotated[str, StringConstraints(max_length=512, pattern=r"^[^\x00]*$")]


class MetadataBody(Strict):
    """What a piece is called, and other words of its owner."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"metadata": {"title": "Morning, take 2"}}]})

    metadata: Annotated[
        dict[MetadataName, MetadataWord | None], Field(min_length=1, max_length=MOST_METADATA)
    ] = Field(
        description="New words; null removes one, and what is not named stays. `title` names the piece."
    )


class GenerationBody(Strict, EffortBody):
    """What should be made."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"prompt": "calm piano in A minor, 80 bpm", "duration": 10, "seed": 7},
                {"kind": "sound", "prompt": "rain and thunder", "duration": 5},
                {
                    "prompt": "lofi",
                    "sections": [
                        {"prompt": "calm intro", "duration_ms": 8000, "styles": ["piano"]},
                        {"prompt": "drums enter", "duration_ms": 12000},
                    ],
                },
            ]
        }
    )

    kind: Kind = Field(default="music", description="What the audio, where there is one, is used for.")
    prompt: PromptText = Field(default="", description="What it should sound like.")
    model: ModelName | None = Field(default=None, description="One of /v1/models; by default the server's.")
    adapters: Annotated[list[AdapterBody], Field(max_length=8)] = Field(
        default_factory=list,
        description="Low-rank adapters on the model: {name, strength}, or a text such as jazz:0.8. Without `model` it "
        "is the one that the first of them is for.",
    )
    duration: Seconds = Field(
        default=10.0,
        description="Seconds, the audio to continue included; with `keep` by default those of `audio`.",
    )
    seed: Seed | None = Field(default=None, description="Same seed, same audio; drawn where none is given.")
    temperature: Temperature | None = Field(
        default=None,
        description="0 always takes what is likeliest; more is more varied. What a model does where this and the next "
        "fields say nothing stands in `settings` of /v1/models; a field that it has not is refused.",
    )
    top_k: TopK | None = Field(
        default=None, description="Choose among so many of the likeliest; 0 among all."
    )
    top_p: Share | None = Field(
        default=None,
        description="Choose among those that have this probability together; 0 leaves it to top_k.",
    )
    guidance: GuidanceScale | None = Field(
        default=None, description="How strictly the prompt is followed; by default what suits the model."
    )
    guidance_beta: GuidanceScale | None = Field(
        default=None, description="How strictly the words are followed beside a melody or style."
    )
    guidance_text: GuidanceScale | None = Field(
        default=None, description="With flows: how much the words alone count beside all that is followed."
    )
    least_guidance: GuidanceScale | None = Field(
        default=None,
        description="With masked models: what guidance falls to while less and less is masked.",
    )
    decoding_steps: Annotated[list[Passes], Field(min_length=1, max_length=32)] | None = Field(
        default=None,
        description="With masked models: passes for each codebook; the last number holds for further ones.",
    )
    span_arrangement: Literal["nonoverlap", "stride1"] | None = Field(
        default=None, description="With masked models: spans apart, or one that begins at every frame."
    )
    anneal: bool | None = Field(
        default=None, description="With masked models: whether the temperature falls to 0 over the passes."
    )
    rescorer: ModelName | None = Field(
        default=None,
        description="With masked models: another model of /v1/models that judges which spans are certain; one that "
        "predicts the same codes one after the other.",
    )
    rescorer_weight: Share | None = Field(
        default=None, description="How much the rescorer counts, from 0 to 1."
    )
    flow_solver: Literal["euler", "midpoint", "heun", "dopri5"] | None = Field(
        default=None, description="With flows: how they are followed; dopri5 as exactly as it needs."
    )
    flow_steps: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None, description="With flows: equal steps."
    )
    flow_rtol: Tolerance | None = Field(
        default=None, description="With flows and dopri5: the error of a step, relative to the latents."
    )
    flow_atol: Tolerance | None = Field(
        default=None, description="With flows and dopri5: the error of a step that is always allowed."
    )
    stride: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] | None = Field(
        default=None, description="Seconds between the windows of a long piece."
    )
    sections: Annotated[list[SectionBody], Field(max_length=100)] = Field(
        default_factory=list, description="What comes after what; together they are as long as the piece."
    )
    audio: AudioInput | None = Field(
        default=None, description="What to continue, to follow, or to keep regions of."
    )
    keep: Annotated[list[RegionBody], Field(max_length=100)] = Field(
        default_factory=list,
        description="Regions of `audio` that stay while everything else is made anew, with models that fill in: "
        "{start, end} or [start, end], ascending and apart.",
    )
    drums: AudioInput | None = Field(
        default=None, description="A recording whose drums are followed; beside chords and a tune."
    )
    tune: AudioInput | None = Field(
        default=None,
        description="A recording whose notes are followed, one by one; beside chords and drums. Or {midi}: a MIDI file "
        "in base64, whose highest notes become `notes`.",
        json_schema_extra=or_midi,
    )
    notes: Annotated[list[NoteBody], Field(max_length=MOST_NOTES)] = Field(
        default_factory=list,
        description="A tune in place of one that is heard in a recording: {at, until, pitch}.",
    )
    chords: Annotated[list[ChordBody], Field(max_length=10_000)] = Field(
        default_factory=list,
        description="Chords with times, for models that follow them: {at, chord}, [seconds, chord] or "
        "[chord, seconds]; each lasts until the next. Or a text: C:0 Am:2.5 says when they begin; C | Am F | G7 "
        "are bars, which come round again, as `plan.chords` do. Or {midi}: a MIDI file in base64, a chord a beat.",
        json_schema_extra={"anyOf": [{"type": "array"}, {"type": "string"}, OF_MIDI]},
    )
    bpm: Annotated[float, Field(ge=20, le=400, allow_inf_nan=False)] | None = Field(
        default=None, description="Beats a minute, as `plan.tempo` says it."
    )
    beats_per_bar: Annotated[int, Field(ge=1, le=16)] | None = Field(
        default=None, description="Of the bars, as `plan.beats_per_bar` says it."
    )
    plan: PlanBody | None = Field(default=None, description="Tempo and harmony, for models that take a plan.")
    negative: PromptText | None = Field(
        default=None, description="What it should not be; guidance leads away from it."
    )
    loop: Annotated[int, Field(ge=1, le=MOST_BARS)] | None = Field(
        default=None,
        description="A seamless loop of so many bars, for models that take a plan; it is as long as they are, and its "
        "file says so to samplers and games.",
    )
    ending: EndingKind | None = Field(
        default=None,
        description="How it ends at its length, on its tonic: its last bar dies away (cadence), becomes quieter "
        "(fade), or is struck and rings out (ring).",
    )
    style: StyleBody | None = Field(default=None, description="How the audio of kind style is read.")
    decoder: ModelName | None = Field(
        default=None, description="What turns the model's codes into audio; by default its own codec."
    )
    fade: Annotated[float, Field(ge=0, le=MAX_FADE, allow_inf_nan=False)] = Field(
        default=FADE, description="Seconds at the end that fade to silence; a stream begins as much later."
    )
    priority: Annotated[int, Field(ge=0, le=9)] = Field(
        default=0,
        description="Higher goes first, before those of others too: above 0 it needs the scope `admin`.",
    )
    metadata: Annotated[dict[MetadataName, MetadataWord], Field(max_length=MOST_METADATA)] = Field(
        default_factory=dict,
        description="Words of your own, given back as they are; `title` names files and is searched.",
    )
    webhook: Annotated[str, StringConstraints(max_length=2000)] | None = Field(
        default=None, description="An https address that is told when the piece is finished."
    )

    @model_validator(mode="before")
    @classmethod
    def _read_music(cls, body: object) -> object:
        return with_music(body) if isinstance(body, dict) else body

    @field_validator("chords", mode="before")
    @classmethod
    def _spelled(cls, chords: object) -> object:
        return [spelled_chord(one) for one in chords] if isinstance(chords, list | tuple) else chords

    @field_validator("adapters", mode="before")
    @classmethod
    def _spelled_adapters(cls, adapters: object) -> object:
        return [spelled_adapter(one) for one in adapters] if isinstance(adapters, list | tuple) else adapters

    @field_validator("adapters")
    @classmethod
    def _different(cls, adapters: list[AdapterBody]) -> list[AdapterBody]:
        names = [one.name for one in adapters]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"adapters: {name!r} is named twice; give it one strength")
        return adapters

    @field_validator("keep", mode="before")
    @classmethod
    def _spelled_regions(cls, regions: object) -> object:
        return [spelled_region(one) for one in regions] if isinstance(regions, list | tuple) else regions

    @property
    def regions(self) -> tuple[tuple[float, float], ...]:
        """Return what is kept, as (start, end)."""
        return tuple((region.start, region.end) for region in self.keep)

    @property
    def inputs(self) -> dict[str, AudioInput]:
        """Return all audio that is named, by the field that names it."""
        named = {"audio": self.audio, "drums": self.drums, "tune": self.tune}
        return {role: audio for role, audio in named.items() if audio is not None}

    @property
    def timed_chords(self) -> tuple[tuple[str, float], ...]:
        """Return the chords as (symbol, second)."""
        return tuple((one.chord, one.at) for one in self.chords)

    @model_validator(mode="after")
    def _fits_kind(self) -> Self:
        if self.kind in NEEDS_AUDIO and self.audio is None:
            raise ValueError(f"audio: kind {self.kind} needs audio")
        if self.kind not in NEEDS_AUDIO and self.audio is not None and not self.keep:
            raise ValueError(
                f"audio: kind {self.kind} takes no audio; use continuation, melody, style or drums, or keep regions"
            )
        if self.keep and self.audio is None:
            raise ValueError("keep: it names regions of audio; give the audio that they are of")
        if self.keep and self.kind in NEEDS_AUDIO:
            raise ValueError(f"keep: kind {self.kind} has another use for its audio; use music or sound")
        if self.kind == "drums" and self.drums is not None:
            raise ValueError("drums: they are given twice; kind drums has them in audio")
        if self.notes and self.tune is not None:
            raise ValueError("notes: the tune is given twice, as notes and as a recording; leave one out")
        if self.kind != "style" and self.style is not None:
            raise ValueError("style: settings of a style need kind style")
        if self.plan is not None and self.plan.from_audio and self.kind != "continuation" and not self.keep:
            raise ValueError(
                "plan.from_audio: only a continuation, or a piece that keeps regions, keeps the plan of its audio"
            )
        said = (
            self.sections, self.plan, self.chords, self.keep, self.drums, self.tune, self.notes,
        )  # fmt: skip
        if self.kind not in NEEDS_AUDIO and not self.prompt.strip() and not any(said):
            raise ValueError(f"prompt: kind {self.kind} needs words that say what it should sound like")
        return self

    @model_validator(mode="after")
    def _fits_loop(self) -> Self:
        said = [
            name
            for name, there in (
                ("kind", self.kind != "music"),
                ("sections", bool(self.sections)),
                ("ending", self.ending is not None),
            )
            if there
        ]
        if self.loop is not None and said:
            raise ValueError(f"loop: a loop is music without beginning and end; leave out {', '.join(said)}")
        return self

    @model_validator(mode="after")
    def _fits_sections(self) -> Self:
        if not self.sections:
            return self
        total = sum(section.duration_ms for section in self.sections) / 1000
        if "duration" in self.model_fields_set and abs(self.duration - total) > 0.001:
            raise ValueError(
                f"sections: they last {total:g} s and the duration is {self.duration:g} s; leave one out"
            )
        if not all(section.text for section in self.sections):
            raise ValueError("sections: each needs a prompt or styles")
        self.duration = total
        return self

    @model_validator(mode="after")
    def _chords_fit(self) -> Self:
        named("chords", checked_chords, self.timed_chords)
        if not self.as_long_as_its_audio:
            check_moments(self, self.duration)
        return self

    @property
    def as_long_as_its_audio(self) -> bool:
        """Whether it keeps regions of audio and does not say how long it is."""
        return bool(self.keep) and not self.sections and "duration" not in self.model_fields_set

    @property
    def settings(self) -> dict[str, Any]:
        """Return what is said of how the piece is made, by the names of `config.settings`."""
        said = {name: getattr(self, name) for name in PLACES}
        return {name: value for name, value in said.items() if value is not None}

    def settled(self, *, model: str) -> GenerationBody:
        """Return the same with model and seed decided, so that a second attempt makes the same audio."""
        seed = secrets.randbits(31) if self.seed is None else self.seed
        return self.model_copy(update={"model": model, "seed": seed})
