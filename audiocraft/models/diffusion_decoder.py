"""A diffusion decoder in the place of a codec's own: it takes the codes that a model makes, and gives their audio in
pieces as they come."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from audiocraft.errors import InvalidInput
from audiocraft.generation.diffusion import DiffusionSettings
from audiocraft.generation.session import Session
from audiocraft.models.codecs.interleaved import InterleaveStereoCompressionModel
from audiocraft.models.codecs.streaming_decode import AudioDecoder
from audiocraft.models.diffusion_windows import WindowStream
from audiocraft.models.multibanddiffusion import MultiBandDiffusion, decoded


class DiffusionDecoder(nn.Module):
    """This decoder turns codes [B, K, T] into audio [B, C, N] by diffusion; equal codes give equal audio.

    Args:
        channels: 2 for codes of stereo, [B, 2 K, T], the codebooks of left and right in turn.
    """

    def __init__(
        self, mbd: MultiBandDiffusion, settings: DiffusionSettings | None = None, channels: int = 1
    ) -> None:
        super().__init__()
        self._mbd, self.settings, self.channels = mbd, settings or DiffusionSettings(), channels
        self.codec = mbd.codec_model
        self.networks = nn.ModuleList(process.model for process in mbd.DPs)

    @property
    def sample_rate(self) -> int:
        """Return the rate of its audio in Hz."""
        return self._mbd.sample_rate

    @property
    def frame_rate(self) -> float:
        """Return how many frames one second of audio has."""
        return self.codec.frame_rate

    def decode(self, codes: Tensor) -> Tensor:
        """Turn codes [B, K, T] into audio [B, C, N], in windows where they are long."""
        return self.open_stream(len(codes)).finish(codes)

    def open_stream(self, batch_size: int = 1) -> DiffusionStream:
        """Open a stream of `batch_size` rows."""
        return DiffusionStream(self, batch_size)

    def in_place_of(self, own: AudioDecoder) -> DiffusionDecoder:
        """Return this decoder for codes that the decoder `own` would take.

        Raises:
            InvalidInput: they are codes of another codec.
        """
        mono, stereo = own, isinstance(own, InterleaveStereoCompressionModel)
        if isinstance(own, InterleaveStereoCompressionModel):
            mono = own.model
        if isinstance(own, InterleaveStereoCompressionModel) and own.per_timestep:
            raise InvalidInput(
                "codes whose channels follow each other in time have no diffusion decoder", field="decoder"
            )
        for what in ("num_codebooks", "cardinality", "sample_rate"):
            wanted, found = getattr(self.codec, what), getattr(mono, what, None)
            if found is not None and found != wanted:
                raise InvalidInput(
                    f"the diffusion decoder was trained with a codec whose {what} is {wanted}, and the model's is "
                    f"{found}; it was made for another codec",
                    field="decoder",
                )
        return DiffusionDecoder(self._mbd, self.settings, channels=2 if stereo else 1)

    @torch.inference_mode()
    def window(self, codes: Tensor, start: int) -> Tensor:
        """Map the codes [B, K, t] of a window that begins at frame `start` to its audio [B, C, t * hop]."""
        rows, channels = self._mbd.as_mono(codes)
        if channels != self.channels:
            raise InvalidInput(
                f"codes of {channels} channels came to a decoder for {self.channels}", field="codes"
            )
        wav = self._mbd.piece(self._mbd.get_emb(rows), start, self.settings, Session.open([]))
        if self.settings.eq:
            wav = self._mbd.re_eq(wav, decoded(self.codec, rows)[..., : wav.shape[-1]])
        return wav.view(len(codes), channels, -1)

    def stream(self) -> WindowStream:
        """Return codes through `window`, wherever they are cut."""
        return self._mbd.windows.open(self.window)


class DiffusionStream:
    """This object is the DecoderStream of a diffusion decoder: a window's audio comes when the frames behind it are
    there."""

    def __init__(self, decoder: DiffusionDecoder, batch_size: int) -> None:
        self._decoder, self._batch_size = decoder, batch_size
        self._stream = decoder.stream()
        self._came = False

    @property
    def delay_frames(self) -> int:
        """Return the number of frames that must follow a frame before all its samples are out."""
        return self._stream.delay_frames

    def push(self, codes: Tensor) -> Tensor:
        """Take the next codes [B, K, t] and return the samples [B, C, n] that they settle; n may be 0."""
        if codes.shape[-1] == 0:
            return self._nothing(codes.device)
        self._came = True
        return torch.cat([self._nothing(codes.device), *self._stream.push(codes)], dim=-1)

    def finish(self, codes: Tensor | None = None) -> Tensor:
        """Take the last codes, if there are any, and return the samples [B, C, n] that remain."""
        if codes is not None and codes.shape[-1]:
            self._came = True
            return self._stream.finish(codes)
        return self._stream.finish() if self._came else self._nothing(torch.device("cpu"))

    def _nothing(self, device: torch.device) -> Tensor:
        return torch.zeros(self._batch_size, self._decoder.channels, 0, device=device)


def load_diffusion_decoder(name: str | Path, device: torch.device | str = "cpu") -> DiffusionDecoder:
    """Load the diffusion decoder called `name`, together with its codec."""
    decoder = DiffusionDecoder(MultiBandDiffusion.get_pretrained(name, device=device))
    return decoder.eval().requires_grad_(False)
