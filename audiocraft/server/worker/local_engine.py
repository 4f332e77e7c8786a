"""The batching engine of this process with everything else that a server wants of models: codecs."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from audiocraft.audio.files import encode_audio
from audiocraft.audio.tags import decoding_tags
from audiocraft.codec.known import KnownCodec
from audiocraft.config.limits import PROVENANCE
from audiocraft.engine.engine import Engine
from audiocraft.engine.model_cache import Loaded, ModelCache
from audiocraft.errors import ConfigError
from audiocraft.generation.progress import ProgressCallback
from audiocraft.generation.request import GenerationRequest
from audiocraft.models.generator import GeneratorModel
from audiocraft.models.watermarks.provenance import marked, provenance_mark
from audiocraft.server.worker import coding
from audiocraft.server.worker.ports import (
    AcxAudio,
    AcxBounds,
    AcxFacts,
    AcxOptions,
    CodecFacts,
    Codes,
    EncodedFile,
    LoadedModel,
    Samples,
)
from audiocraft.server.worker.studio.shared_model import SharedModel

_CODECS_KEPT = 3
_WARM_SECONDS = 0.4


class LocalEngine(Engine):
    """This engine also offers what `ModelsPort` asks for.

    Args:
        models: the cache of generators. Codecs that routes name are kept beside it, the last few.
        rows: jobs that a worker holds at a time. Jobs wait in the database, where they are ordered; the engine's own
            queue only holds what the worker has handed over, so it never refuses one.
        watermark: the name of what marks all audio that is made; None: nothing does.
    """

    watermark: str | None = PROVENANCE

    def __init__(self, models: ModelCache, *, rows: int = 16, watermark: str | None = PROVENANCE) -> None:
        super().__init__(models, max_rows=2 * rows, max_queue=4 * rows)
        self.watermark = watermark
        self._codec_lock = threading.Lock()
        self._codecs: OrderedDict[str, KnownCodec] = OrderedDict()

    @classmethod
    def create(
        cls, *, device: str = "cpu", max_bytes: int | None = None, rows: int = 16, watermark: bool = True
    ) -> LocalEngine:
        """Return an engine with an empty model cache; raises ConfigError where the device is not there.

        Args:
            max_bytes: the memory that models may take together; None leaves it to what the machine has.
            watermark: mark all audio that is made.
        """
        if device != "cpu" and not torch.cuda.is_available():
            raise ConfigError(f"device {device!r} cannot be used here: torch sees no GPU")
        if watermark:
            provenance_mark()  # what is missing is said now, and not by the first piece
        models = ModelCache(device=device, max_bytes=max_bytes)
        return cls(models, rows=rows, watermark=PROVENANCE if watermark else None)

    # ------------------------------------------------------------------ generators

    def sample_rate(self, model: str) -> int:
        """Return the sample rate of a model's audio; the model is loaded for this."""
        return self.models.get(model).sample_rate

    def shared(
        self, model: str, *, priority: int = 0, watch: ProgressCallback | None = None
    ) -> GeneratorModel:
        """Return a model for workflows: what they run on it, this engine makes. It is loaded for this.

        Args:
            watch: told the progress of what is run without a callback of its own.
        """
        return SharedModel(self, model, self.models.get(model), priority=priority, watch=watch)

    def load(self, model: str) -> LoadedModel:
        """Load a model and warm it up, or find it loaded."""
        if all(entry.name != model for entry in self.loaded()):
            _warm_up(self.models.get(model))
        return next(entry for entry in self.loaded() if entry.name == model)

    def unload(self, model: str) -> bool:
        """Forget a model that nobody uses -> whether it was forgotten."""
        return bool(self.models.unload(model))

    def loaded(self) -> Sequence[LoadedModel]:
        """Return the generators in memory."""
        return [self._described(entry) for entry in self.models.loaded()]

    def _described(self, entry: Loaded) -> LoadedModel:
        model = self.models.get(entry.name)
        return LoadedModel(
            name=entry.name,
            bytes=entry.bytes,
            in_use=entry.in_use,
            loaded_at=entry.loaded_at,
            sample_rate=model.sample_rate,
            channels=model.audio_channels,
        )

    # ------------------------------------------------------------------ codecs

    def codec_facts(self, codec: str) -> CodecFacts:
        """Return what `codec` makes; it is loaded for this."""
        return coding.facts_of(self._codec(codec).codec)

    def encode(self, codec: str, wav: Samples, sample_rate: int, codebooks: int | None) -> EncodedFile:
        """Turn audio [C, N] into codes; `codebooks` None takes all. Raises InvalidInput where there are fewer."""
        return coding.codes_of(self._codec(codec).codec, wav, sample_rate, codebooks)

    def decode(self, codec: str, codes: Codes, scale: Sequence[float] | None, samples: int | None) -> bytes:
        """Turn codes [K, T] into the bytes of a WAV file, cut to `samples` where they are given. Raises InvalidInput
        where the codec has no such codes."""
        audio, rate = coding.audio_of(self._codec(codec).codec, codec, codes, scale, samples)
        return self.decoded_file(codec, audio, rate)

    def decoded_file(self, codec: str, audio: Tensor, sample_rate: int) -> bytes:
        """Return the bytes of a WAV file of audio [C, N] that a codec has made of codes, marked like all that goes
        out."""
        audio = marked(audio, sample_rate, self.watermark)
        return encode_audio(audio, sample_rate, "wav", tags=decoding_tags(codec))

    def write_acx(self, codec: str, source: Path, target: Path, options: AcxOptions) -> AcxFacts:
        """Write an audio file as an .acx file."""
        return coding.write_acx(self._codec(codec), source, target, options)

    def read_acx(
        self, codec: str, source: Path, target: Path, bounds: AcxBounds, codebooks: int | None = None
    ) -> AcxAudio:
        """Write the audio of an .acx file, as WAV, which is marked like all that goes out, or as raw samples."""
        return coding.read_acx(self._codec(codec), source, target, bounds, codebooks, self.watermark)

    def _codec(self, name: str) -> KnownCodec:
        """Return a codec by its own name or by that of a model that speaks its codes; the last few stay in memory."""
        with self._codec_lock:
            codec = self._codecs.pop(name, None) or KnownCodec.load(name, device=self.models.device)
            self._codecs[name] = codec
            while len(self._codecs) > _CODECS_KEPT:
                self._codecs.popitem(last=False)
        return codec


def _warm_up(model: GeneratorModel) -> None:
    """Make a moment of sound: the first compiles kernels and packs weights, for which no listener should wait."""
    for _ in model.stream(GenerationRequest(prompts=(None,), duration=_WARM_SECONDS, seeds=(0,))):
        pass
