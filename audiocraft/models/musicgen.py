"""MusicGen: what a prompt means for a model of music, and upstream's parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from audiocraft.errors import InvalidInput
from audiocraft.generation.request import Guidance, Sampling, Window
from audiocraft.generation.windows import DEFAULT_STRIDE
from audiocraft.models.genmodel import BaseGenModel, Defaults, Generated
from audiocraft.models.loaders import load_generator

MelodyList = list[Tensor | None]
MelodyType = Tensor | MelodyList


class MusicGen(BaseGenModel):
    """Music from text. See `BaseGenModel` for `run` and `stream`."""

    @staticmethod
    def get_pretrained(
        name: str = "facebook/musicgen-melody", device: str | torch.device | None = None
    ) -> MusicGen:
        """The model called `name`: "nano" travels with this package; folders and files of released models work too."""
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        codec, lm, config = load_generator(name, device=device)
        return MusicGen(str(name), codec, lm, max_duration=config.max_duration)

    def set_generation_params(  # type: ignore[override]
        self,
        use_sampling: bool = True,
        top_k: int = 250,
        top_p: float = 0.0,
        temperature: float = 1.0,
        duration: float = 30.0,
        cfg_coef: float = 3.0,
        cfg_coef_beta: float | None = None,
        two_step_cfg: bool = False,
        extend_stride: float = 18,
    ) -> None:
        """Set what later `generate*` calls use; `run` reads none of it."""
        if (
            duration > self.max_duration
            and extend_stride >= self.max_duration
            and extend_stride != DEFAULT_STRIDE
        ):
            raise InvalidInput(
                f"extend_stride {extend_stride:g} s must be shorter than the {self.max_duration:g} s "
                "that the model hears at once",
                field="extend_stride",
            )
        # The default suits models of 30 s; for shorter ones "as you like" is what its callers mean.
        stride = extend_stride if extend_stride < self.max_duration else None
        self.defaults = Defaults(
            duration=duration,
            sampling=Sampling(use_sampling=use_sampling, top_k=top_k, top_p=top_p, temperature=temperature),
            guidance=Guidance(coef=cfg_coef, coef_beta=cfg_coef_beta, two_step=two_step_cfg),
            window=Window(stride=stride),
        )

    def set_style_conditioner_params(
        self,
        eval_q: int = 3,
        excerpt_length: float = 3.0,
        ds_factor: int | None = None,
        encodec_n_q: int | None = None,
    ) -> None:
        """Settings of models that take a style; others refuse."""
        raise InvalidInput(f"model {self.name!r} takes no style excerpt", field="eval_q")

    def generate_with_chroma(
        self,
        descriptions: Sequence[str | None],
        melody_wavs: MelodyType,
        melody_sample_rate: int,
        progress: bool = False,
        return_tokens: bool = False,
    ) -> Generated:
        """Music that follows a melody, with models that take one; others refuse."""
        raise InvalidInput(
            f"model {self.name!r} takes no melody; use generate() for text alone", field="melody_wavs"
        )
