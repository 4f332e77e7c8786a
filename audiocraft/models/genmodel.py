"""The original's interface, which its facades share: `set_generation_params` and `generate*`, on top of `run`."""

from __future__ import annotations

import numbers
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from audiocraft.audio.pcm import checked_samples
from audiocraft.config.tree import ConfigTree
from audiocraft.errors import InvalidInput
from audiocraft.generation.checks import check_duration, check_switch
from audiocraft.generation.progress import Progress, ProgressCallback
from audiocraft.generation.request import GenerationRequest, Guidance, Sampling, WindowSettings, window_of
from audiocraft.models.codecs.encodec import CompressionModel
from audiocraft.models.generator import GeneratorModel, decode_rows
from audiocraft.music.denying import wording_of
from audiocraft.music.rewording import heard_words
from audiocraft.music.translating import model_words
from audiocraft.music.vocabulary import Vocabulary
from audiocraft.types import StyleSettings
from audiocraft.utils.autocast import TorchAutocast

_UNSEEDED = 67280421310721  # what torch's generator starts from in every process
# The original's names of what `generation_params` may hold, and the names that a request has for them.
_SAMPLING = {"use_sampling": "use_sampling", "top_k": "top_k", "top_p": "top_p", "temp": "temperature"}
_GUIDANCE = {"cfg_coef": "coef", "cfg_coef_beta": "coef_beta", "two_step_cfg": "two_step"}

Generated = Tensor | tuple[Tensor, Tensor]


class BaseGenModel(GeneratorModel):
    """This model is a network over the codes or latents of a codec, with the calls that users of the original know.

    `duration`, `extend_stride`, `generation_params` and `style` are what the original's `generate*` read, and may be
    set one by one as well; `run` reads none of them.

    Args:
        name: for messages and records.
        max_duration: seconds that the network makes at once; longer pieces are made by windows. None is what the
            configuration of the network says.
    """

    lm: nn.Module
    default_stride: ClassVar[float]
    """The original's `extend_stride` where nobody says another; a model that hears less chooses its own."""

    def __init__(
        self,
        name: str,
        compression_model: CompressionModel,
        lm: nn.Module,
        max_duration: float | None = None,
    ) -> None:
        configured = (getattr(lm, "cfg", None) or {}).get("dataset", {}).get("segment_duration")
        max_duration = configured if max_duration is None else max_duration
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
        self.vocabulary: Vocabulary | None = None
        self.duration = min(15.0, max_duration)
        self.extend_stride: float | None = None
        self.generation_params: dict[str, Any] = {}
        self.style: StyleSettings | None = None

    @property
    def decoder(self) -> CompressionModel:
        return self.compression_model

    def modules(self) -> tuple[nn.Module, ...]:
        return (self.lm, self.compression_model)

    @property
    def cfg(self) -> ConfigTree | None:
        """Return the configuration that came with the weights; None for a network that was built without any."""
        cfg: ConfigTree | None = getattr(self.lm, "cfg", None)
        return cfg

    @property
    def autocast(self) -> TorchAutocast:
        """Return what the network computes in, as a context for calls of `lm` itself; `generate*` enter it anyway."""
        dtype = getattr(self.lm, "half_dtype", None)
        enabled = self.device.type == "cuda" and dtype is not None
        return TorchAutocast(enabled, device_type=self.device.type, dtype=dtype)

    @autocast.setter
    def autocast(self, autocast: TorchAutocast) -> None:
        if autocast.enabled and self.device.type != "cuda":
            raise InvalidInput(
                f"autocast is for a GPU; on {self.device.type} load the model with get_pretrained(precision=...)",
                field="autocast",
            )
        self.lm.half_dtype = autocast.dtype if autocast.enabled else None  # type: ignore[assignment]

    def heard(self, text: str | None, request: GenerationRequest) -> str | None:
        """Return a prompt in the words that the model was taught. Adapters may have been taught any words, so with them
        it stays as it is."""
        if text is None or self.vocabulary is None or request.adapters:
            return text
        return heard_words(model_words(text), self.vocabulary)

    def words_at(self, request: GenerationRequest, row: int, second: float) -> tuple[str | None, str | None]:
        """Return what a row hears of its words from `second` on, and what guidance leads it away from."""
        wording = wording_of(request.prompt_at(row, second))
        denied = ", ".join(filter(None, (request.negative, *wording.denied)))
        return self.heard(wording.text, request) or None, self.heard(denied, request) or None

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
        """Return audio [B, C, N] of `num_samples` pieces that nothing was asked of."""
        if isinstance(num_samples, bool) or not isinstance(num_samples, numbers.Integral) or num_samples < 1:
            raise InvalidInput(f"num_samples must be 1 or more, got {num_samples!r}", field="num_samples")
        return self._generate(self._request((None,) * num_samples), progress, return_tokens)

    def generate(
        self, descriptions: Sequence[str | None], progress: bool = False, return_tokens: bool = False
    ) -> Generated:
        """Generate audio [B, C, N], one piece per description; with `return_tokens` also its codes [B, K, T]."""
        if isinstance(descriptions, str) or not isinstance(descriptions, Iterable):
            raise InvalidInput(
                f"descriptions must be a list of texts, got {descriptions!r}", field="descriptions"
            )
        return self._generate(self._request(tuple(descriptions)), progress, return_tokens)

    def generate_continuation(
        self,
        prompt: Tensor,
        prompt_sample_rate: int,
        descriptions: Sequence[str | None] | None = None,
        progress: bool = False,
        return_tokens: bool = False,
    ) -> Generated:
        """Return audio that starts with `prompt` ([B, C, N], or [C, N] for one row) and goes on."""
        if not isinstance(prompt, Tensor):
            prompt = checked_samples(prompt, "prompt")
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
        """Decode codes [B, K, T] into audio [B, C, N]."""
        gen_tokens = torch.as_tensor(gen_tokens, device=self.device)
        if gen_tokens.dim() != 3:
            raise InvalidInput(
                f"tokens must be [rows, codebooks, frames], got {list(gen_tokens.shape)}", field="gen_tokens"
            )
        return decode_rows(self.decoder, gen_tokens).clone()

    def _keep(self, duration: float, extend_stride: float, **params: Any) -> None:
        """Keep what `generate*` shall use, if all of it can be used."""
        if params.get("cfg_coef") is None:
            params["cfg_coef"] = getattr(self.lm, "cfg_coef", None)
        check_duration(duration)
        for name in ("use_sampling", "two_step_cfg"):
            check_switch(params[name], name)
        window_of(duration, extend_stride, self.max_duration, self.default_stride)
        _settings(params)
        self.duration, self.extend_stride, self.generation_params = duration, extend_stride, params

    def _request(self, prompts: tuple[str | None, ...]) -> GenerationRequest:
        sampling, guidance = _settings(self.generation_params)
        window = WindowSettings()
        if self.extend_stride is not None:
            window = window_of(self.duration, self.extend_stride, self.max_duration, self.default_stride)
        window = replace(window, level_anchor=False)  # as the original leaves it
        return replace(self._seeded(prompts), sampling=sampling, guidance=guidance, window=window)

    def _seeded(self, prompts: tuple[str | None, ...]) -> GenerationRequest:
        """Return a request for `prompts` with what no `set_generation_params` says."""
        return GenerationRequest(
            prompts=prompts,
            duration=self.duration,
            seeds=seeds_for_callers_of_generate(len(prompts)),
            style=self.style,
        )

    def _generate(self, request: GenerationRequest, progress: bool, return_tokens: bool) -> Generated:
        result = self.run(request, progress=self._reporter(progress))
        if not return_tokens:
            return result.audio
        if result.codes is None:
            raise InvalidInput(f"model {self.name!r} makes no tokens", field="return_tokens")
        return result.audio, result.codes

    def _reporter(self, progress: bool) -> ProgressCallback | None:
        """Return what is told of each step: the caller's own callback, or the terminal."""
        callback = self._progress_callback
        if not progress:
            return None
        return _show_progress if callback is None else lambda event: callback(event.done, event.total)


def _settings(params: Mapping[str, Any]) -> tuple[Sampling, Guidance]:
    """Return what `generation_params` say, checked."""
    unknown = sorted(set(params) - set(_SAMPLING) - set(_GUIDANCE))
    if unknown:
        known = ", ".join([*_SAMPLING, *_GUIDANCE])
        raise InvalidInput(
            f"generation_params has no use for {', '.join(unknown)}; it takes {known}",
            field="generation_params",
        )
    sampling, guidance = (
        {ours: params[theirs] for theirs, ours in names.items() if theirs in params}
        for names in (_SAMPLING, _GUIDANCE)
    )
    return Sampling(**sampling), Guidance(**guidance)


def seeds_for_callers_of_generate(rows: int) -> tuple[int, ...] | None:
    """Draw seeds from torch's global generator where the caller seeded it, as users of the original expect."""
    if not was_seeded():
        return None
    return tuple(int(seed) for seed in torch.randint(0, 2**31 - 1, (rows,), device="cpu"))


def was_seeded() -> bool:
    """Return whether the caller seeded torch's global generator."""
    return torch.initial_seed() != _UNSEEDED


def _show_progress(event: Progress) -> None:
    end = "\n" if event.done == event.total else "\r"
    sys.stderr.write(f"{event.done:6d} / {event.total:6d}{end}")
    sys.stderr.flush()
