"""JASCO: what a prompt, chords, drums and a melody mean for a flow, and upstream's parameters (Tal et al. 2024,
arXiv 2406.10970)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from audiocraft.checkpoints.facts import vocabulary_called
from audiocraft.checkpoints.families import family_called
from audiocraft.config.flow import FlowDecodingConfig
from audiocraft.errors import InvalidInput
from audiocraft.generation import flow, windows
from audiocraft.generation.checks import check_switch
from audiocraft.generation.computations import GenerationCoroutine, run_alone
from audiocraft.generation.controls import Controls
from audiocraft.generation.flow import FlowGuidance, FlowTask
from audiocraft.generation.looping import joined_loop
from audiocraft.generation.passes import steps_at_once
from audiocraft.generation.progress import ProgressCallback
from audiocraft.generation.request import FlowSettings, GenerationRequest, Guidance
from audiocraft.generation.session import Session
from audiocraft.models.codecs.encodec import CompressionModel
from audiocraft.models.codecs.latents import LatentCodec
from audiocraft.models.codecs.streaming_decode import AudioDecoder
from audiocraft.models.flow_audio import kept_latents, prompt_latents
from audiocraft.models.flow_conditions import (
    CHORD_MAP,
    check_matrix,
    chord_map_at,
    controls_of,
    drums_of,
    plans_of,
    symbolic_of,
)
from audiocraft.models.flow_matching import FlowMatchingModel, flow_settings
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
from audiocraft.models.genmodel import BaseGenModel, seeds_for_callers_of_generate, was_seeded
from audiocraft.models.loaders import load_flow
from audiocraft.modules.conditioners import ConditioningAttributes
from audiocraft.modules.conditioners.score import PLAN
from audiocraft.modules.jasco_conditioners import ChordsEmbConditioner, DrumsConditioner, MelodyConditioner
from audiocraft.modules.packing import precision_of
from audiocraft.music.planning import ScoreSettings, plans_over_time
from audiocraft.music.timed_chords import with_chords
from audiocraft.types import ScorePlan
from audiocraft.utils.devices import usable_device

_MAPS_BESIDE = ("chord_to_index_mapping.json", "chord_to_index_mapping.pkl")
_STRIDE = 0.6  # of the window: the rest is heard again by the next one
_ACTIVATIONS = 16  # vectors of a step's width that a pass has at once
_WORKING_SPACE = 64 * 2**20

Generated = Tensor | tuple[Tensor, Tensor]


class JASCO(BaseGenModel):
    """JASCO makes music from text, chords, drums and a melody, as latents of a codec; `run` is `BaseGenModel`'s.

    Args:
        chords_mapping_path: a map of chords to numbers, as JSON or as the pickle of the original.
        decoding: how the flow is followed where a request does not say; None: as suits any.
        kwargs: `name`, `compression_model`, `lm`, `max_duration` of `BaseGenModel`.
    """

    lm: FlowMatchingModel
    makes_codes = False
    takes_negative = True
    family = "jasco"
    default_stride = windows.DEFAULT_STRIDE

    def __init__(
        self,
        chords_mapping_path: str | Path = CHORD_MAP,
        *,
        latents: LatentCodec | None = None,
        decoding: FlowDecodingConfig | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.decoding = decoding or FlowDecodingConfig()
        self.latents = latents or _latents_of(self.compression_model, self.lm)
        self.chord_map = chord_map_at(chords_mapping_path)
        self.duration = self.max_duration
        known = self._conditioner(ChordsEmbConditioner)
        if known is not None and self.chord_map.card > known.card:
            raise InvalidInput(
                f"{chords_mapping_path} numbers {self.chord_map.card} chords, and model {self.name!r} knows "
                f"{known.card}; it is the map of another model",
                field="chords_mapping_path",
            )
        self.set_generation_params()

    @staticmethod
    def get_pretrained(
        name: str = "facebook/jasco-chords-drums-400M",
        device: str | torch.device | None = None,
        chords_mapping_path: str | Path = CHORD_MAP,
        *,
        precision: str | None = "auto",
    ) -> JASCO:
        """Load the model called `name`; folders and files of released models work too. A name that leads to none
        raises CheckpointError.

        Args:
            chords_mapping_path: a map of chords to numbers; a file of this name in the model's folder comes first where
                nothing else is said, and the released map last.
            precision: of the transformer's matrices: "auto" and "fp32", and on a CPU "bf16", "fp16", "int8", "int4".
        """
        released = family_called(JASCO.family).release(str(name))
        latents, lm, config = load_flow(
            name if released is None else released.repo, device=usable_device(device), precision=precision
        )
        beside = [Path(str(name)) / file for file in _MAPS_BESIDE] if Path(str(name)).is_dir() else []
        if str(chords_mapping_path) == CHORD_MAP and not Path(chords_mapping_path).is_file():
            chords_mapping_path = next((path for path in beside if path.is_file()), chords_mapping_path)
        model = JASCO(
            chords_mapping_path,
            latents=latents,
            decoding=config.decoding,
            name=str(name),
            compression_model=latents.codec,
            lm=lm,
            max_duration=config.max_duration,
        )
        model.vocabulary = vocabulary_called(name if released is None else released.repo)
        return model

    # ------------------------------------------------------------------ what every model tells

    @property
    def decoder(self) -> AudioDecoder:  # type: ignore[override]
        return self.latents

    @property
    def precision(self) -> str:
        return precision_of(self.lm, self.device)

    @property
    def makes_music(self) -> bool:
        return True

    @property
    def follows_flow(self) -> bool:
        return True

    @property
    def takes(self) -> frozenset[str]:
        kinds = {"chords": ChordsEmbConditioner, "drums": DrumsConditioner, "melody": MelodyConditioner}
        heard = {name for name, kind in kinds.items() if self._conditioner(kind) is not None}
        return super().takes | {"continuation", "keep", *heard}

    @property
    def takes_plans(self) -> bool:
        """Return whether the model is told tempo, bars and key too, frame by frame. The original's are not."""
        return PLAN in self.lm.condition_provider.conditioners

    def guidance_of(self, request: GenerationRequest) -> FlowGuidance:
        """Say how much each branch of guidance weighs, as asked or as suits this model."""
        asked = request.guidance
        return FlowGuidance(
            full=self.lm.cfg_coef if asked.coef is None else asked.coef,
            text=self.decoding.cfg_coef_txt if asked.coef_text is None else asked.coef_text,
        )

    def prepare(self, request: GenerationRequest, *, decoder: AudioDecoder | None = None) -> PreparedRequest:
        controls = self._checked(request)
        seeds = draw_seeds(request)
        plans = self._plans(request, controls, seeds)
        if request.loop and self.takes_plans:
            for name in controls.given:
                if name != "chords":  # those are in the plan, which begins a bar earlier
                    raise InvalidInput(
                        f"a loop follows chords; {name} would not be at their times", field=name
                    )
            known = replace(request, seeds=seeds, plans=plans, score=ScoreSettings(), controls=Controls())
            return replace(self.prepare(joined_loop(known), decoder=decoder), plans=plans)
        samples_of(request, self.sample_rate)  # refuses what is too short for any audio
        check_holds_a_frame(request, self.name, self.frame_rate)
        task = self._task(request, controls, plans, seeds)
        return self.ready(
            replace(request, score=ScoreSettings()),
            task,
            seeds=seeds,
            plans=plans,
            decoder=decoder,
            decode_whole=len(task.windows) == 1,
        )

    def generation(self, prepared: PreparedRequest, session: Session) -> GenerationCoroutine:
        return flow.generation(self.lm, prepared.task, session)

    def estimate(self, request: GenerationRequest) -> Estimate:
        """Estimate the rows of all branches of guidance, and the bytes of the activations of one window of them."""
        branches = sum(weight != 0 for weight in self.guidance_of(request).weights)
        frames = windows.frames_of(min(request.duration, self.max_duration), self.frame_rate)
        rows = branches * len(request.prompts)
        steps = rows * frames
        if self.device.type == "cpu":
            steps = steps_at_once(len(request.prompts), branches * frames)
        of_pass = 4 * steps * (_ACTIVATIONS * self.lm.dim)
        return Estimate(rows, of_pass + audio_bytes(self, request) + _WORKING_SPACE)

    # ------------------------------------------------------------------ the original's interface

    def set_generation_params(  # type: ignore[override]
        self, cfg_coef_all: float = 5.0, cfg_coef_txt: float = 0.0, **kwargs: Any
    ) -> None:
        """Set what later `generate*` calls use; `run` reads none of it.

        Args:
            cfg_coef_all: weight of what hears everything.
            cfg_coef_txt: weight of what hears the text alone.
            kwargs: `euler` to take `euler_steps` equal steps (100), else `ode_rtol` and `ode_atol` (1e-5) say how
                exactly the flow is followed.
        """
        params: dict[str, Any] = {"euler": False, "euler_steps": 100, "ode_rtol": 1e-5, "ode_atol": 1e-5}
        unknown = sorted(set(kwargs) - set(params))
        if unknown:
            raise InvalidInput(
                f"JASCO has no use for {', '.join(unknown)}; it takes cfg_coef_all, cfg_coef_txt, {', '.join(params)}",
                field=unknown[0],
            )
        params.update(kwargs)
        check_switch(params["euler"], "euler")
        flow_settings(**params)
        Guidance(coef=cfg_coef_all, coef_text=cfg_coef_txt)
        self.generation_params = {"cfg_coef_all": cfg_coef_all, "cfg_coef_txt": cfg_coef_txt, **params}

    def generate(
        self, descriptions: Sequence[str | None], progress: bool = False, return_latents: bool = False
    ) -> Generated:
        """Generate audio [B, C, N] of `duration` seconds, one piece per description; with `return_latents` also its
        latents [B, T, D]."""
        return self._made(self._request(_texts(descriptions)), progress, return_latents)

    def generate_unconditional(
        self, num_samples: int, progress: bool = False, return_latents: bool = False
    ) -> Generated:
        """Return audio [B, C, N] of `num_samples` pieces that nothing was asked of."""
        if isinstance(num_samples, bool) or not isinstance(num_samples, int) or num_samples < 1:
            raise InvalidInput(f"num_samples must be 1 or more, got {num_samples!r}", field="num_samples")
        return self._made(self._request((None,) * num_samples), progress, return_latents)

    def generate_music(
        self,
        descriptions: Sequence[str | None],
        drums_wav: Tensor | npt.NDArray[Any] | None = None,
        drums_sample_rate: int = 32000,
        chords: Sequence[tuple[str, float]] | None = None,
        melody_salience_matrix: Tensor | npt.NDArray[Any] | None = None,
        iopaint_wav: Tensor | None = None,
        segment_duration: float = 10.0,
        frame_rate: float = 50.0,
        melody_bins: int = 53,
        progress: bool = False,
        return_latents: bool = False,
    ) -> Generated:
        """Return audio [B, C, N] of `segment_duration` seconds that follows what is given; with `return_latents` also
        its latents [B, T, D].

        Args:
            drums_wav: [C, N] at `drums_sample_rate`, which may be a whole mix; a tensor or an array, as is the melody.
            chords: (symbol, second) in ascending order.
            melody_salience_matrix: [melody_bins, segment_duration x frame_rate].
            iopaint_wav: the original reads no such audio; it must be None.
        """
        if iopaint_wav is not None:
            raise InvalidInput("iopaint_wav is read by no model; leave it out", field="iopaint_wav")
        if melody_salience_matrix is not None:
            check_matrix(melody_salience_matrix, melody_bins, segment_duration * frame_rate)
        if getattr(drums_wav, "ndim", 0) == 3 and drums_wav is not None and len(drums_wav) == 1:
            drums_wav = drums_wav[0]
        controls = Controls(
            chords=tuple(chords or ()),
            drums=drums_wav,  # type: ignore[arg-type]  # arrays become tensors there
            drums_sample_rate=drums_sample_rate if drums_wav is not None else None,
            melody=melody_salience_matrix,  # type: ignore[arg-type]
            melody_frame_rate=frame_rate,
        )
        request = self._request(_texts(descriptions), duration=segment_duration, controls=controls)
        return self._made(request, progress, return_latents)

    def generate_audio(self, gen_latents: Tensor) -> Tensor:
        """Decode latents [B, T, D] into audio [B, C, N]."""
        if gen_latents.dim() != 3 or gen_latents.shape[-1] != self.latents.dimension:
            raise InvalidInput(
                f"latents must be [rows, frames, {self.latents.dimension}], got {list(gen_latents.shape)}",
                field="gen_latents",
            )
        with torch.no_grad():
            rows = gen_latents.to(self.device).transpose(1, 2).split(1)
            return torch.cat([self.latents.decode(row) for row in rows])

    def _request(
        self,
        prompts: tuple[str | None, ...],
        *,
        duration: float | None = None,
        controls: Controls | None = None,
    ) -> GenerationRequest:
        params = dict(self.generation_params)
        full, text = params.pop("cfg_coef_all"), params.pop("cfg_coef_txt")
        return GenerationRequest(
            prompts=prompts,
            duration=self.duration if duration is None else duration,
            guidance=Guidance(coef=full, coef_text=text),
            controls=controls or Controls(),
            flow=flow_settings(**params),
        )

    def _generate(self, request: GenerationRequest, progress: bool, return_tokens: bool) -> Generated:
        """Return what `generate_continuation` calls."""
        return self._made(request, progress, return_tokens)

    def _made(self, request: GenerationRequest, progress: bool, return_latents: bool) -> Generated:
        """Make the audio; where the caller seeded torch, the noise is what the original would have drawn."""
        check_memory(self, request)
        noise = None
        if was_seeded():
            frames = windows.frames_of(request.duration, self.frame_rate)
            noise = torch.randn(len(request.prompts), frames, self.latents.dimension, device="cpu")
        prepared = self.prepare(replace(request, seeds=seeds_for_callers_of_generate(len(request.prompts))))
        prepared = replace(prepared, task=replace(prepared.task, noise=noise))
        reporter: ProgressCallback | None = self._reporter(progress)
        session = Session.open(prepared.seeds, progress=reporter)
        made = torch.cat(list(run_alone(self.generation(prepared, session))), dim=-1).clone()
        audio = self._audio_of(prepared, made)
        return (audio, made.transpose(1, 2)) if return_latents else audio

    # ------------------------------------------------------------------ what the network is told

    def _conditioner(self, kind: type) -> Any:
        conditioners = self.lm.condition_provider.conditioners.values()
        return next((entry for entry in conditioners if isinstance(entry, kind)), None)

    def _followed(self, request: GenerationRequest) -> FlowSettings:
        """Return how the flow is followed, as asked or as suits this model. A step of Euler looks at the network
        once, so two of them are worth one of the others."""
        asked = request.flow
        own = self.decoding.flow_steps
        if asked.steps is not None or own == FlowDecodingConfig().flow_steps:
            return asked
        return replace(asked, steps=own * (2 if asked.solver == "euler" else 1))

    def _attributes(
        self,
        request: GenerationRequest,
        controls: Controls,
        plans: Sequence[ScorePlan | None],
        seeds: Sequence[int],
        frames: int,
    ) -> list[list[ConditioningAttributes]]:
        """Return what each row is told, for each entry of the schedule."""
        wav = drums_of(controls, self._conditioner(DrumsConditioner), self.device)
        schedule = request.schedule or ((0.0, ""),)
        entries: list[list[ConditioningAttributes]] = [[] for _ in schedule]
        for row, (plan, seed) in enumerate(zip(plans, seeds, strict=True)):
            over_time = plans_over_time(
                plan, schedule, duration=request.duration, seed=seed, score=request.score
            )
            for entry, (second, _), heard in zip(entries, schedule, over_time, strict=True):
                if controls.chords and plan is not None and heard is not None:
                    # Later words may name other chords; those that are given at their times stay, and their key.
                    heard = with_chords(replace(heard, key=plan.key), controls.chords)
                known = ended(heard, request)
                symbolic = symbolic_of(
                    controls, known, chord_map=self.chord_map, frame_rate=self.frame_rate, frames=frames
                )
                text, negative = self.words_at(request, row, second)
                entry.append(
                    ConditioningAttributes(
                        text={"description": text},
                        negative={"description": negative},
                        wav=dict(wav),
                        symbolic=symbolic,
                    )
                )
        return entries

    def _checked(self, request: GenerationRequest) -> Controls:
        """Return what `request` follows, or a refusal of what this model cannot follow."""
        controls = controls_of(
            request,
            name=self.name,
            takes_plans=self.takes_plans,
            melody=self._conditioner(MelodyConditioner),
        )
        for name in controls.given:
            if name not in self.takes:
                others = ", ".join(sorted(self.takes & {"chords", "drums", "melody"})) or "text alone"
                raise InvalidInput(f"model {self.name!r} takes no {name}; it takes {others}", field=name)
        asked = request.guidance
        if not {asked.coef_beta, asked.coef_negative, asked.coef_plan} <= {None}:
            raise InvalidInput(
                "guidance.coef_beta, coef_negative and coef_plan are for MusicGen; JASCO weighs text with coef_text",
                field="guidance",
            )
        if request.negative and self.guidance_of(request).weights[-1] == 0:
            raise InvalidInput(
                "this guidance compares with nothing, so it cannot lead away from a negative prompt; leave it out or "
                "change it",
                field="guidance.coef",
            )
        if request.style is not None:
            raise InvalidInput(f"model {self.name!r} takes no style", field="style")
        planned = request.plans is not None and any(plan is not None for plan in request.plans)
        if planned and not self.takes_plans:
            raise InvalidInput(
                f"model {self.name!r} takes no plans; it takes chords at their times (controls)",
                field="plans",
            )
        melody = self._conditioner(MelodyConditioner)
        if controls.melody is not None and controls.melody.shape[0] != melody.dim:
            raise InvalidInput(
                f"model {self.name!r} hears melodies of {melody.dim} pitches; this one is "
                f"{list(controls.melody.shape)}",
                field="melody",
            )
        return controls

    def _plans(
        self, request: GenerationRequest, controls: Controls, seeds: tuple[int, ...]
    ) -> tuple[ScorePlan | None, ...]:
        if not self.takes_plans:
            return (None,) * len(request.prompts)
        return tuple(ended(plan, request) for plan in plans_of(request, controls, seeds))

    def _task(
        self,
        request: GenerationRequest,
        controls: Controls,
        plans: Sequence[ScorePlan | None],
        seeds: Sequence[int],
    ) -> FlowTask:
        total = windows.frames_of(request.duration, self.frame_rate)
        prompt = prompt_latents(self.latents, request, total, self.device)
        known, kept = kept_latents(self.latents, request, total, self.device)
        context = min(total, int(self.max_duration * self.frame_rate + 1e-6))
        stride = request.window.stride or _STRIDE * self.max_duration
        if total > context:
            windows.stride_of(stride, self.max_duration)
        changes = [round(second * self.frame_rate) for second, _ in request.schedule[1:]]
        first, *later = self._attributes(request, controls, plans, seeds, total)
        return FlowTask(
            attributes=first,
            later=tuple(zip(changes, later, strict=True)),
            windows=windows.plan_windows(
                total,
                context=context,
                stride=min(context, max(1, int(stride * self.frame_rate + 1e-6))),
                prompt=prompt.shape[1],
                changes=changes,
            ),
            prompt=prompt,
            frame_rate=self.frame_rate,
            settings=self._followed(request),
            guidance=self.guidance_of(request),
            known=known,
            kept=kept,
        )


def _latents_of(codec: CompressionModel, lm: FlowMatchingModel) -> LatentCodec:
    """Return the codec of a model put together by hand, with the mean and deviation that its configuration names."""
    told: Mapping[str, Any] = lm.cfg or {}
    return LatentCodec(
        codec,
        float(told.get("compression_model_latent_mean") or 0.0),
        float(told.get("compression_model_latent_std") or 1.0),
    )


def _texts(descriptions: Any) -> tuple[str | None, ...]:
    if isinstance(descriptions, str) or not isinstance(descriptions, Iterable):
        raise InvalidInput(
            f"descriptions must be a list of texts, got {descriptions!r}", field="descriptions"
        )
    return tuple(descriptions)
