"""Codecs of other projects under upstream's names. Their networks are our own; `transformers` is not needed, but a
model that it holds already can be taken over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiocraft.checkpoints.families import family_called
from audiocraft.checkpoints.transformers.names import encodec_config_from_hf, encodec_from_hf
from audiocraft.config.networks import CompressionConfig
from audiocraft.errors import CheckpointError, InvalidInput
from audiocraft.models.builders import build_encodec
from audiocraft.models.codecs.dac import DACModel
from audiocraft.models.codecs.encodec import CompressionModel, EncodecModel
from audiocraft.models.loaders import load_compression_model
from audiocraft.quantization.base import QuantizedResult

_SHORT = "dac_"
"""What short names of published DAC models begin with, before what the original calls the model's type."""


class DAC(DACModel):
    """This is the released DAC at 16, 24 or 44.1 kHz; its weights are found as those of every model."""

    def __init__(self, model_type: str = "44khz") -> None:
        published = _published()
        if model_type not in published:
            raise InvalidInput(
                f"DAC {model_type!r} is not a choice; one of {', '.join(published)}", field="model_type"
            )
        loaded = load_compression_model(published[model_type])
        if not isinstance(loaded, DACModel):
            raise CheckpointError(f"{published[model_type]} holds a {type(loaded).__name__}, not a DAC model")
        super().__init__(loaded.encoder, loaded.decoder, loaded.quantizer, sample_rate=loaded.sample_rate)
        self.eval()


def load_dac(name: str | Path, device: torch.device | str = "cpu") -> CompressionModel:
    """Return the DAC called `name`; a published one by its short name is a `DAC`, as in the original."""
    for model_type in _published():
        if str(name) == _SHORT + model_type:
            return DAC(model_type).to(device)
    return load_compression_model(name, device=device)


def _published() -> dict[str, str]:
    """Return where the weights of each type of DAC model are published."""
    releases = family_called("dac").releases
    return {alias.removeprefix(_SHORT): made.repo for made in releases for alias in made.aliases}


class HFEncodecCompressionModel(CompressionModel):
    """This is EnCodec from a model of Hugging Face's `transformers`, whose weights are copied into our own network
    `model`.

    Any number of codebooks up to the highest bandwidth can be chosen, not only those of the listed bandwidths.

    Args:
        model: an EnCodec model of `transformers`, or an `EncodecModel`, which is wrapped as it is.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model if isinstance(model, EncodecModel) else _taken_over(model)

    @property
    def channels(self) -> int:
        """Return how many channels of audio it encodes: 1 or 2."""
        return self.model.channels

    @property
    def frame_rate(self) -> float:
        """Return how many frames one second of audio has."""
        return self.model.frame_rate

    @property
    def sample_rate(self) -> int:
        """Return the rate of its audio in Hz."""
        return self.model.sample_rate

    @property
    def cardinality(self) -> int:
        """Return how many codes a codebook has."""
        return self.model.cardinality

    @property
    def num_codebooks(self) -> int:
        """Return how many codebooks are in use unless a call says otherwise."""
        return self.model.num_codebooks

    @property
    def total_codebooks(self) -> int:
        """Return how many codebooks there are."""
        return self.model.total_codebooks

    def set_num_codebooks(self, n: int) -> None:
        """Use the first `n` codebooks from now on."""
        self.model.set_num_codebooks(n)

    def forward(self, x: Tensor, *, num_codebooks: int | None = None) -> QuantizedResult:
        """Send audio through the whole codec: `x` of the result is as long as x [B, C, N]."""
        return self.model.forward(x, num_codebooks=num_codebooks)

    def encode(self, x: Tensor, *, num_codebooks: int | None = None) -> tuple[Tensor, Tensor | None]:
        """Encode x [B, C, N] into codes [B, K, T] and, where the model renormalises, the volumes [B, n]."""
        return self.model.encode(x, num_codebooks=num_codebooks)

    def decode(self, codes: Tensor, scale: Tensor | None = None) -> Tensor:
        """Decode codes [B, K, T] into audio [B, C, N]."""
        return self.model.decode(codes, scale)

    def decode_latent(self, codes: Tensor) -> Tensor:
        """Look codes [B, K, T] up and return the quantised frames [B, D, T]."""
        return self.model.decode_latent(codes)

    def init_decode_state(self, batch_size: int, *, first_frame: int = 0) -> Any:
        """Make a fresh state for `decode_step`, which the caller owns."""
        return self.model.init_decode_state(batch_size, first_frame=first_frame)

    def decode_step(self, codes: Tensor, state: Any, *, final: bool = False) -> Tensor:
        """Take the next codes [B, K, t] and return the samples [B, C, n] that they settle."""
        return self.model.decode_step(codes, state, final=final)

    @property
    def decode_delay(self) -> int:
        """Return the number of frames that must follow a frame before `decode_step` has given all its samples."""
        return self.model.decode_delay

    @property
    def decode_memory(self) -> int:
        """Return how many frames before a frame its samples depend on."""
        return self.model.decode_memory

    @property
    def encode_reach(self) -> int | None:
        """Return how many samples on each side of a frame its codes depend on."""
        return self.model.encode_reach


def _taken_over(model: Any) -> EncodecModel:
    """Return our network with the weights of a `transformers` model."""
    to_dict = getattr(getattr(model, "config", None), "to_dict", dict)
    config: dict[str, Any] = to_dict()
    if config.get("model_type") != "encodec":
        raise InvalidInput(
            f"expected an EnCodec model of transformers or an EncodecModel, got {type(model).__name__}",
            field="model",
        )
    codec = build_encodec(CompressionConfig.select(encodec_config_from_hf(config)))
    codec.load_state_dict(encodec_from_hf(model.state_dict()))
    device: torch.device = next(model.parameters()).device
    return codec.to(device)
