"""The original's interface, which its facades share: `set_generation_params` and `generate*`, on top of `run`."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from audiocraft.errors import InvalidInput
from audiocraft.generation.progress import Progress, ProgressCallback
from audiocraft.generation.request import GenerationRequest, Guidance, Sampling, WindowSettings
from audiocraft.models.codecs.encodec import CompressionModel
from audiocraft.models.generator import GeneratorModel, decode_rows
from audiocraft.types import StyleSettings

_UNSEEDED = 67280421310721  # what torch's generator starts from in every process

Generated = Tensor | tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Defaults:
    """What upstream's `set_generation_params` sets and `generate` reads; requests say it themselves."""

    duration: float
    sampling: Sampling = Sampling()
    guidance: Guidance = Guidance()
    window: WindowSettings = WindowSettings()
    style: StyleSettings | None = None


class BaseGenModel(GeneratorModel):
    """A network over the codes or latents of a codec.

    Args:
        name: for messages and records.
        max_duration: seconds that the network makes at once; longer pieces are made by windows.
    """

    lm: nn.Module

    def __init__(
        self,
        name: str,
        compression_model: CompressionModel,
        lm: nn.Module,
        max_duration: float | None = None,
    ) -> None:
        if max_duration is None:
            raise InvalidInput(
                f"model {name!r} needs max_duration, the seconds its language model hears at once; "
                "get_pretrained() knows it",
                field="max_duration",
            )
        self.name = name
        self.compression_model = compression_model.eval()
        self.lm = lm.eval()
        self.max_duration = max_duration
        self.device = next(iter(lm.parameters())).device
        self._progress_callback: Callable[[int, int], None] | None = None
        self.defaults = Defaults(duration=min(15.0, max_duration))

    @property
    def decoder(self) -> CompressionModel:
        return self.compression_model

    def modules(self) -> tuple[nn.Module, ...]:
        return (self.lm, self.compression_model)

    @property
    def duration(self) -> float:
        return self.defaults.duration

    @abstractmethod
    def set_generation_params(self, *args: object, **kwargs: object) -> None:
        """Set what `generate` uses."""

    def set_custom_progress_callback(
        self, progress_callback: Callable[[int, int], None] | None = None
    ) -> None:
        """Call `progress_callback(done, total)` after each step of later `generate` calls."""
        self._progress_callback = progress_callback

    def generate_unconditional(
        self, num_samples: int, progress: bool = False, return_tokens: bool = False
    ) -> Generated:
        """Audio [B, C, N] of `num_samples` pieces that nothing was asked of."""
        if num_samples < 1:
            raise InvalidInput(f"num_samples must be at least 1, got {num_samples}", field="num_samples")
        return self._generate(self._request((None,) * num_samples), progress, return_tokens)

    def generate(
        self, descriptions: Sequence[str | None], progress: bool = False, return_tokens: bool = False
    ) -> Generated:
        """Audio [B, C, N], one piece per description; with `return_tokens` also its codes [B, K, T]."""
        if isinstance(descriptions, str):
            raise InvalidInput("descriptions must be a list of texts, not one text", field="descriptions")
        return self._generate(self._request(tuple(descriptions)), progress, return_tokens)

    def generate_continuation(
        self,
        prompt: Tensor,
        prompt_sample_rate: int,
        descriptions: Sequence[str | None] | None = None,
        progress: bool = False,
        return_tokens: bool = False,
    ) -> Generated:
        """Audio that starts with `prompt` ([B, C, N], or [C, N] for one row) and goes on."""
        if prompt.dim() == 2:
            prompt = prompt[None]
        if prompt.dim() != 3:
            raise InvalidInput(
                f"prompt must be [rows, channels, samples] or [channels, samples], got {list(prompt.shape)}",
                field="prompt",
            )
        texts = (None,) * len(prompt) if descriptions is None else tuple(descriptions)
        request = replace(self._request(texts), prompt_audio=prompt, prompt_sample_rate=prompt_sample_rate)
        return self._generate(request, progress, return_tokens)

    def generate_audio(self, gen_tokens: Tensor) -> Tensor:
        """Codes [B, K, T] -> audio [B, C, N]."""
        if gen_tokens.dim() != 3:
            raise InvalidInput(
                f"tokens must be [rows, codebooks, frames], got {list(gen_tokens.shape)}", field="gen_tokens"
            )
        return decode_rows(self.decoder, gen_tokens).clone()

    def _request(self, prompts: tuple[str | None, ...]) -> GenerationRequest:
        settings = self.defaults
        return GenerationRequest(
            prompts=prompts,
            duration=settings.duration,
            seeds=_seeds_for_callers_of_generate(len(prompts)),
            sampling=settings.sampling,
            guidance=settings.guidance,
            window=replace(settings.window, level_anchor=False),  # as the original leaves it
            style=settings.style,
        )

    def _generate(self, request: GenerationRequest, progress: bool, return_tokens: bool) -> Generated:
        callback = self._progress_callback
        report: ProgressCallback | None = None
        if progress:
            report = _show_progress if callback is None else lambda event: callback(event.done, event.total)
        result = self.run(request, progress=report)
        if not return_tokens:
            return result.audio
        if result.codes is None:
            raise InvalidInput(f"model {self.name!r} makes no tokens", field="return_tokens")
        return result.audio, result.codes


def _seeds_for_callers_of_generate(rows: int) -> tuple[int, ...] | None:
    """Seeds from torch's global generator where the caller seeded it, as users of the original expect."""
    if torch.initial_seed() == _UNSEEDED:
        return None
    return tuple(int(seed) for seed in torch.randint(0, 2**31 - 1, (rows,), device="cpu"))


def _show_progress(event: Progress) -> None:
    end = "\n" if event.done == event.total else "\r"
    sys.stderr.write(f"{event.done:6d} / {event.total:6d}{end}")
    sys.stderr.flush()
