"""MusicGen: what a prompt means for a model of music, and upstream's parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from audiocraft.audio.pcm import checked_samples
from audiocraft.errors import InvalidInput
from audiocraft.generation.windows import DEFAULT_STRIDE
from audiocraft.models.codecs.encodec import CompressionModel
from audiocraft.models.genmodel import Generated
from audiocraft.models.lm import LMModel
from audiocraft.models.references import listener
from audiocraft.models.token_model import TokenModel, refuse_masked
from audiocraft.modules.conditioners import StyleConditioner
from audiocraft.types import StyleSettings

MelodyList = list[Tensor | None]
MelodyType = Tensor | MelodyList


class MusicGen(TokenModel):
    """This model makes music from text, and where it listens, from a melody or a style. See `BaseGenModel` for `run`
    and `stream`."""

    family = "musicgen"
    default_stride = DEFAULT_STRIDE

    def __init__(
        self, name: str, compression_model: CompressionModel, lm: LMModel, max_duration: float | None = None
    ) -> None:
        super().__init__(name, compression_model, lm, max_duration)
        refuse_masked(name, lm)
        self.set_generation_params(duration=self.duration)

    @staticmethod
    def get_pretrained(
        name: str = "facebook/musicgen-melody",
        device: str | torch.device | None = None,
        *,
        precision: str | None = "auto",
        quantize: str | None = None,
    ) -> MusicGen:
        """Load the model called `name`: "nano" travels with this package, and folders and files of released models
        work too. A name that leads to no model of music raises CheckpointError.

        Args:
            precision: of the language model's matrices: "auto", "fp32", "bf16", "fp16", and on a CPU "int8", "int4".
            quantize: another name for `precision`.
        """
        return MusicGen._loaded(name, device, precision=precision, quantize=quantize)

    def set_generation_params(  # type: ignore[override]
        self,
        use_sampling: bool = True,
        top_k: int = 250,
        top_p: float = 0.0,
        temperature: float = 1.0,
        duration: float = 30.0,
        cfg_coef: float | None = None,
        cfg_coef_beta: float | None = None,
        two_step_cfg: bool = False,
        extend_stride: float = 18,
    ) -> None:
        """Set what later `generate*` calls use; `run` reads none of it.

        Args:
            cfg_coef: strength of guidance; None is what the model was made for, which is 3.0 for all released ones.
        """
        self._keep(
            duration,
            extend_stride,
            use_sampling=use_sampling,
            temp=temperature,
            top_k=top_k,
            top_p=top_p,
            cfg_coef=cfg_coef,
            two_step_cfg=two_step_cfg,
            cfg_coef_beta=cfg_coef_beta,
        )

    def set_style_conditioner_params(
        self,
        eval_q: int = 3,
        excerpt_length: float = 3.0,
        ds_factor: int | None = None,
        encodec_n_q: int | None = None,
    ) -> None:
        """Set how later `generate*` calls read a style; `run` reads none of it. Others than style models refuse."""
        conditioner = listener(self.lm)
        if not isinstance(conditioner, StyleConditioner):
            raise InvalidInput(
                f"model {self.name!r} takes no style excerpt; facebook/musicgen-style does", field="eval_q"
            )
        style = StyleSettings(
            eval_q=eval_q, excerpt_length=excerpt_length, ds_factor=ds_factor, encodec_n_q=encodec_n_q
        )
        conditioner.set_params(eval_q, excerpt_length, ds_factor, encodec_n_q)
        self.style = style

    def generate_with_chroma(
        self,
        descriptions: Sequence[str | None],
        melody_wavs: MelodyType,
        melody_sample_rate: int,
        progress: bool = False,
        return_tokens: bool = False,
    ) -> Generated:
        """Return music that follows a melody, or imitates a style, as the model does; models without either refuse.

        Args:
            melody_wavs: [B, C, N], [C, N] for one row, or a list with [C, N] or None for each row.
        """
        if not isinstance(melody_wavs, Tensor | list | tuple):
            melody_wavs = checked_samples(melody_wavs, "melody_wavs")
        if isinstance(melody_wavs, Tensor) and melody_wavs.dim() == 2:
            melody_wavs = melody_wavs[None]
        if isinstance(melody_wavs, Tensor) and melody_wavs.dim() != 3:
            raise InvalidInput(
                f"melody_wavs must be [rows, channels, samples], got {list(melody_wavs.shape)}",
                field="melody_wavs",
            )
        request = replace(
            self._request(tuple(descriptions)),
            reference_audio=tuple(melody_wavs),
            reference_sample_rate=melody_sample_rate,
        )
        return self._generate(request, progress, return_tokens)
