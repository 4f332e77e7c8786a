"""MAGNeT: music and sounds from text by filling in what is masked, and the original's parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.checkpoints.read import read
from audiocraft.config.magnet import MagnetConfig, MaskedDecodingConfig
from audiocraft.config.settings import RESCORER_WEIGHT
from audiocraft.errors import AudioCraftError, InvalidInput
from audiocraft.generation import masked
from audiocraft.generation.checks import check_switch, entries_of
from audiocraft.generation.computations import GenerationCoroutine, run_alone
from audiocraft.generation.passes import steps_at_once
from audiocraft.generation.request import (
    ChosenSampling,
    GenerationRequest,
    Guidance,
    MaskedSettings,
    Sampling,
)
from audiocraft.generation.session import Session
from audiocraft.generation.windows import DEFAULT_STRIDE, frames_of
from audiocraft.models.codecs.long_audio import encode_audio
from audiocraft.models.codecs.streaming_decode import AudioDecoder
from audiocraft.models.generator import (
    Estimate,
    GeneratorModel,
    PreparedRequest,
    audio_bytes,
    check_memory,
    draw_seeds,
)
from audiocraft.models.lm import LMModel
from audiocraft.models.lm_magnet import MagnetLMModel
from audiocraft.models.loaders import load_model
from audiocraft.models.token_model import TokenModel
from audiocraft.types import ConditioningAttributes

_ACTIVATIONS = 24  # vectors of a frame's width that a pass has at once, beside the logits


class MAGNeT(TokenModel):
    """This model makes music and sounds from text, all frames at once; any region of audio can be kept. See
    `BaseGenModel` for `run`, `stream` and the original's `generate*`, of which `generate` makes whole spans: 9.96 of 10
    seconds.

    Args:
        kwargs: those of `BaseGenModel`.
    """

    family = "magnet"
    default_stride = DEFAULT_STRIDE
    lm: MagnetLMModel

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(self.lm, MagnetLMModel):
            raise InvalidInput(
                f"model {self.name!r} predicts one code after the other; load it with load_model()",
                field="lm",
            )
        self.duration = self.max_duration
        config = MagnetConfig.select(self.cfg) if self.cfg is not None else MagnetConfig()
        self.decoding = config.decoding
        """How it fills in codes where a request does not say."""
        own = config.decoding
        self.set_generation_params(
            own.use_sampling, own.top_k, own.top_p, own.temp, own.max_cfg_coef, own.min_cfg_coef,
            own.decoding_steps, own.span_arrangement,
        )  # fmt: skip

    @staticmethod
    def get_pretrained(
        name: str = "facebook/magnet-small-10secs",
        device: str | torch.device | None = None,
        *,
        precision: str | None = "auto",
        quantize: str | None = None,
    ) -> MAGNeT:
        """Load the model called `name`; folders and files of released models work too. A name that leads to none
        raises CheckpointError.

        Args:
            precision: of the network's matrices: "auto", "fp32", "bf16", "fp16", and on a CPU "int8", "int4".
            quantize: another name for `precision`.
        """
        return MAGNeT._loaded(name, device, precision=precision, quantize=quantize)

    @property
    def makes_music(self) -> bool:
        return self.cfg is None or self.cfg.get("solver") != "audio_magnet"

    @property
    def fills_in(self) -> bool:
        return True

    @property
    def takes(self) -> frozenset[str]:
        return super().takes | {"keep"}

    def set_generation_params(  # type: ignore[override]
        self,
        use_sampling: bool = True,
        top_k: int = 0,
        top_p: float = 0.9,
        temperature: float = 3.0,
        max_cfg_coef: float = 10.0,
        min_cfg_coef: float = 1.0,
        decoding_steps: Sequence[int] = (20, 10, 10, 10),
        span_arrangement: str = "nonoverlap",
    ) -> None:
        """Set what later `generate*` calls use; `run` reads none of it.

        Args:
            temperature: of the first pass over a codebook; it falls to 0.
            max_cfg_coef, min_cfg_coef: strength of guidance while everything is masked, and when nothing is.
            decoding_steps: passes for each codebook; the last number holds for all further ones.
            span_arrangement: "nonoverlap" cuts the piece into spans, "stride1" lets one begin at every frame.
        """
        check_switch(use_sampling, "use_sampling")
        Sampling(use_sampling=use_sampling, top_k=top_k, top_p=top_p, temperature=temperature)
        Guidance(coef=max_cfg_coef)
        decoding_steps = entries_of(decoding_steps, "decoding_steps")
        MaskedSettings(
            steps=tuple(decoding_steps), span_arrangement=span_arrangement, least_guidance=min_cfg_coef
        ).steps_of(self.lm.n_q)
        self.generation_params = {
            "use_sampling": use_sampling,
            "top_k": top_k,
            "top_p": top_p,
            "temp": temperature,
            "max_cfg_coef": max_cfg_coef,
            "min_cfg_coef": min_cfg_coef,
            "decoding_steps": list(decoding_steps),
            "span_arrangement": span_arrangement,
        }

    def prepare(
        self,
        request: GenerationRequest,
        *,
        decoder: AudioDecoder | None = None,
        rescorer: GeneratorModel | None = None,
    ) -> PreparedRequest:
        """See `GeneratorModel.prepare`.

        Args:
            rescorer: the model that the request names as such, where it is loaded already.
        """
        name = request.masked.rescorer
        if name is not None and rescorer is None:
            rescorer = load_model(name, device=self.device)
        prepared = super().prepare(request, decoder=decoder)
        if name is None or rescorer is None:
            return prepared
        weight = request.masked.rescorer_weight
        judge = masked.Rescorer(
            lm=self._judge(name, rescorer), weight=RESCORER_WEIGHT if weight is None else weight
        )
        return replace(prepared, task=replace(prepared.task, rescorer=judge))

    def _judge(self, name: str, rescorer: GeneratorModel) -> LMModel:
        """Return the network of a rescorer; a refusal of one that does not predict this model's codes."""
        lm = getattr(rescorer, "lm", None)
        if not isinstance(lm, LMModel) or isinstance(lm, MagnetLMModel):
            raise InvalidInput(
                f"rescorer {name!r} predicts no codes one after the other; a MusicGen or AudioGen does",
                field="masked.rescorer",
            )
        own, other = (self.lm.num_codebooks, self.lm.card), (lm.num_codebooks, lm.card)
        if own != other or not math.isclose(rescorer.frame_rate, self.frame_rate, rel_tol=1e-6):
            raise InvalidInput(
                f"rescorer {name!r} predicts {other[0]} codebooks of {other[1]} codes, {rescorer.frame_rate:g} times a "
                f"second, and model {self.name!r} makes {own[0]} of {own[1]}, {self.frame_rate:g} times; it needs one "
                "that was trained on the same codec",
                field="masked.rescorer",
            )
        return lm

    def generation(self, prepared: PreparedRequest, session: Session) -> GenerationCoroutine:
        return masked.generation(self.lm, prepared.task, session)

    def estimate(self, request: GenerationRequest) -> Estimate:
        """Return rows for both branches of guidance; what one pass over a window needs, and the audio."""
        rows = 2 * len(request.prompts)
        frames = frames_of(min(request.duration, self.max_duration), self.frame_rate)
        lm = self.lm
        at_once = (
            steps_at_once(len(request.prompts), 2 * frames) if self.device.type == "cpu" else rows * frames
        )
        of_pass = at_once * (_ACTIVATIONS * lm.dim + 4 * lm.card) * 4
        return Estimate(rows, of_pass + self._judging_bytes(request) + audio_bytes(self, request))

    def _judging_bytes(self, request: GenerationRequest) -> int:
        """Return what a rescorer needs for a pass over a row; its weights are counted where models are loaded."""
        if request.masked.rescorer is None:
            return 0
        frames = frames_of(min(request.duration, self.max_duration), self.frame_rate)
        width = _width_of(request.masked.rescorer) or self.lm.dim
        return (frames + self.lm.n_q) * (_ACTIVATIONS * width + 4 * self.lm.n_q * self.lm.card) * 4

    # ------------------------------------------------------------------ the original's `generate`

    def _request(self, prompts: tuple[str | None, ...]) -> GenerationRequest:
        params = self.generation_params
        arrangement = params["span_arrangement"]
        frames = self.lm.whole_spans(int(self.duration * self.frame_rate + 1e-6), arrangement)
        return replace(
            self._seeded(prompts),
            duration=frames / self.frame_rate,
            sampling=Sampling(
                use_sampling=params["use_sampling"],
                top_k=params["top_k"],
                top_p=params["top_p"],
                temperature=params["temp"],
            ),
            guidance=Guidance(coef=params["max_cfg_coef"]),
            masked=MaskedSettings(
                steps=tuple(params["decoding_steps"]),
                span_arrangement=arrangement,
                least_guidance=params["min_cfg_coef"],
            ),
        )

    def _generate_tokens(
        self,
        attributes: Sequence[ConditioningAttributes],
        prompt_tokens: Tensor | None,
        progress: bool = False,
    ) -> Tensor:
        request = self._request((None,) * len(attributes))
        check_memory(self, request)
        prompt = self._prompt_codes(request) if prompt_tokens is None else prompt_tokens.to(self.device)
        session = Session.open(draw_seeds(request), progress=self._reporter(progress))
        task = self._laid_out(request, prompt, attributes)
        return torch.cat(list(run_alone(masked.generation(self.lm, task, session))), dim=-1).clone()

    # ------------------------------------------------------------------ what is filled in, and how

    def _laid_out(
        self,
        request: GenerationRequest,
        prompt: Tensor,
        attributes: Sequence[ConditioningAttributes],
        later: Sequence[Sequence[ConditioningAttributes]] = (),
    ) -> masked.MaskedTask:
        task = super()._laid_out(request, prompt, attributes, later)
        total, known = frames_of(request.duration, self.frame_rate), prompt.shape[-1]
        shape = (len(request.prompts), self.lm.num_codebooks, total)
        codes = torch.full(shape, masked.UNKNOWN, device=self.device)
        codes[..., :known] = prompt
        self._put_kept(codes, request)
        return masked.MaskedTask(
            attributes=task.attributes,
            windows=task.windows,
            prompt=task.prompt,
            frame_rate=task.frame_rate,
            sampling=task.sampling,
            guidance=task.guidance,
            later=task.later,
            codes=codes,
            decoding=self._decoding(request),
        )

    @torch.inference_mode()
    def _put_kept(self, codes: Tensor, request: GenerationRequest) -> None:
        """Put in the codes of every frame that a kept region reaches into."""
        if request.audio is None or request.audio_sample_rate is None:
            return
        audio = convert_audio(
            request.audio.float(), request.audio_sample_rate, self.sample_rate, self.audio_channels
        )
        last = int(request.keep[-1][1] * self.sample_rate) + self.sample_rate
        for row, sound in enumerate(audio[..., :last].to(self.device).split(1)):
            found, scale = encode_audio(self.compression_model, sound)
            if scale is not None:
                raise InvalidInput(
                    f"the codec of model {self.name!r} stores volumes, which cannot be kept", field="audio"
                )
            for start, end in request.keep:
                first = int(start * self.frame_rate + 1e-6)
                stop = min(frames_of(end, self.frame_rate), codes.shape[-1], found.shape[-1])
                codes[row, :, first:stop] = found[0, :, first:stop]
        if not bool((codes == masked.UNKNOWN).any()):
            raise InvalidInput("keep leaves no frame to make; keep a little less", field="keep")

    def _decoding(self, request: GenerationRequest) -> masked.Decoding:
        own: MaskedDecodingConfig = self.decoding
        asked = request.masked
        if request.guidance.coef_beta is not None:
            raise InvalidInput(
                "guidance beta weighs text against a melody or style, and this model takes neither",
                field="guidance.coef_beta",
            )
        if request.guidance.coef_plan is not None:
            raise InvalidInput(
                "guidance.coef_plan is for models that make one code after the other; a masked model follows all it is "
                "told equally",
                field="guidance.coef_plan",
            )
        if request.guidance.coef_negative is not None:
            raise InvalidInput(
                "guidance.coef_negative is for models that make one code after the other; a masked model leads all "
                "rows as far as guidance.coef says",
                field="guidance.coef_negative",
            )
        made_for = ChosenSampling(
            use_sampling=own.use_sampling, top_k=own.top_k, top_p=own.top_p, temperature=own.temp
        )
        sampling = request.sampling.settled(made_for)
        coef, least = request.guidance.coef, asked.least_guidance
        most = own.max_cfg_coef if coef is None else coef
        return masked.Decoding(
            steps=asked.steps_of(self.lm.num_codebooks, own.decoding_steps),
            span_arrangement=asked.span_arrangement or own.span_arrangement,
            sampling=replace(sampling, use_sampling=sampling.use_sampling and own.use_sampling),
            most_guidance=most,
            least_guidance=min(own.min_cfg_coef, most) if least is None else least,
            anneal=own.anneal_temp if asked.anneal is None else asked.anneal,
        )


def _width_of(name: str) -> int | None:
    """Return the width of the language model called `name`; None where its configuration does not say, or cannot be
    read, which loading it will say."""
    try:
        shape = read(name, kind="lm").config.get("transformer_lm") or {}
    except AudioCraftError:
        return None
    width = shape.get("dim")
    return width if isinstance(width, int) else None
