"""What the server asks of an engine, and the engine of `workflows` behind it. Tests put a small fake in its place."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.engine.engine import Engine
from audiocraft.engine.model_cache import Loaded, ModelCache
from audiocraft.errors import InvalidInput
from audiocraft.generation.events import Event
from audiocraft.generation.request import GenerationRequest
from audiocraft.models.encodec import CompressionModel
from audiocraft.models.generator import GeneratorModel

_CODECS_KEPT = 3
_WARM_SECONDS = 0.4

OnEvent = Callable[[Event], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedModel:
    """A model in memory."""

    name: str
    bytes: int
    in_use: int
    loaded_at: float
    sample_rate: int
    channels: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """Audio as codes [K, T], with the volume that codecs with renormalisation keep."""

    codes: Tensor
    scale: float | None
    sample_rate: int
    channels: int
    frame_rate: float
    samples: int


class TicketPort(Protocol):
    """A request that was accepted."""

    def cancel(self) -> None:
        """Stop it before its next step."""


class ModelsPort(Protocol):
    """What routes want of models, wherever those are."""

    def frame_rate(self, codec: str) -> float:
        """Code frames a second of a codec."""

    def load(self, model: str) -> LoadedModel:
        """Load a model, or find it loaded."""

    def unload(self, model: str) -> bool:
        """Forget a model that nobody uses; whether it was forgotten."""

    def loaded(self) -> Sequence[LoadedModel]:
        """The models in memory."""

    def encode(self, model: str, wav: Tensor, rate: int, codebooks: int | None) -> Encoded:
        """wav [C, N] -> codes."""

    def decode(self, model: str, codes: Tensor, scale: float | None) -> tuple[Tensor, int]:
        """codes [K, T] -> (wav [C, N], sample rate)."""

    def close(self, drain: bool = True) -> None:
        """Accept nothing more and end: after what runs, or without `drain` at once."""


class EnginePort(ModelsPort, Protocol):
    """Models that make pieces in this process."""

    def submit(
        self,
        request: GenerationRequest,
        *,
        model: str,
        on_event: OnEvent,
        priority: int = 0,
        stream: bool = False,
    ) -> TicketPort:
        """Start a request; its events come in order, from a thread of the engine."""

    def sample_rate(self, model: str) -> int:
        """Of the audio of a model that is loaded."""


class LocalEngine:
    """An EnginePort over the batching engine and the model cache of this process."""

    def __init__(self, engine: Engine, models: ModelCache) -> None:
        self._engine = engine
        self._models = models
        self._lock = threading.Lock()
        self._codecs: OrderedDict[str, CompressionModel] = OrderedDict()

    @classmethod
    def create(cls, *, device: str = "cpu", max_bytes: int | None = None, rows: int = 16) -> LocalEngine:
        """An engine of its own, with an empty model cache."""
        models = ModelCache(device=device, max_bytes=max_bytes)
        # Jobs wait in the database, where they are ordered; the engine's queue only holds what a worker handed over.
        return cls(Engine(models, max_rows=2 * rows, max_queue=4 * rows), models)

    def submit(
        self,
        request: GenerationRequest,
        *,
        model: str,
        on_event: OnEvent,
        priority: int = 0,
        stream: bool = False,
    ) -> TicketPort:
        return self._engine.submit(request, model=model, on_event=on_event, priority=priority, stream=stream)

    @staticmethod
    def _warm(model: GeneratorModel) -> None:
        """Make a moment of sound: the first compiles kernels and packs weights, for which no listener should wait."""
        for _ in model.stream(GenerationRequest(prompts=(None,), duration=_WARM_SECONDS, seeds=(0,))):
            pass

    def sample_rate(self, model: str) -> int:
        return self._models.get(model).sample_rate

    def frame_rate(self, codec: str) -> float:
        return float(self._codec(codec).frame_rate)

    def load(self, model: str) -> LoadedModel:
        if all(entry.name != model for entry in self.loaded()):
            self._warm(self._models.get(model))
        return next(entry for entry in self.loaded() if entry.name == model)

    def unload(self, model: str) -> bool:
        return bool(self._models.unload(model))

    def loaded(self) -> Sequence[LoadedModel]:
        return [self._described(entry) for entry in self._models.loaded()]

    def encode(self, model: str, wav: Tensor, rate: int, codebooks: int | None) -> Encoded:
        codec = self._codec(model)
        if codebooks is not None and not 1 <= codebooks <= codec.total_codebooks:
            raise InvalidInput(
                f"codec {model!r} has 1 to {codec.total_codebooks} codebooks, not {codebooks}",
                field="codebooks",
            )
        audio = convert_audio(wav[None].float(), rate, codec.sample_rate, codec.channels)
        with torch.inference_mode():
            codes, scale = codec.encode(audio.to(self._models.device), num_codebooks=codebooks)
        return Encoded(
            codes=codes[0].cpu(),
            scale=float(scale.reshape(-1)[0]) if scale is not None else None,
            sample_rate=codec.sample_rate,
            channels=codec.channels,
            frame_rate=float(codec.frame_rate),
            samples=audio.shape[-1],
        )

    def decode(self, model: str, codes: Tensor, scale: float | None) -> tuple[Tensor, int]:
        codec = self._codec(model)
        if not 1 <= codes.shape[0] <= codec.total_codebooks:
            raise InvalidInput(
                f"codec {model!r} has 1 to {codec.total_codebooks} codebooks, not {codes.shape[0]}",
                field="codes",
            )
        if int(codes.min()) < 0 or int(codes.max()) >= codec.cardinality:
            raise InvalidInput(f"codes of {model!r} lie between 0 and {codec.cardinality - 1}", field="codes")
        volume = torch.tensor([[scale]], device=self._models.device) if scale is not None else None
        with torch.inference_mode():
            audio = codec.decode(codes[None].to(self._models.device), volume)
        return audio[0].float().cpu(), codec.sample_rate

    def close(self, drain: bool = True) -> None:
        self._engine.close(drain=drain)

    def _described(self, entry: Loaded) -> LoadedModel:
        model = self._models.get(entry.name)
        return LoadedModel(
            name=entry.name,
            bytes=entry.bytes,
            in_use=entry.in_use,
            loaded_at=entry.loaded_at,
            sample_rate=model.sample_rate,
            channels=model.audio_channels,
        )

    def _codec(self, name: str) -> CompressionModel:
        """A codec by its own name or by that of a model that speaks its codes; the last few stay in memory."""
        with self._lock:
            codec = self._codecs.pop(name, None) or CompressionModel.get_pretrained(
                name, device=self._models.device
            )
            self._codecs[name] = codec
            while len(self._codecs) > _CODECS_KEPT:
                self._codecs.popitem(last=False)
        return codec
