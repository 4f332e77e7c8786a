"""The networks of AudioSeal (San Roman 2024, arXiv 2401.17264): SEANet makes the mark, and its encoder finds it.

generator  encoder -> + the sum of one vector per bit of the message -> decoder
detector   encoder -> transposed convolution back to samples -> for each sample "clean" or "marked", and the bits
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audiocraft.config.watermark import WatermarkConfig
from audiocraft.models.builders import build_seanet
from audiocraft.modules.seanet import SEANetDecoder, SEANetEncoder


class MsgProcessor(nn.Module):
    """This layer makes a vector of a message: the sum of one learned vector per bit, which depends on the bit's
    value."""

    def __init__(self, nbits: int, hidden_size: int) -> None:
        super().__init__()
        self.nbits = nbits
        self.msg_processor = nn.Embedding(2 * nbits, hidden_size)

    def forward(self, message: Tensor) -> Tensor:
        """Turn message [B, nbits] of 0 and 1 into vectors [B, hidden_size]."""
        first = 2 * torch.arange(self.nbits, device=message.device)
        summed: Tensor = self.msg_processor(first + message.long()).sum(1)
        return summed


class SEANetMarkGenerator(nn.Module):
    """This network is the generator of the paper, without the network around it that knows rates and channels."""

    def __init__(
        self, encoder: SEANetEncoder, decoder: SEANetDecoder, *, nbits: int, sample_rate: int
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.nbits, self.sample_rate = nbits, sample_rate
        if nbits:
            self.msg_processor = MsgProcessor(nbits, encoder.dimension)

    def mark(self, audio: Tensor, message: Tensor | None) -> Tensor:
        """Make the mark [B, N] for audio [B, N] that carries message [B, nbits]."""
        hidden = self._told(self.encoder(audio[:, None]), message)
        marked: Tensor = self.decoder(hidden)[:, 0, : audio.shape[-1]]
        return marked

    def _told(self, hidden: Tensor, message: Tensor | None) -> Tensor:
        if message is None or not self.nbits:
            return hidden
        return hidden + self.msg_processor(message)[..., None]

    def open(self, message: Tensor | None, batch_size: int = 1) -> SEANetMarkStream:
        """Open a stream that takes audio and returns its mark."""
        return SEANetMarkStream(self, message, batch_size)


class SEANetMarkDetector(nn.Module):
    """This network is the detector of the paper. Its parts are called `detector.0` and `detector.1`, as in released
    files."""

    def __init__(self, encoder: SEANetEncoder, *, output_dim: int, nbits: int, sample_rate: int) -> None:
        super().__init__()
        self.nbits, self.sample_rate = nbits, sample_rate
        first, last = _KeepDimension(encoder, output_dim), nn.Conv1d(output_dim, 2 + nbits, 1)
        self.detector = nn.Sequential(first, last)
        self.parts = first, last  # for streams; in a tuple, modules are not counted a second time

    def decide(self, audio: Tensor, every: int = 1) -> Tensor:
        """Decide about audio [B, N]: the result is [B, 2 + nbits, N], or that of each `every`-th sample."""
        return decided(self.detector(audio[:, None])[..., : audio.shape[-1] : every])

    def open_decisions(self, batch_size: int = 1) -> SEANetDecisionStream:
        """Open a stream that takes audio and returns decisions."""
        return SEANetDecisionStream(self, batch_size)


class _KeepDimension(nn.Module):
    """This network has SEANet's encoder, and a transposed convolution from its frames back to samples. The encoder's
    layers have their names here without its own, as in released files."""

    def __init__(self, encoder: SEANetEncoder, output_dim: int) -> None:
        super().__init__()
        self.model = encoder.model
        hop = encoder.hop_length
        self.reverse_convolution = nn.ConvTranspose1d(encoder.dimension, output_dim, hop, hop)
        self.encoder = (encoder,)  # in a tuple, so that its layers are counted once

    def forward(self, x: Tensor) -> Tensor:
        """Map x [B, 1, N] to [B, output_dim, at least N]."""
        samples: Tensor = self.reverse_convolution(self.encoder[0](x))
        return samples


def decided(logits: Tensor) -> Tensor:
    """Turn the first two rows of logits [B, 2 + nbits, N] into probabilities, and leave the rest."""
    return torch.cat([logits[:, :2].softmax(1), logits[:, 2:]], dim=1)


class SEANetMarkStream:
    """This object brings a stream of audio through the generator."""

    def __init__(self, network: SEANetMarkGenerator, message: Tensor | None, batch_size: int) -> None:
        self._network, self._message, self._rows = network, message, batch_size
        self._encoder = network.encoder.init_state(batch_size)
        self._decoder = network.decoder.init_state(batch_size)
        self._came = self._went = 0

    @torch.inference_mode()
    def push(self, audio: Tensor) -> Tensor:
        """Take the next samples [B, n] and return the mark [B, m] of those that are settled."""
        self._came += audio.shape[-1]
        hidden = self._network.encoder(audio[:, None], state=self._encoder)
        return self._out(self._network.decoder(self._told(hidden), state=self._decoder))

    @torch.inference_mode()
    def finish(self) -> Tensor:
        """Return the mark [B, m] of the samples that waited."""
        parameter = next(self._network.parameters())
        nothing = parameter.new_zeros(self._rows, 1, 0)
        if not self._came:
            return nothing[:, 0]
        hidden = self._network.encoder.last_step(nothing, self._encoder)
        return self._out(self._network.decoder.last_step(self._told(hidden), self._decoder))

    def _told(self, hidden: Tensor) -> Tensor:
        return self._network._told(hidden, self._message)

    def _out(self, mark: Tensor) -> Tensor:
        kept = mark[:, 0, : self._came - self._went]
        self._went += kept.shape[-1]
        return kept


class SEANetDecisionStream:
    """This object brings a stream of audio through the detector."""

    def __init__(self, network: SEANetMarkDetector, batch_size: int) -> None:
        first, self._head = network.parts
        self._width, self._rows, self._back = 2 + network.nbits, batch_size, first.reverse_convolution
        self._encoder = first.encoder[0]
        self._state = self._encoder.init_state(batch_size)
        self._came = self._went = 0

    @torch.inference_mode()
    def push(self, audio: Tensor) -> Tensor:
        """Take the next samples [B, n] and return the decisions [B, 2 + nbits, m] that they settle."""
        self._came += audio.shape[-1]
        return self._out(self._encoder(audio[:, None], state=self._state))

    @torch.inference_mode()
    def finish(self) -> Tensor:
        """Return the decisions [B, 2 + nbits, m] that waited."""
        nothing = self._back.weight.new_zeros(self._rows, 1, 0)
        if not self._came:
            return nothing.expand(-1, self._width, -1)
        return self._out(self._encoder.last_step(nothing, self._state))

    def _out(self, frames: Tensor) -> Tensor:
        if not frames.shape[-1]:
            return frames.new_zeros(self._rows, self._width, 0)
        found = decided(self._head(self._back(frames)))[..., : self._came - self._went]
        self._went += found.shape[-1]
        return found


def build_seanet_marks(config: WatermarkConfig) -> tuple[SEANetMarkGenerator, SEANetMarkDetector]:
    """Build the generator and the detector of the paper, untrained."""
    shared = config.audioseal
    encoder, decoder = build_seanet(config.seanet)
    generator = SEANetMarkGenerator(encoder, decoder, nbits=shared.nbits, sample_rate=shared.sample_rate)
    listener, _ = build_seanet(config.seanet)
    detector = SEANetMarkDetector(
        listener, output_dim=config.detector.output_dim, nbits=shared.nbits, sample_rate=shared.sample_rate
    )
    return generator, detector
