"""AudioGen: sounds from text, and upstream's parameters."""

from __future__ import annotations

import torch

from audiocraft.errors import InvalidInput
from audiocraft.models import debug
from audiocraft.models.builders import get_debug_compression_model
from audiocraft.models.codecs.encodec import CompressionModel
from audiocraft.models.lm import LMModel
from audiocraft.models.loaders import load_lm, one_precision
from audiocraft.models.token_model import TokenModel, refuse_masked
from audiocraft.utils.devices import usable_device

MELODY = "self_wav"
"""The condition of models that listen to a melody, which AudioGen refuses."""

_DEFAULT_STRIDE = 2
_RATE = 16000
"""Of the released models."""


class AudioGen(TokenModel):
    """This model makes sounds from text. See `BaseGenModel` for `run`, `stream` and upstream's `generate*`."""

    family = "audiogen"
    default_stride = _DEFAULT_STRIDE

    def __init__(
        self, name: str, compression_model: CompressionModel, lm: LMModel, max_duration: float | None = None
    ) -> None:
        super().__init__(name, compression_model, lm, max_duration)
        refuse_masked(name, lm)
        if MELODY in lm.condition_provider.conditioners:
            raise InvalidInput(
                f"model {name!r} takes a melody; load it with MusicGen, AudioGen is told by text alone",
                field="lm",
            )
        self.set_generation_params(duration=5.0)

    @staticmethod
    def get_pretrained(
        name: str = "facebook/audiogen-medium",
        device: str | torch.device | None = None,
        *,
        precision: str | None = "auto",
        quantize: str | None = None,
    ) -> AudioGen:
        """Load the model called `name`: "nano" travels with this package, and folders and files of released models
        work too. A name that leads to no model of sounds raises CheckpointError.

        Args:
            precision: of the language model's matrices: "auto", "fp32", "bf16", "fp16", and on a CPU "int8", "int4".
            quantize: another name for `precision`.
        """
        if name == debug.NAME:
            place, config = usable_device(device), debug.lm_config(_RATE)
            codec = get_debug_compression_model(place, _RATE)
            lm, _ = load_lm(name, device=place, precision=one_precision(precision, quantize))
            return AudioGen(name, codec, lm, max_duration=config.max_duration)
        return AudioGen._loaded(name, device, precision=precision, quantize=quantize)

    def set_generation_params(  # type: ignore[override]
        self,
        use_sampling: bool = True,
        top_k: int = 250,
        top_p: float = 0.0,
        temperature: float = 1.0,
        duration: float = 10.0,
        cfg_coef: float | None = None,
        two_step_cfg: bool = False,
        extend_stride: float = _DEFAULT_STRIDE,
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
        )
