"""What is asked of a model and what comes back. Frozen records that say everything; nothing here runs a model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from torch import Tensor

from audiocraft.audio.ending import ENDINGS
from audiocraft.audio.pcm import checked_rate, checked_recordings, checked_samples
from audiocraft.audio.processing import AudioProcessor
from audiocraft.audio.regions import checked_regions
from audiocraft.config.limits import EndingKind
from audiocraft.config.settings import TOKENS, placed
from audiocraft.errors import InvalidInput
from audiocraft.generation.checks import (
    check_duration,
    check_number,
    check_prompt,
    check_record,
    check_rows,
    check_whole,
    checked_adapters,
    checked_scenes,
    checked_schedule,
    checked_seeds,
    entries_of,
)
from audiocraft.generation.controls import Controls
from audiocraft.generation.flow_settings import FlowSettings
from audiocraft.music.planning import ScoreSettings
from audiocraft.types import Scene, ScorePlan, StyleSettings

MOST_GUIDANCE = 1e30
"""Beyond it, float32 has no room for the logits that come of it."""
_MOST_PASSES = 1000  # over a codebook
SPAN_ARRANGEMENTS = ("nonoverlap", "stride1")
"""How spans of masked frames may lie."""
COLDEST = 1e-6
"""Temperatures below this choose the most likely code: no other has a chance, and float32 no room for them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """This record says how one code is chosen from its logits. None is what the model was made for: with models that
    predict one code after the other, the 250 most likely codes at temperature 1.

    Args:
        top_k: choose among the k most likely codes; 0 means all.
        top_p: where above 0, choose among the fewest codes that hold this much probability, instead of top_k.
        temperature: 0 is greedy, as is `use_sampling=False`.
    """

    use_sampling: bool = True
    top_k: int | None = None
    top_p: float | None = None
    temperature: float | None = None

    def __post_init__(self) -> None:
        if self.top_k is not None:
            check_whole(self.top_k, "top_k", "sampling.top_k")
            if self.top_k < 0:
                raise InvalidInput(
                    f"top_k must be 0 (all codes) or more, got {self.top_k}", field="sampling.top_k"
                )
        if self.top_p is not None:
            check_number(self.top_p, "top_p", "sampling.top_p")
            if not 0 <= self.top_p <= 1:
                raise InvalidInput(f"top_p must be between 0 and 1, got {self.top_p}", field="sampling.top_p")
        if self.temperature is not None:
            check_number(self.temperature, "temperature", "sampling.temperature")
            if not (math.isfinite(self.temperature) and self.temperature >= 0):
                raise InvalidInput(
                    f"temperature must be 0 (greedy) or more, got {self.temperature}",
                    field="sampling.temperature",
                )

    def settled(self, model: ChosenSampling | None = None) -> ChosenSampling:
        """Return what is left open filled in by what `model` was made for. Who gives one of top_k and top_p is not
        given the other, which would win or lose against it unasked."""
        model = ChosenSampling() if model is None else model
        chosen = self.top_k is not None or self.top_p is not None
        top_k, top_p = (self.top_k or 0, self.top_p or 0.0) if chosen else (model.top_k, model.top_p)
        temperature = model.temperature if self.temperature is None else self.temperature
        return ChosenSampling(
            use_sampling=self.use_sampling, top_k=top_k, top_p=top_p, temperature=temperature
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ChosenSampling:
    """This record is a `Sampling` in which nothing is left open; the defaults are those of models that predict one code
    after the other."""

    use_sampling: bool = True
    top_k: int = TOKENS["top_k"]
    top_p: float = TOKENS["top_p"]
    temperature: float = TOKENS["temperature"]

    @property
    def greedy(self) -> bool:
        return not self.use_sampling or self.temperature < COLDEST


@dataclass(frozen=True, kw_only=True, slots=True)
class Guidance:
    """This record says how strongly the conditions are followed: 1 is the model as it is, more exaggerates them.

    Args:
        coef: None is what the model was made for (`classifier_free_guidance.inference_coef` of its configuration).
        coef_beta: for models that listen to a melody or style, how strongly the text counts beside it.
        coef_text: for models that are told chords, drums or a melody, how much a branch that hears the text alone
            counts beside them; None is not at all.
        coef_negative: as `coef`, of rows that lead away from a text; None is `coef`, or what the model was made for.
        coef_plan: as `coef`, of the plan alone: tempo, bars and chords are followed so strongly, all else by `coef`.
            None is what the model was made for, or no strength of its own.
        two_step: run with and without conditions one after the other, which needs less memory.
    """

    coef: float | None = None
    coef_beta: float | None = None
    coef_text: float | None = None
    two_step: bool = False
    coef_negative: float | None = None
    coef_plan: float | None = None

    def __post_init__(self) -> None:
        for value, name, place in (
            (self.coef, "the guidance coefficient", "guidance.coef"),
            (self.coef_beta, "guidance beta", "guidance.coef_beta"),
            (self.coef_text, "guidance by the text", "guidance.coef_text"),
            (self.coef_negative, "guidance away from a text", "guidance.coef_negative"),
            (self.coef_plan, "guidance by the plan", "guidance.coef_plan"),
        ):
            if value is not None:
                check_number(value, name, place)
                if not abs(value) <= MOST_GUIDANCE:
                    raise InvalidInput(
                        f"{name} must lie between -{MOST_GUIDANCE:g} and {MOST_GUIDANCE:g}, got {value:g}",
                        field=place,
                    )


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowSettings:
    """This record says how pieces longer than the model are made: a new window every `stride` seconds, continuing the
    one before. None lets the model choose.

    Args:
        level_anchor: hold such pieces at the loudness of their first window (`generation.level`).
    """

    stride: float | None = None
    level_anchor: bool = True

    def __post_init__(self) -> None:
        if self.stride is not None:
            check_number(self.stride, "window stride", "window.stride")
        if self.stride is not None and not (math.isfinite(self.stride) and self.stride > 0):
            raise InvalidInput(
                f"window stride must be a positive time, got {self.stride}", field="window.stride"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskedSettings:
    """This record says how a model that fills in masked codes goes about it; None is what it was made for. Other models
    have no use for it.

    Args:
        steps: passes for each codebook; the last number holds for all further ones.
        span_arrangement: "nonoverlap" cuts the piece into spans, "stride1" lets one begin at every frame.
        least_guidance: the strength of guidance when nothing is masked any more; it falls to this from
            `guidance.coef`, which holds while everything is masked.
        anneal: let the temperature fall to 0 over the passes of a codebook.
        rescorer: the name of a model that predicts the same codes one after the other, such as a MusicGen; its
            probabilities count too where the least certain spans are looked for (MAGNeT, section 3.3).
        rescorer_weight: how much they count, from 0 to 1.
    """

    steps: tuple[int, ...] | None = None
    span_arrangement: str | None = None
    least_guidance: float | None = None
    anneal: bool | None = None
    rescorer: str | None = None
    rescorer_weight: float | None = None

    def __post_init__(self) -> None:
        if self.steps is not None:
            steps = (self.steps,) if isinstance(self.steps, int) else tuple(self.steps)
            object.__setattr__(self, "steps", steps)
            for count in steps:
                check_whole(count, "a number of steps", "masked.steps")
            if not steps or min(steps) < 1 or max(steps) > _MOST_PASSES:
                said = ", ".join(map(str, steps)) or "none"
                told = f"every codebook needs 1 to {_MOST_PASSES} steps, got {said}"
                raise InvalidInput(told, field="masked.steps")
        if self.span_arrangement not in (None, *SPAN_ARRANGEMENTS):
            raise InvalidInput(
                f"span_arrangement {self.span_arrangement!r} is not one of {', '.join(SPAN_ARRANGEMENTS)}",
                field="masked.span_arrangement",
            )
        Guidance(coef=self.least_guidance)
        if self.anneal is not None and not isinstance(self.anneal, bool):
            raise InvalidInput(f"anneal must be true or false, got {self.anneal!r}", field="masked.anneal")
        self._check_rescorer()

    def _check_rescorer(self) -> None:
        if self.rescorer is not None and not (isinstance(self.rescorer, str) and self.rescorer.strip()):
            raise InvalidInput(
                f"a rescorer must be the name of a model, got {self.rescorer!r}", field="masked.rescorer"
            )
        if self.rescorer_weight is None:
            return
        check_number(self.rescorer_weight, "rescorer_weight", "masked.rescorer_weight")
        if self.rescorer is None:
            raise InvalidInput(
                "rescorer_weight says how much a rescorer counts: name one", field="masked.rescorer_weight"
            )
        if not 0 <= self.rescorer_weight <= 1:
            raise InvalidInput(
                f"rescorer_weight must lie between 0 and 1, got {self.rescorer_weight:g}",
                field="masked.rescorer_weight",
            )

    def steps_of(self, codebooks: int, default: tuple[int, ...] = (20, 10, 10, 10)) -> tuple[int, ...]:
        """List the passes for each of `codebooks`."""
        steps = self.steps or default
        if len(steps) > codebooks:
            raise InvalidInput(
                f"there are {codebooks} codebooks, and steps for {len(steps)}", field="masked.steps"
            )
        return (*steps, *[steps[-1]] * (codebooks - len(steps)))

    @property
    def given(self) -> tuple[str, ...]:
        """Return the names of what is said."""
        return tuple(entry.name for entry in fields(self) if getattr(self, entry.name) is not None)


def window_of(duration: float, extend_stride: float, heard: float, default: float) -> WindowSettings:
    """Return the window that upstream's `extend_stride` means for a model that hears `heard` seconds at once.

    Args:
        default: the stride that upstream's callers get who say nothing; a model that hears less chooses its own.
    """
    check_number(duration, "duration", "duration")
    check_number(extend_stride, "extend_stride", "extend_stride")
    if extend_stride < heard:
        return WindowSettings(stride=extend_stride)
    if duration > heard and extend_stride != default:
        raise InvalidInput(
            f"extend_stride {extend_stride:g} s must be shorter than the {heard:g} s that the model hears at once",
            field="extend_stride",
        )
    return WindowSettings()


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationRequest:
    """A request says everything about one generation: equal requests with seeds give equal results.

    Args:
        prompts: one per row; None or "" is "anything".
        duration: seconds of audio to return, prompt audio included.
        seeds: one per row; None draws fresh ones, which the result reports.
        schedule: (second, text) in ascending order from second 0: what the music should be from there on, in all rows.
            A row's prompt, where there is one, holds throughout, and the text is added to it.
        prompt_audio: [B, C, N] to continue, at `prompt_sample_rate`; this and the reference may be integer PCM.
        keep: (start, end) in seconds, ascending: regions of `audio` whose codes stay as they are, while everything else
            is made anew, with models that fill in what is masked.
        audio: [B, C, N], at `audio_sample_rate`: what is kept from.
        masked: how such models go about it.
        score: tempo, key and chords of all rows, for models that take plans; what is said here wins over the prompt.
        plans: one per row for models that take them; None plans from the prompt and the score.
        scenes: one per row, from second 0, for models that are told which sounds are heard when; None reads them from
            the words.
        reference_audio: one [C, N] or None per row, at `reference_sample_rate`: what to follow in melody or style,
            as the model does; a melody shorter than the piece repeats.
        controls: chords at their times, drums and a melody, for models that follow them.
        flow: how a flow is followed, with models that are flows.
        style: how a style is read, with models that take one; None is as the model was trained.
        adapters: files of low-rank adapters, and how strongly each counts, for models that take them.
        negative: what no row should be; guidance leads away from it, with models that have it. What a prompt denies
            itself ("no drums") is added.
        loop: the piece goes round: its end leads into its beginning, and it lasts whole bars of its plans, for models
            that take them (`generation.looping.as_loop` makes such a request of another).
        ending: how the piece ends at its length, "cadence", "fade" or "ring" (`audio.ending`), on its tonic where the
            model takes plans; None lets it stop as it is.
        longest_tone: seconds that one tone may drown all else, with models of music that choose one code after
            another: the codes that hold it are left out until it is gone. None leaves it as it comes.
        decoder: the name of what turns the model's frames into audio; None is the model's own codec.
        processors: every row's audio goes through all of them, in order, whether it is streamed or made whole.
    """

    prompts: tuple[str | None, ...]
    duration: float = 10.0
    seeds: tuple[int, ...] | None = None
    sampling: Sampling = Sampling()
    guidance: Guidance = Guidance()
    window: WindowSettings = WindowSettings()
    schedule: tuple[tuple[float, str], ...] = ()
    prompt_audio: Tensor | None = field(default=None, compare=False, repr=False)
    prompt_sample_rate: int | None = None
    keep: tuple[tuple[float, float], ...] = ()
    audio: Tensor | None = field(default=None, compare=False, repr=False)
    audio_sample_rate: int | None = None
    masked: MaskedSettings = MaskedSettings()
    score: ScoreSettings = ScoreSettings()
    plans: tuple[ScorePlan | None, ...] | None = None
    scenes: tuple[Scene | None, ...] | None = None
    reference_audio: tuple[Tensor | None, ...] | None = field(default=None, compare=False, repr=False)
    reference_sample_rate: int | None = None
    controls: Controls = Controls()
    flow: FlowSettings = FlowSettings()
    style: StyleSettings | None = None
    adapters: tuple[tuple[str, float], ...] = ()
    negative: str | None = None
    loop: bool = False
    ending: EndingKind | None = None
    longest_tone: float | None = None
    decoder: str | None = None
    processors: tuple[AudioProcessor, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        for name, kind in _RECORDS.items():
            check_record(getattr(self, name), kind, name)
        self._set("prompts", entries_of(self.prompts, "prompts"))
        if not self.prompts:
            raise InvalidInput("a request needs at least one prompt", field="prompts")
        for prompt in (*self.prompts, self.negative):
            check_prompt(prompt)
        check_duration(self.duration)
        self._set("adapters", checked_adapters(self.adapters))
        self.controls.check_within(self.duration)
        self._set("schedule", checked_schedule(self.schedule, self.duration))
        if self.seeds is not None:
            self._set("seeds", checked_seeds(self.seeds, len(self.prompts)))
        self._check_told()
        if self.prompt_audio is not None:
            self._set("prompt_audio", checked_samples(self.prompt_audio, "prompt_audio"))
            self._check_prompt_audio(self.prompt_audio)
        self._set("keep", checked_regions(self.keep, self.duration))
        if self.keep or self.audio is not None:
            self._check_kept()
        self._check_ends()
        if self.reference_audio is not None:
            self._check_reference_audio(entries_of(self.reference_audio, "reference_audio"))

    def _check_told(self) -> None:
        if self.plans is not None:
            self._set("plans", entries_of(self.plans, "plans"))
            check_rows(self.plans, len(self.prompts), "plans")
            if self.score.given:
                raise InvalidInput(
                    "plans say tempo, key and chords already; leave out the score or the plans", field="score"
                )
        if self.scenes is not None:
            self._set("scenes", checked_scenes(self.scenes, len(self.prompts), self.duration))

    def _set(self, name: str, value: object) -> None:
        """Set a field as it is meant: what callers pass may be a list, an array, or a number of NumPy's."""
        object.__setattr__(self, name, value)

    def prompt_at(self, row: int, second: float) -> str | None:
        """Say what row `row` should be at `second` of the piece."""
        prompt = self.prompts[row]
        text = next((text for start, text in reversed(self.schedule) if start <= second), None)
        if text is None:
            return prompt
        return text if prompt is None or not prompt.strip() else f"{prompt}, {text}"

    def rows(self, start: int, stop: int) -> GenerationRequest:
        """Make the request of some of the rows."""
        return self.picked(range(start, stop))

    def picked(self, places: Sequence[int]) -> GenerationRequest:
        """Return the request of the rows at these places, in this order; a row may be there several times."""
        parts: Mapping[str, Any] = {
            name: getattr(self, name)
            for name in ("prompts", "seeds", "plans", "scenes", "prompt_audio", "audio", "reference_audio")
        }
        chosen: dict[str, Any] = {
            name: part[list(places)] if isinstance(part, Tensor) else tuple(part[place] for place in places)
            for name, part in parts.items()
            if part is not None
        }
        return replace(self, **chosen)

    def _check_prompt_audio(self, audio: Tensor) -> None:
        if audio.dim() != 3 or audio.shape[-1] == 0:
            raise InvalidInput(
                f"prompt audio must be [rows, channels, samples] and not empty, got {list(audio.shape)}",
                field="prompt_audio",
            )
        check_rows(audio, len(self.prompts), "prompt_audio")
        self._set("prompt_sample_rate", checked_rate(self.prompt_sample_rate, "prompt_sample_rate"))

    def _check_kept(self) -> None:
        if self.audio is None:
            raise InvalidInput("keep names regions of audio: give the audio that they are of", field="audio")
        if not self.keep:
            raise InvalidInput("audio is there to keep regions of: say which, in keep", field="keep")
        if self.prompt_audio is not None:
            raise InvalidInput(
                "audio that is continued is kept anyway: give prompt_audio, or keep and audio", field="keep"
            )
        audio = checked_samples(self.audio, "audio")
        if audio.dim() != 3 or audio.shape[-1] == 0:
            raise InvalidInput(
                f"audio must be [rows, channels, samples] and not empty, got {list(audio.shape)}",
                field="audio",
            )
        check_rows(audio, len(self.prompts), "audio")
        self._set("audio", audio)
        self._set("audio_sample_rate", checked_rate(self.audio_sample_rate, "audio_sample_rate"))
        assert self.audio_sample_rate is not None
        seconds = audio.shape[-1] / self.audio_sample_rate
        start, end = self.keep[-1]
        if end > seconds + 1e-6:
            raise InvalidInput(
                f"the region {start:g}-{end:g} s is not inside the audio of {seconds:g} s", field="keep"
            )

    def _check_ends(self) -> None:
        if self.longest_tone is not None:
            check_duration(self.longest_tone, "longest_tone")
        if self.ending not in (None, *ENDINGS):
            raise InvalidInput(f"ending {self.ending!r} is not one of {', '.join(ENDINGS)}", field="ending")
        if not isinstance(self.loop, bool):
            raise InvalidInput(f"loop is True or False, got {self.loop!r}", field="loop")
        if not self.loop:
            return
        for name, value in (
            ("prompt_audio", self.prompt_audio is not None),
            ("keep", self.keep),
            ("schedule", self.schedule),
            ("ending", self.ending is not None),
        ):
            if value:
                raise InvalidInput(
                    f"a loop has neither beginning nor end, and no {name}: make a piece, and cut a loop out of it",
                    field="loop",
                )

    def _check_reference_audio(self, rows: tuple[Any, ...]) -> None:
        check_rows(rows, len(self.prompts), "reference_audio")
        heard = checked_recordings([wav for wav in rows if wav is not None], "reference_audio")
        for wav in heard:
            if wav.dim() != 2 or wav.numel() == 0:
                raise InvalidInput(
                    f"reference audio must be [channels, samples] and not empty, got {list(wav.shape)}",
                    field="reference_audio",
                )
        following = iter(heard)
        self._set("reference_audio", tuple(None if wav is None else next(following) for wav in rows))
        self._set("reference_sample_rate", checked_rate(self.reference_sample_rate, "reference_sample_rate"))


_RECORDS: Mapping[str, type] = {
    "sampling": Sampling,
    "guidance": Guidance,
    "window": WindowSettings,
    "masked": MaskedSettings,
    "score": ScoreSettings,
    "controls": Controls,
    "flow": FlowSettings,
    "style": StyleSettings,
}


def records_of(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the records of a `GenerationRequest` in which settings are as said, by their names in
    `config.settings`; None says nothing: {"temperature": 2.0} -> {"sampling": Sampling(temperature=2.0)}."""
    return {record: _RECORDS[record](**given) for record, given in placed(said).items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationResult:
    """This record holds what a request gave, with what is needed to make it again.

    Args:
        audio: [B, C, N], exactly `duration` long.
        codes: [B, K, T], the codec's codes of that audio; None with models that make none.
        seeds: the seed of each row, drawn or given.
        plans, scenes: of each row, for models that take them.
        timings: seconds per stage.
    """

    audio: Tensor = field(repr=False)
    codes: Tensor | None = field(repr=False)
    sample_rate: int
    seeds: tuple[int, ...]
    plans: tuple[ScorePlan | None, ...]
    timings: Mapping[str, float]
    scenes: tuple[Scene | None, ...] = ()
