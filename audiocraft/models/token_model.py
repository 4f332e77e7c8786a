"""Models that predict the codes of a codec one step after the other: what MusicGen and AudioGen share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.audio.level_anchor import LevelAnchor
from audiocraft.checkpoints.facts import vocabulary_called
from audiocraft.checkpoints.families import family_called
from audiocraft.errors import InvalidInput
from audiocraft.generation import windows
from audiocraft.generation.computations import GenerationCoroutine, run_alone
from audiocraft.generation.held_tones import ToneBound
from audiocraft.generation.looping import joined_loop
from audiocraft.generation.request import GenerationRequest, Guidance
from audiocraft.generation.session import Session
from audiocraft.models import references
from audiocraft.models.adapted import adapted, adapter_for
from audiocraft.models.codecs.encodec import CompressionModel
from audiocraft.models.codecs.long_audio import encode_audio
from audiocraft.models.codecs.streaming_decode import AudioDecoder
from audiocraft.models.generator import (
    Estimate,
    PreparedRequest,
    audio_bytes,
    check_holds_a_frame,
    check_memory,
    draw_seeds,
    ended,
    samples_of,
)
from audiocraft.models.genmodel import BaseGenModel
from audiocraft.models.lm import LMModel
from audiocraft.models.lm_magnet import MagnetLMModel
from audiocraft.models.loaders import load_generator
from audiocraft.modules.conditioners.scene import SCENE, SceneConditioner
from audiocraft.modules.conditioners.score import PLAN
from audiocraft.modules.packing import precision_of
from audiocraft.music.absence import absent_kinds
from audiocraft.music.planning import ScoreSettings, make_plan, plans_over_time
from audiocraft.music.scenes import read_piece, without_scene
from audiocraft.music.sound_kinds import SoundKinds
from audiocraft.types import ConditioningAttributes, Scene, SceneEvent, ScorePlan, SymbolicCondition
from audiocraft.utils.devices import usable_device

_WORKING_SPACE = 64 * 2**20  # activations of a part of a prefill, and of a piece of audio


class TokenModel(BaseGenModel):
    """This model is a language model over the codes of a codec, as the engine and the facades run it."""

    lm: LMModel
    takes_adapters: ClassVar[bool] = True
    takes_negative: ClassVar[bool] = True
    family: ClassVar[str]
    """Its record in `checkpoints.families`."""

    def __init__(
        self, name: str, compression_model: CompressionModel, lm: LMModel, max_duration: float | None = None
    ) -> None:
        super().__init__(name, compression_model, lm, max_duration)
        self._weights_of: str | None = None
        references.prepare_for_generation(lm)

    @classmethod
    def _loaded(
        cls,
        name: str,
        device: str | torch.device | None,
        *,
        precision: str | None,
        quantize: str | None,
    ) -> Self:
        """Return the model called `name`, also by the short names that it has within its family."""
        released = family_called(cls.family).release(str(name))
        files = str(name) if released is None else released.repo
        codec, lm, config = load_generator(
            files,
            device=usable_device(device),
            precision=precision,
            quantize=quantize,
        )
        model = cls(name=str(name), compression_model=codec, lm=lm, max_duration=config.max_duration)
        model._weights_of = files
        model.vocabulary = vocabulary_called(files)
        return model

    @property
    def takes_plans(self) -> bool:
        """Return whether the model is told tempo, bars and chords frame by frame."""
        return PLAN in self.lm.condition_provider.conditioners

    @property
    def sound_kinds(self) -> SoundKinds | None:
        """Return the kinds of sound that the model is told frame by frame; None where it is told none."""
        conditioners = self.lm.condition_provider.conditioners
        scene = conditioners[SCENE] if SCENE in conditioners else None
        if not isinstance(scene, SceneConditioner):
            return None
        return SoundKinds.of(scene.kinds, scene.lasting, self.vocabulary)

    @property
    def _told_absences(self) -> bool:
        """Return whether the model is told which kinds of sound are not heard."""
        conditioners = self.lm.condition_provider.conditioners
        scene = conditioners[SCENE] if SCENE in conditioners else None
        return isinstance(scene, SceneConditioner) and scene.absences

    @property
    def makes_music(self) -> bool:
        return family_called(self.family).makes == "music"

    @property
    def takes(self) -> frozenset[str]:
        heard = "style" if references.takes_style(self.lm) else "melody"
        return (super().takes | {"continuation"}) | ({heard} if references.listener(self.lm) else set())

    @property
    def precision(self) -> str:
        return precision_of(self.lm, self.device)

    def heard(self, text: str | None, request: GenerationRequest) -> str | None:
        """Return a prompt in the words that the model was taught, without times that a scene is told."""
        scenic = SCENE in self.lm.condition_provider.conditioners
        told = without_scene(text) if scenic and text is not None else text
        return super().heard(told, request)

    def guidance_of(self, request: GenerationRequest) -> Guidance:
        """Return what a request asks for, or what suits this model."""
        asked = request.guidance
        if asked.coef_text is not None:
            raise InvalidInput(
                f"model {self.name!r} has no branch that hears the text alone", field="guidance.coef_text"
            )
        if request.negative and asked.coef == 1 and asked.coef_negative in (None, 1):
            raise InvalidInput(
                "guidance 1 compares with nothing, so it cannot lead away from a negative prompt; leave it "
                "out or raise it",
                field="guidance.coef",
            )
        if asked.coef_plan is not None and not self.takes_plans:
            raise InvalidInput(f"model {self.name!r} is told no plan", field="guidance.coef_plan")
        if asked.coef_plan is None and asked.coef != 1:
            asked = replace(asked, coef_plan=self.lm.plan_coef)
        if asked.coef is not None:
            return asked
        away = self.lm.negative_coef if asked.coef_negative is None else asked.coef_negative
        return replace(asked, coef=self.lm.cfg_coef, coef_negative=away)

    def prepare(self, request: GenerationRequest, *, decoder: AudioDecoder | None = None) -> PreparedRequest:
        references.check(self.name, self.lm, request)
        self._check_decoder(decoder or self.decoder)
        seeds = draw_seeds(request)
        plans, scenes = self._plans(request, seeds), self._scenes(request, seeds)
        if request.loop:
            known = replace(request, seeds=seeds, plans=plans, scenes=scenes, score=ScoreSettings())
            prepared = self.prepare(joined_loop(known), decoder=decoder)
            return replace(prepared, plans=plans, scenes=scenes)
        samples_of(request, self.sample_rate)  # refuses what is too short for any audio
        check_holds_a_frame(request, self.name, self.frame_rate)
        task = self._task(request, seeds, plans, scenes)
        if request.adapters:
            task = replace(task, lm=self._adapted(request.adapters))
        # A recording of which regions are kept has its own level, which what is made beside them has to meet.
        anchored = self._is_long(request) and request.window.level_anchor and not request.keep
        return self.ready(
            request,
            task,
            seeds=seeds,
            plans=plans,
            scenes=scenes,
            decoder=decoder,
            processors=(LevelAnchor(reference=self.max_duration),) if anchored else (),
            decode_whole=len(task.windows) == 1,
        )

    def _check_decoder(self, decoder: AudioDecoder) -> None:
        """Refuse a decoder that knows fewer codes than this model makes, where it says how many it knows."""
        known = getattr(decoder, "cardinality", self.lm.card)
        if known < self.lm.card:
            raise InvalidInput(
                f"model {self.name!r} makes {self.lm.card} codes per codebook and the decoder knows {known}; it needs "
                "one that was trained on the same codes",
                field="decoder",
            )

    def generation(self, prepared: PreparedRequest, session: Session) -> GenerationCoroutine:
        return windows.generation(prepared.task.lm or self.lm, prepared.task, session)

    def _adapted(self, adapters: Sequence[tuple[str, float]]) -> LMModel:
        """Return the language model with adapters on it.

        Raises:
            CheckpointError: an adapter is missing, damaged, or for another base.
        """
        if self._weights_of is None:
            raise InvalidInput(
                f"model {self.name!r} was built from networks, and which adapters are for it is told by its files; "
                "load it with get_pretrained()",
                field="adapters",
            )
        return adapted(self.lm, [(adapter_for(self._weights_of, path), weight) for path, weight in adapters])

    def estimate(self, request: GenerationRequest) -> Estimate:
        """Estimate the rows of all branches of guidance, and the bytes of the longest window's keys and values and of
        the audio."""
        rows = windows.rows_of(replace(request, guidance=self.guidance_of(request)))
        frames = windows.frames_of(min(request.duration, self.max_duration), self.frame_rate)
        steps = self.lm.pattern_provider.get_pattern(frames).num_sequence_steps
        of_step = self.lm.init_state(1, 1).nbytes
        states = max(rows, self.lm.fewest_rows) * steps * of_step
        return Estimate(rows, states + audio_bytes(self, request) + _WORKING_SPACE)

    def seams(self, prepared: PreparedRequest) -> list[int]:
        """List the samples at which the windows of a piece, after the first, begin to generate."""
        frame = self.sample_rate / self.frame_rate
        return [round((window.start + window.known) * frame) for window in prepared.task.windows[1:]]

    # ------------------------------------------------------------------ the original's steps of `generate`

    @torch.no_grad()
    def _prepare_tokens_and_attributes(
        self,
        descriptions: Sequence[str | None],
        prompt: Tensor | None,
        melody_wavs: Sequence[Tensor | None] | None = None,
    ) -> tuple[list[ConditioningAttributes], Tensor | None]:
        """Return what the network is told of each row, and the codes [B, K, P] of `prompt`.

        Args:
            prompt: audio [B, C, N] to continue, at the model's sample rate, as each [C, N] of `melody_wavs` is.
        """
        # The seeds that `_generate_tokens` will draw next, so that plans are those of `generate`.
        with torch.random.fork_rng(devices=[]):
            request = self._request(tuple(descriptions))
        rate = self.sample_rate
        if prompt is not None:
            request = replace(request, prompt_audio=prompt, prompt_sample_rate=rate)
        if melody_wavs is not None:
            request = replace(request, reference_audio=tuple(melody_wavs), reference_sample_rate=rate)
        references.check(self.name, self.lm, request)
        seeds = draw_seeds(request)
        attributes, *_ = self._attributes(
            request, self._plans(request, seeds), self._scenes(request, seeds), seeds
        )
        return attributes, None if prompt is None else self._prompt_codes(request)

    def _generate_tokens(
        self,
        attributes: Sequence[ConditioningAttributes],
        prompt_tokens: Tensor | None,
        progress: bool = False,
    ) -> Tensor:
        """Return codes [B, K, T] of `duration` seconds, those of the prompt [B, K, P] first."""
        request = self._request((None,) * len(attributes))
        check_memory(self, request)
        prompt = self._prompt_codes(request) if prompt_tokens is None else prompt_tokens.to(self.device)
        if prompt.dim() != 3 or prompt.shape[:2] != (len(attributes), self.lm.num_codebooks):
            raise InvalidInput(
                f"prompt_tokens must be [{len(attributes)}, {self.lm.num_codebooks}, frames], got "
                f"{list(prompt.shape)}",
                field="prompt_tokens",
            )
        session = Session.open(draw_seeds(request), progress=self._reporter(progress))
        task = self._laid_out(request, prompt, attributes)
        return torch.cat(list(run_alone(windows.generation(self.lm, task, session))), dim=-1).clone()

    # ------------------------------------------------------------------ what the network is told

    def _task(
        self,
        request: GenerationRequest,
        seeds: Sequence[int],
        plans: Sequence[ScorePlan | None],
        scenes: Sequence[Scene | None],
    ) -> windows.TokenTask:
        if request.prompt_audio is not None and request.prompt_sample_rate is not None:
            # Before it is encoded, which takes seconds and gigabytes for a long one.
            seconds = windows.known_seconds(request)
            total = windows.frames_of(request.duration, self.frame_rate)
            _check_prompt(windows.frames_of(seconds, self.frame_rate), total, seconds, request)
        first, *later = self._attributes(request, plans, scenes, seeds)
        return self._laid_out(request, self._prompt_codes(request), first, later)

    def _laid_out(
        self,
        request: GenerationRequest,
        prompt: Tensor,
        attributes: Sequence[ConditioningAttributes],
        later: Sequence[Sequence[ConditioningAttributes]] = (),
    ) -> windows.TokenTask:
        """Return the task of a request whose prompt audio is codes [B, K, P], and whose prompts are conditions."""
        total = windows.frames_of(request.duration, self.frame_rate)
        known = prompt.shape[-1]
        _check_prompt(known, total, known / self.frame_rate, request)
        stride = (
            windows.stride_of(request.window.stride, self.max_duration) if self._is_long(request) else 0.0
        )
        changes = [round(second * self.frame_rate) for second, _ in request.schedule[1:]]
        return windows.TokenTask(
            attributes=attributes,
            later=tuple(zip(changes, later, strict=True)),
            windows=windows.plan_windows(
                total,
                context=min(total, int(self.max_duration * self.frame_rate + 1e-6)) if stride else total,
                # A piece of one window has no stride; where its schedule divides it, everything before is heard.
                stride=max(1, int(stride * self.frame_rate + 1e-6)),
                prompt=known,
                changes=changes,
            ),
            prompt=prompt,
            frame_rate=self.frame_rate,
            sampling=request.sampling,
            guidance=self.guidance_of(request),
            tones=self._tone_bound(request),
        )

    def _tone_bound(self, request: GenerationRequest) -> ToneBound | None:
        """Return how long a tone may last; sounds may ring as they do."""
        if request.longest_tone is None or not self.makes_music:
            return None
        return ToneBound(decoder=self.decoder, seconds=request.longest_tone, cardinality=self.lm.card)

    def _is_long(self, request: GenerationRequest) -> bool:
        return request.duration > self.max_duration + 1e-9

    def _plans(self, request: GenerationRequest, seeds: Sequence[int]) -> tuple[ScorePlan | None, ...]:
        if not self.takes_plans:
            if request.plans is not None and any(plan is not None for plan in request.plans):
                raise InvalidInput(f"model {self.name!r} takes no plans", field="plans")
            return (None,) * len(request.prompts)
        plans = request.plans
        if plans is None:
            plans = tuple(
                make_plan(
                    request.prompt_at(row, 0.0), duration=request.duration, seed=seed, score=request.score
                )
                for row, seed in enumerate(seeds)
            )
        return tuple(ended(plan, request) for plan in plans)

    def _scenes(self, request: GenerationRequest, seeds: Sequence[int]) -> tuple[Scene | None, ...]:
        """Return which sounds each row has and when, with models that are told."""
        kinds, rows = self.sound_kinds, range(len(request.prompts))
        given = [scene for scene in request.scenes or () if scene is not None]
        if kinds is None:
            if given:
                raise InvalidInput(
                    f"model {self.name!r} is not told which sounds are heard when: say it in the prompt",
                    field="scenes",
                )
            return (None,) * len(rows)
        for scene in given:
            kinds.check(scene)
            if scene.absent and not self._told_absences:
                raise InvalidInput(
                    f"model {self.name!r} is not told who does not play ({', '.join(scene.absent)}): deny it in the "
                    "prompt or by a negative prompt",
                    field="scenes",
                )
        if request.scenes is not None:
            return request.scenes
        starts = [second for second, _ in request.schedule] or [0.0]
        return tuple(
            read_piece(
                [(second, request.prompt_at(row, second)) for second in starts],
                kinds,
                duration=request.duration,
                seed=seeds[row],
                known=windows.known_seconds(request),
            ).scene
            for row in rows
        )

    def _attributes(
        self,
        request: GenerationRequest,
        plans: Sequence[ScorePlan | None],
        scenes: Sequence[Scene | None],
        seeds: Sequence[int],
    ) -> list[list[ConditioningAttributes]]:
        """Return what each row is conditioned on, for each entry of the schedule."""
        wavs = references.wav_conditions(
            self.lm, request, seeds=seeds, sample_rate=self.sample_rate, device=self.device
        )
        schedule, kinds = request.schedule or ((0.0, ""),), self.sound_kinds
        entries: list[list[ConditioningAttributes]] = [[] for _ in schedule]
        for row, (plan, scene, seed) in enumerate(zip(plans, scenes, seeds, strict=True)):
            over_time = plans_over_time(
                plan, schedule, duration=request.duration, seed=seed, score=request.score
            )
            for entry, (second, _), heard in zip(entries, schedule, over_time, strict=True):
                prompt, negative = self.words_at(request, row, second)
                attributes = ConditioningAttributes(
                    text={"description": prompt},
                    negative={"description": negative},
                    joint_embed=references.joint_embed_conditions(self.lm, prompt, self.device),
                )
                if self.takes_plans:
                    attributes.symbolic[PLAN] = SymbolicCondition(plan=ended(heard, request))
                if kinds is not None:
                    absent = absent_kinds(scene, prompt, negative, kinds) if self._told_absences else ()
                    told = (
                        replace(scene or Scene(duration=request.duration), absent=absent) if absent else scene
                    )
                    attributes.symbolic[SCENE] = SymbolicCondition(scene=told)
                    attributes.negative_symbolic |= _denied(negative, kinds, request.duration)
                if wavs:
                    attributes.wav[references.REFERENCE] = wavs[row]
                entry.append(attributes)
        return entries

    @torch.inference_mode()
    def _prompt_codes(self, request: GenerationRequest) -> Tensor:
        """Return the codes [B, K, P] of the audio to continue; P is 0 without any."""
        if request.prompt_audio is None or request.prompt_sample_rate is None:
            shape = (len(request.prompts), self.lm.num_codebooks, 0)
            return torch.zeros(shape, dtype=torch.long, device=self.device)
        audio = convert_audio(
            request.prompt_audio.float(), request.prompt_sample_rate, self.sample_rate, self.audio_channels
        )
        rows = []
        for row in audio.to(self.device).split(1):
            codes, scale = encode_audio(self.compression_model, row)
            if scale is not None:
                raise InvalidInput(
                    f"the codec of model {self.name!r} stores volumes, which cannot be continued",
                    field="prompt_audio",
                )
            rows.append(codes)
        return torch.cat(rows)


def _denied(words: str | None, kinds: SoundKinds, duration: float) -> dict[str, SymbolicCondition]:
    """Return the scene that guidance leads away from: the instruments that are denied, throughout. A model that is told
    who plays hears little of it in the words alone."""
    if not words or not kinds.are_instruments:
        return {}
    events = tuple(SceneEvent(kind=kind, start=0.0, end=duration) for kind in kinds.heard_in(words))
    return {SCENE: SymbolicCondition(scene=Scene(events=events, duration=duration))} if events else {}


def _check_prompt(frames: int, total: int, seconds: float, request: GenerationRequest) -> None:
    """Refuse audio to continue that fills the whole piece."""
    if frames >= total:
        raise InvalidInput(
            f"the prompt audio lasts {seconds:.2f} s; duration {request.duration:g} s must be longer, because it "
            "includes the prompt",
            field="duration",
        )


def refuse_masked(name: str, lm: LMModel) -> None:
    """Refuse a network that fills in what is masked where the next code is to be predicted."""
    if isinstance(lm, MagnetLMModel):
        raise InvalidInput(
            f"model {name!r} is a MAGNeT, which fills in what is masked; load it with load_model() or MAGNeT",
            field="lm",
        )
