"""Stereo from a mono codec, each channel coded on its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from audiocraft.errors import InvalidInput
from audiocraft.models.codecs.encodec import CompressionModel, checked_codes
from audiocraft.quantization.base import QuantizedResult


@dataclass(slots=True)
class InterleavedState:
    """This record holds one stream: that of the mono codec, and a step whose right channel is still to come."""

    mono: Any
    waiting: Tensor | None = None  # [B, K, 0 or 1]


class InterleaveStereoCompressionModel(CompressionModel):
    """This codec makes stereo from a mono codec: both channels are coded on their own and their codes interleaved.

    codebooks (default)  K = left 0, right 0, left 1, right 1, ...
    per_timestep         T = left frame 0, right frame 0, left frame 1, ...
    """

    def __init__(self, model: CompressionModel, per_timestep: bool = False) -> None:
        super().__init__()
        if model.channels != 1:
            raise InvalidInput(
                f"stereo is interleaved from a mono codec; this one has {model.channels} channels",
                field="model",
            )
        self.model = model
        self.per_timestep = per_timestep

    @property
    def total_codebooks(self) -> int:
        """Return how many codebooks the mono codec has."""
        return self.model.total_codebooks

    @property
    def num_codebooks(self) -> int:
        """Return how many codebooks are in use after interleaving."""
        return self.model.num_codebooks if self.per_timestep else self.model.num_codebooks * 2

    def set_num_codebooks(self, n: int) -> None:
        """Use `n` codebooks of the mono codec for each channel."""
        self.model.set_num_codebooks(n)

    @property
    def num_virtual_steps(self) -> int:
        """Return how many steps one frame of the mono codec becomes."""
        return 2 if self.per_timestep else 1

    @property
    def frame_rate(self) -> float:
        """Return how many steps one second of audio has."""
        return self.model.frame_rate * self.num_virtual_steps

    @property
    def sample_rate(self) -> int:
        """Return the rate of its audio in Hz."""
        return self.model.sample_rate

    @property
    def channels(self) -> int:
        """Return how many channels of audio it encodes: always two."""
        return 2

    @property
    def cardinality(self) -> int:
        """Return how many codes a codebook has."""
        return self.model.cardinality

    def forward(self, x: Tensor) -> QuantizedResult:
        """Refuse to train: the mono codec is what trains."""
        raise InvalidInput("interleaved stereo is not trained; train the mono codec inside it", field="x")

    def encode(self, x: Tensor, *, num_codebooks: int | None = None) -> tuple[Tensor, Tensor | None]:
        """Encode x [B, 2, N] into interleaved codes and, where the codec renormalises, the volumes [B, 2].

        Args:
            num_codebooks: of the mono codec, for each channel.
        """
        if x.dim() != 3 or x.shape[1] != 2:
            raise InvalidInput(f"audio must be [batch, 2, samples]; got {tuple(x.shape)}", field="x")
        codes, scale = self.model.encode(x.flatten(0, 1).unsqueeze(1), num_codebooks=num_codebooks)
        pairs = codes.unflatten(0, (-1, 2))  # [B, 2, K, T]
        codes = (
            pairs.permute(0, 2, 3, 1).flatten(2) if self.per_timestep else pairs.transpose(1, 2).flatten(1, 2)
        )
        return codes, None if scale is None else scale.view(-1, 2)

    def get_left_right_codes(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Separate interleaved codes into those of the left and of the right channel, each [B, K, T]."""
        if self.per_timestep:
            return codes[..., 0::2], codes[..., 1::2]
        return codes[:, 0::2], codes[:, 1::2]

    def decode(self, codes: Tensor, scale: Tensor | None = None) -> Tensor:
        """Decode interleaved codes into audio [B, 2, N]."""
        codes = self._checked(codes)
        audio = self.model.decode(self._pairs(codes), None if scale is None else scale.reshape(-1, 1))
        return audio.view(len(codes), 2, audio.shape[-1])

    def init_decode_state(self, batch_size: int, *, first_frame: int = 0) -> InterleavedState:
        """Make a fresh state for `decode_step`, which the caller owns."""
        first = first_frame // self.num_virtual_steps
        return InterleavedState(self.model.init_decode_state(2 * batch_size, first_frame=first))

    def decode_step(self, codes: Tensor, state: InterleavedState, *, final: bool = False) -> Tensor:
        """Take the next interleaved codes [B, K, t] and return the samples [B, 2, n] that they settle."""
        codes = self._checked(codes, whole=False)
        if state.waiting is not None:
            codes = torch.cat([state.waiting, codes], dim=-1)
        whole = codes.shape[-1] // self.num_virtual_steps * self.num_virtual_steps
        state.waiting, codes = codes[..., whole:], codes[..., :whole]
        audio = self.model.decode_step(self._pairs(codes), state.mono, final=final)
        return audio.view(len(codes), 2, audio.shape[-1])

    @property
    def decode_delay(self) -> int:
        """Return the number of steps that must follow a step before `decode_step` has given all its samples."""
        return self.model.decode_delay * self.num_virtual_steps + self.num_virtual_steps - 1

    def _checked(self, codes: Tensor, *, whole: bool = True) -> Tensor:
        """Return codes of both channels, as `checked_codes` returns them.

        Args:
            whole: both channels of a frame must be there.
        """
        most = self.model.total_codebooks * (1 if self.per_timestep else 2)
        codes = checked_codes(codes, most, self.cardinality)
        if (self.per_timestep and whole and codes.shape[-1] % 2) or (
            not self.per_timestep and codes.shape[1] % 2
        ):
            what = "steps" if self.per_timestep else "codebooks"
            raise InvalidInput(
                f"codes must have an even number of {what}, for left and right; got {list(codes.shape)}",
                field="codes",
            )
        return codes

    def _pairs(self, codes: Tensor) -> Tensor:
        """Turn interleaved codes [B, ...] -> those of the mono codec [2 B, K, T], left and right alternating."""
        return torch.stack(self.get_left_right_codes(codes), dim=1).flatten(0, 1)

    def decode_latent(self, codes: Tensor) -> Tensor:
        """Refuse to decode a latent: two channels have two latents."""
        raise InvalidInput(
            "interleaved stereo has no single latent; split the codes with get_left_right_codes()",
            field="codes",
        )
