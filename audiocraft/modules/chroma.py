"""Which pitch classes sound in a waveform, frame by frame: a power spectrogram folded into one octave (Ellis 2007)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiocraft.errors import InvalidInput

_A0 = 27.5  # Hz; octaves are counted from here
_CENTRE_OCTAVE, _OCTAVE_WIDTH = 5.0, 2.0  # how strongly an octave counts: a Gaussian around 880 Hz


def chroma_filters(sample_rate: int, nfft: int, n_chroma: int = 12) -> Tensor:
    """Return weights [n_chroma, nfft // 2 + 1] of every spectrogram bin in every pitch class, the first of which is C.

    A bin spreads over neighbouring classes as a Gaussian as wide as the bin itself, so that low bins, which cannot
    tell semitones apart, vote for several.
    """
    frequencies = torch.arange(1, nfft, dtype=torch.float64, device="cpu") * (sample_rate / nfft)
    places = n_chroma * torch.log2(frequencies / _A0)
    # Bin 0 (a constant) has no pitch: it is placed one and a half octaves below the first that has.
    places = torch.cat([places[:1] - 1.5 * n_chroma, places])
    widths = F.pad(places.diff().clamp(min=1.0), (0, 1), value=1.0)
    classes = torch.arange(n_chroma, dtype=torch.float64, device="cpu").unsqueeze(1)
    half = round(n_chroma / 2)
    distances = (places - classes + half).remainder(n_chroma) - half
    weights = F.normalize(torch.exp(-0.5 * (2 * distances / widths).square()), dim=0)
    weights = weights * torch.exp(
        -0.5 * ((places / n_chroma - _CENTRE_OCTAVE) / _OCTAVE_WIDTH).square()
    ).unsqueeze(0)
    from_a_to_c = 3 * (n_chroma // 12)
    return weights.roll(-from_a_to_c, dims=0)[:, : nfft // 2 + 1].float()


class _Window(nn.Module):
    """This module holds the analysis window under the name it has in released checkpoints."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.window: Tensor
        self.register_buffer("window", torch.hann_window(length))


class ChromaExtractor(nn.Module):
    """This layer turns waveforms into chroma, in float32 whatever the precision around it.

    Args:
        n_chroma: classes per octave.
        radix2_exp: the default size of a frame is 2 to this power.
        nfft: size of the Fourier transform.
        winlen: samples of a frame.
        winhop: samples between frames, a quarter of a frame by default.
        argmax: 1 for the strongest class and 0 for the others, which leaves melody and little of the timbre.
        norm: frames are divided by their norm of this order.
    """

    def __init__(
        self,
        sample_rate: int,
        n_chroma: int = 12,
        radix2_exp: int = 12,
        nfft: int | None = None,
        winlen: int | None = None,
        winhop: int | None = None,
        argmax: bool = False,
        norm: float = math.inf,
    ) -> None:
        super().__init__()
        self.winlen = winlen or 2**radix2_exp
        self.nfft = nfft or self.winlen
        self.winhop = winhop or self.winlen // 4
        if self.winlen > self.nfft:
            raise InvalidInput(
                f"a frame of {self.winlen} samples does not fit a transform of {self.nfft}", field="winlen"
            )
        self.sample_rate = sample_rate
        self.n_chroma = n_chroma
        self.norm = norm
        self.argmax = argmax
        self.fbanks: Tensor
        self.register_buffer("fbanks", chroma_filters(sample_rate, self.nfft, n_chroma), persistent=False)
        self.spec = _Window(self.winlen)

    def num_frames(self, samples: int) -> int:
        """Return frames of a waveform of this length; one that is shorter than a frame is padded to it."""
        return max(samples, self.nfft) // self.winhop + 1

    def forward(self, wav: Tensor) -> Tensor:
        """Extract chroma [B, T, n_chroma] from wav [B, 1, N] or [B, N]."""
        wav = self._mono(wav).float()
        missing = max(0, self.nfft - wav.shape[-1])
        wav = F.pad(wav, (missing // 2, missing - missing // 2))
        window = self.spec.window.float()
        with torch.autocast(wav.device.type, enabled=False):
            spectrum = torch.stft(
                wav, self.nfft, self.winhop, self.winlen, window, center=True, return_complex=True
            )
            power = spectrum.abs().square() / window.square().sum()
            chroma = (self.fbanks.float() @ power).transpose(1, 2)
        chroma = F.normalize(chroma, p=self.norm, dim=-1, eps=1e-6)
        if not self.argmax:
            return chroma
        return F.one_hot(chroma.argmax(dim=-1), self.n_chroma).to(chroma.dtype)

    def _mono(self, wav: Tensor) -> Tensor:
        if wav.dim() == 3 and wav.shape[1] == 1:
            return wav.squeeze(1)
        if wav.dim() != 2:
            raise InvalidInput(f"chroma is taken of mono audio [B, 1, N], got {list(wav.shape)}", field="wav")
        return wav
