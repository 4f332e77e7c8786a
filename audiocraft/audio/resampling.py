"""Another sample rate for audio that comes piece by piece: the same samples as for the whole, within rounding."""

from __future__ import annotations

import math

import numpy as np
import soxr
import torch
from torch import Tensor

from audiocraft.audio.convert import LARGEST_FILTER, ZEROS, filter_size, resampler


class StreamResampler:
    """A resampler brings rows of audio [B, n] to another rate, part by part. `from_rate * N // to_rate` samples come of
    N, as of `convert_audio`."""

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self._rates = from_rate, to_rate
        common = math.gcd(from_rate, to_rate)
        self._old, self._new = from_rate // common, to_rate // common
        # So many samples on each side are more than the filter reaches.
        reach = 2 * math.ceil(ZEROS * self._old / min(self._old, self._new)) + self._old
        self._reach = self._old * math.ceil(reach / self._old)
        self._small = filter_size(from_rate, to_rate) <= LARGEST_FILTER
        self._held: Tensor | None = None
        self._first = 0  # the sample that those held begin with
        self._came = self._went = 0
        self._soxr: list[soxr.ResampleStream] | None = None
        self._nothing = torch.zeros(1, 0)

    def push(self, audio: Tensor) -> Tensor:
        """Take the next samples [B, n] and return those at the new rate [B, m] that they settle."""
        self._came += audio.shape[-1]
        self._nothing = audio[:, :0]
        if self._old == self._new:
            self._went += audio.shape[-1]
            return audio
        if not self._small:
            return self._through_soxr(audio, last=False)
        self._held = audio if self._held is None else torch.cat([self._held, audio], dim=-1)
        blocks = (self._first + self._held.shape[-1] - self._reach) // self._old
        return self._made(blocks * self._new)

    def finish(self) -> Tensor:
        """Return what remains [B, m]; nothing may be pushed afterwards."""
        if self._held is None and self._soxr is None:
            return self._nothing
        total = self._new * self._came // self._old
        if self._soxr is not None:
            rest = self._through_soxr(torch.zeros(len(self._soxr), 0), last=True)
            return torch.nn.functional.pad(rest, (0, total - self._went))
        return self._made(total)

    def _made(self, ready: int) -> Tensor:
        assert self._held is not None
        if ready <= self._went:
            return self._held[:, :0]
        made: Tensor = resampler(*self._rates, self._held.device)(self._held)
        start = self._first // self._old * self._new
        out = made[:, self._went - start : ready - start]
        self._went = ready
        kept = max(0, ready // self._new * self._old - self._reach)
        self._held, self._first = self._held[:, kept - self._first :], kept
        return out

    def _through_soxr(self, audio: Tensor, *, last: bool) -> Tensor:
        """Resample between rates without a large common factor: by soxr's own streams, one for each row."""
        if self._soxr is None:
            self._soxr = [soxr.ResampleStream(*self._rates, 1, quality="VHQ") for _ in audio]
        rows = audio.detach().float().cpu().numpy()
        made = [stream.resample_chunk(row, last=last) for stream, row in zip(self._soxr, rows, strict=True)]
        out = torch.from_numpy(np.stack(made)).to(audio)
        total = self._new * self._came // self._old
        out = out[:, : max(0, total - self._went)] if last else out
        self._went += out.shape[-1]
        return out
