"""The batching engine of this process with everything else that a server wants of models: codecs."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.audio.files import encode_audio
from audiocraft.audio.tags import decoding_tags
from audiocraft.config.watermark import PROVENANCE
from audiocraft.engine.engine import Engine
from audiocraft.engine.model_cache import Loaded, ModelCache
from audiocraft.errors import ConfigError, InvalidInput
from audiocraft.generation.request import GenerationRequest
from audiocraft.models.codecs.encodec import CompressionModel
from audiocraft.models.generator import GeneratorModel
from audiocraft.models.watermarks.provenance import marked, provenance_mark
from audiocraft.server.worker.ports import (
    CodecFacts,
    Codes,
    EncodedFile,
    LoadedModel,
    Samples,
)

_CODECS_KEPT = 3
_WARM_SECONDS = 0.4


class LocalEngine(Engine):
    """An engine that also offers what `ModelsPort` asks for.

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
        self._codecs: OrderedDict[str, CompressionModel] = OrderedDict()

    @classmethod
    def create(
        cls, *, device: str = "cpu", max_bytes: int | None = None, rows: int = 16, watermark: bool = True
    ) -> LocalEngine:
        """An engine with an empty model cache; raises ConfigError where the device is not there.

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
        """The sample rate of a model's audio; the model is loaded for this."""
        return self.models.get(model).sample_rate

    def load(self, model: str) -> LoadedModel:
        """Load a model and warm it up, or find it loaded."""
        if all(entry.name != model for entry in self.loaded()):
            _warm_up(self.models.get(model))
        return next(entry for entry in self.loaded() if entry.name == model)

    def unload(self, model: str) -> bool:
        """Forget a model that nobody uses -> whether it was forgotten."""
        return bool(self.models.unload(model))

    def loaded(self) -> Sequence[LoadedModel]:
        """The generators in memory."""
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
        """What `codec` makes; it is loaded for this."""
        return _facts(self._codec(codec))

    def encode(self, codec: str, wav: Samples, sample_rate: int, codebooks: int | None) -> EncodedFile:
        """Turn audio [C, N] into codes; `codebooks` None takes all. Raises InvalidInput where there are fewer."""
        network = self._codec(codec)
        if codebooks is not None and not 1 <= codebooks <= network.total_codebooks:
            raise InvalidInput(
                f"codec {codec!r} has 1 to {network.total_codebooks} codebooks, not {codebooks}",
                field="codebooks",
            )
        audio = convert_audio(torch.from_numpy(wav)[None], sample_rate, network.sample_rate, network.channels)
        with torch.inference_mode():
            codes, scale = network.encode(audio.to(self.models.device), num_codebooks=codebooks)
        return EncodedFile(
            codes=codes[0].cpu().long().numpy(),
            scale=float(scale.reshape(-1)[0]) if scale is not None else None,
            codec=_facts(network),
            samples=audio.shape[-1],
        )

    def decode(self, codec: str, codes: Codes, scale: float | None, samples: int | None) -> bytes:
        """Turn codes [K, T] into the bytes of a WAV file, cut to `samples` where they are given. Raises InvalidInput
        where the codec has no such codes."""
        network = self._codec(codec)
        if not 1 <= codes.shape[0] <= network.total_codebooks:
            raise InvalidInput(
                f"codec {codec!r} has 1 to {network.total_codebooks} codebooks, not {codes.shape[0]}",
                field="codes",
            )
        if int(codes.min()) < 0 or int(codes.max()) >= network.cardinality:
            raise InvalidInput(
                f"codes of {codec!r} lie between 0 and {network.cardinality - 1}", field="codes"
            )
        device = self.models.device
        volume = torch.tensor([[scale]], device=device) if scale is not None else None
        with torch.inference_mode():
            audio = network.decode(torch.from_numpy(codes)[None].to(device), volume)[0].float().cpu()
        return self.decoded_file(codec, audio[:, :samples], network.sample_rate)

    def decoded_file(self, codec: str, audio: Tensor, sample_rate: int) -> bytes:
        """The bytes of a WAV file of audio [C, N] that a codec has made of codes, marked like all that goes out."""
        audio = marked(audio, sample_rate, self.watermark)
        return encode_audio(audio, sample_rate, "wav", tags=decoding_tags(codec))

    def _codec(self, name: str) -> CompressionModel:
        """A codec by its own name or by that of a model that speaks its codes; the last few stay in memory."""
        with self._codec_lock:
            codec = self._codecs.pop(name, None) or CompressionModel.get_pretrained(
                name, device=self.models.device
            )
            self._codecs[name] = codec
            while len(self._codecs) > _CODECS_KEPT:
                self._codecs.popitem(last=False)
        return codec


def _facts(codec: CompressionModel) -> CodecFacts:
    return CodecFacts(
        sample_rate=codec.sample_rate, channels=codec.channels, frame_rate=float(codec.frame_rate)
    )


def _warm_up(model: GeneratorModel) -> None:
    """Make a moment of sound: the first compiles kernels and packs weights, for which no listener should wait."""
    for _ in model.stream(GenerationRequest(prompts=(None,), duration=_WARM_SECONDS, seeds=(0,))):
        pass
