"""What is wrong with a recording without a look at what it should be: silence, clipping, what stands still, an
offset, a channel that is missing or upside down, bursts, an end that clicks; and how loud it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from audiocraft.audio.faults import CLIPPED_SHARE, STUCK_S
from audiocraft.audio.finishing import find_faults
from audiocraft.audio.loudness import CHANNEL_WEIGHTS, integrated_loudness, true_peak
from audiocraft.audio.pcm import checked_samples
from audiocraft.errors import InvalidInput

BURST = 4.0
"""A burst is a sample so many times as high as the 99th percentile of the magnitudes."""
ENDING_S = 0.005
_FULL_SCALE = 0.999
_OFFSET = 0.01  # of full scale: a hundredth can be heard as a click at both ends
_UPSIDE_DOWN = -0.5  # correlation of two channels below which they cancel each other in mono
_LOPSIDED_DB = 20.0
_SHORTEST_S = 0.1
_QUANTILE_MOST = 1 << 23  # samples that `quantile` of torch can sort


@dataclass(frozen=True, kw_only=True, slots=True)
class Soundness:
    """This record says in which state one recording is.

    Args:
        loudness: LUFS; None is silence. `true_peak`: dB below full scale.
        silent: it stays below -50 dBFS RMS.
        clipped_share: of samples at full scale.
        still_s: seconds of the longest sound that does not change; `held_s`: in which one tone drowns all else.
        offset: the largest mean of a channel, as a share of full scale.
        correlation: of the first two channels, -1 to 1; `balance_db`: how much louder the louder one is.
        burst: a sample far above the others.
        ending_db: the level of the last 5 ms, beside the peak.
    """

    duration: float
    loudness: float | None
    true_peak: float | None
    silent: bool
    clipped_share: float
    still_s: float
    held_s: float
    offset: float
    correlation: float | None
    balance_db: float | None
    burst: bool
    ending_db: float

    @property
    def faults(self) -> tuple[str, ...]:
        """Return what is wrong, in a few words each; nothing of a sound one."""
        upside_down = self.correlation is not None and self.correlation < _UPSIDE_DOWN
        lopsided = self.balance_db is not None and self.balance_db > _LOPSIDED_DB
        found = {
            "too short": self.duration < _SHORTEST_S,
            "silent": self.silent,
            "clipped": self.clipped_share > CLIPPED_SHARE,
            "stuck": not self.silent and self.still_s > STUCK_S,
            "one tone": not self.silent and self.held_s > STUCK_S,
            "offset": self.offset > _OFFSET,
            "channels cancel": upside_down,
            "one-sided": not self.silent and lopsided,
        }
        return tuple(name for name, wrong in found.items() if wrong)


def health(wav: Tensor, sample_rate: int, *, music: bool = True) -> Soundness:
    """Measure the state of wav [C, N].

    Args:
        music: whether one tone that stays is a fault.

    Raises:
        InvalidInput: no samples, or some that are no numbers.
    """
    wav = checked_samples(wav, "wav")
    if wav.dim() != 2 or not wav.numel():
        raise InvalidInput(f"audio is [C, N] with a sample or more, got {list(wav.shape)}", field="wav")
    faults = find_faults(wav, sample_rate, music=music)
    loudness = float(integrated_loudness(wav, sample_rate)) if len(wav) in CHANNEL_WEIGHTS else -math.inf
    peak = true_peak(wav, sample_rate)
    return Soundness(
        duration=wav.shape[-1] / sample_rate,
        loudness=loudness if math.isfinite(loudness) else None,
        true_peak=peak if math.isfinite(peak) else None,
        silent=faults.silent,
        clipped_share=float((wav.abs() >= _FULL_SCALE).double().mean()),
        still_s=faults.still,
        held_s=faults.held,
        offset=float(wav.double().mean(-1).abs().amax()),
        correlation=_correlation(wav) if len(wav) > 1 else None,
        balance_db=_balance(wav) if len(wav) > 1 else None,
        burst=has_burst(wav),
        ending_db=ending_level(wav, sample_rate),
    )


def has_burst(wav: Tensor) -> bool:
    """Return whether a sample of wav [..., N] is far above the others."""
    levels = wav.abs().flatten()
    rest = levels[:: max(1, -(-len(levels) // _QUANTILE_MOST))]
    return bool((levels > BURST * rest.quantile(0.99)).any())


def ending_level(wav: Tensor, sample_rate: int) -> float:
    """Measure the peak of the last 5 ms of wav [C, N] in dB beside the peak of all; it is at least -120."""
    last = float(wav[..., -max(1, round(ENDING_S * sample_rate)) :].abs().amax())
    return 20 * math.log10(last / max(1e-9, float(wav.abs().amax())) + 1e-6)


def _correlation(wav: Tensor) -> float | None:
    left, right = (channel - channel.mean() for channel in wav[:2].double())
    power = float((left.square().sum() * right.square().sum()).sqrt())
    return float((left * right).sum()) / power if power > 1e-12 else None


def _balance(wav: Tensor) -> float:
    levels = wav[:2].double().square().mean(-1).clamp_min(1e-12).log10() * 10
    return float(torch.abs(levels[0] - levels[1]))
