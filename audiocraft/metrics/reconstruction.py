"""How well a codec keeps a sound."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audiocraft.audio.mel import mel_filters
from audiocraft.errors import InvalidInput
from audiocraft.losses.sisnr import SISNR
from audiocraft.losses.specloss import MelSpectrogramWrapper

_N_FFT, _HOP, _BANDS, _FLOOR_DB = 1024, 256, 80, 80.0


def log_mel_distance(estimate: Tensor, reference: Tensor, sample_rate: int) -> float:
    """Return how far two sounds [N] are apart in decibels, 0 for equal ones: the mean absolute difference of log-mel
    spectra.

    80 HTK mel bands from 0 Hz to half the rate, an STFT of 1024 samples with a Hann window and a hop of 256, powers in
    decibels, floored 80 dB below the loudest band of the reference. A mel band is wider than a semitone, so that this
    does not tell whether pitch is kept.
    """
    if estimate.shape != reference.shape or reference.dim() != 1:
        raise InvalidInput(
            f"two sounds [N] of one length are compared, got {list(estimate.shape)} and {list(reference.shape)}",
            field="estimate",
        )
    wanted, found = _mel_decibels(reference, sample_rate), _mel_decibels(estimate, sample_rate)
    floor = wanted.max() - _FLOOR_DB
    return float((found.clamp_min(floor) - wanted.clamp_min(floor)).abs().mean())


def si_snr(estimate: Tensor, reference: Tensor, sample_rate: int) -> float:
    """Return the signal over its error in decibels, whatever the level (Le Roux et al., "SDR: half-baked or well
    done?", 2019), over the whole of two sounds [N]."""
    pair = (sound.reshape(1, 1, -1) for sound in (estimate, reference))
    return -float(SISNR(sample_rate, segment=None, epsilon=1e-12)(*pair))


class MelDistance(nn.Module):
    """This module computes the mean absolute difference in decibels of log-mel spectra at two resolutions, 40 bands of
    512 samples and 80 of 2048; magnitudes below 1e-5 count as that."""

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        self.spectra = nn.ModuleList(
            MelSpectrogramWrapper(
                n_fft=size,
                hop_length=size // 4,
                n_mels=bands,
                sample_rate=sample_rate,
                log=False,
                floor_level=1e-5,
            )
            for size, bands in ((512, 40), (2048, 80))
        )

    def forward(self, rebuilt: Tensor, audio: Tensor) -> Tensor:
        """Compute the distance [] of rebuilt and audio, both [B, C, N]."""
        distances = [
            (10 * (_log_magnitude(mel(rebuilt)) - _log_magnitude(mel(audio)))).abs().mean()
            for mel in self.spectra
        ]
        return torch.stack(distances).mean()


def _mel_decibels(wav: Tensor, sample_rate: int) -> Tensor:
    window = torch.hann_window(_N_FFT, device=wav.device)
    spectrum = torch.stft(wav, _N_FFT, _HOP, window=window, return_complex=True)
    mel = mel_filters(sample_rate, _N_FFT, _BANDS).to(wav.device) @ spectrum.abs().square()
    return 10 * torch.log10(mel.clamp_min(1e-20))


def _log_magnitude(magnitude: Tensor) -> Tensor:
    return torch.log10(magnitude.clamp_min(1e-5))
