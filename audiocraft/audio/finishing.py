"""The last step before audio reaches an ear: a ceiling for its true peak and an end that does not click; and whether
the audio is worth hearing at all.

The limiter looks ahead, so that its gain is down before a peak arrives, and gives whole files and streams the same
samples:

    true peak between the samples -> reduction needed -> decays after a peak -> held and smoothed over the look-ahead

Audio whose true peak stays below the ceiling is not changed in a single bit, except for the fade.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from audiocraft.audio.faults import SILENT_DB, STUCK_S, StandstillMeter
from audiocraft.audio.formats import CEILING, AudioFormat
from audiocraft.audio.loudness import interpolator
from audiocraft.config.limits import FADE, MAX_FADE
from audiocraft.errors import ConfigError, InvalidInput

_BLOCK_S = 0.02  # audio is worked on in blocks of this length, wherever its pieces begin and end
_AHEAD_S = 0.005  # how long before a peak the gain begins to fall
_RELEASE_S = 0.08  # after this time a reduction has decayed to 1/e
_SURE_S, _HELD_S = 10, 60  # what `Opening` takes for sure, and the most that it holds back
_HEARD_S = 10  # what is judged whole is heard in parts of so many seconds
_FORGOTTEN = 1e-4  # a reduction below this, 0.001 dB, ends
# A changing gain moves peaks between samples a little: what is limited goes as far below the ceiling.
_MARGIN_DB = 0.3


@dataclass(frozen=True, kw_only=True, slots=True)
class Finish:
    """This record says how audio is finished; it is an AudioProcessor, so that a request can ask for it.

    Args:
        ceiling: the highest true peak in dB below full scale (BS.1770-4, annex 2).
        fade: seconds at the end that fade to silence; 0 for none.
        watermark: the name of a watermark that is put on before, by `models.watermarks.provenance.way_out`, which is
            then what opens it; None: nothing is.
    """

    ceiling: float = CEILING
    fade: float = FADE
    watermark: str | None = None

    def __post_init__(self) -> None:
        if not -60 <= self.ceiling <= 0:
            raise InvalidInput(
                f"the ceiling lies between -60 and 0 dB, got {self.ceiling:g}", field="ceiling"
            )
        if not 0 <= self.fade <= MAX_FADE:
            raise InvalidInput(f"the fade lasts 0 to {MAX_FADE:g} seconds, got {self.fade:g}", field="fade")

    def for_format(self, form: AudioFormat) -> Finish:
        """Return the same for a file of this format, in which a short fade may be too short."""
        return replace(self, fade=max(self.fade, form.fade)) if self.fade else self

    def open(self, sample_rate: int, channels: int) -> Finisher:
        """Begin to finish one piece."""
        if self.watermark is not None:
            raise ConfigError(
                f"this finish is to mark with {self.watermark}: open way_out(finish) instead of it"
            )
        return Finisher(sample_rate, channels, self)


USUAL = Finish()
"""How audio is finished unless something else is asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Faults:
    """This record holds the faults that were found in a piece.

    Args:
        broken: it has infinite or undefined samples.
        silent: it stays below -50 dBFS RMS.
        still: seconds of the longest sound that does not change.
        held: seconds for which one tone drowns all else, which in music is a fault; 0 where that was not asked.
    """

    broken: bool
    silent: bool
    still: float
    held: float = 0.0

    @property
    def reason(self) -> str | None:
        """Return why the piece is not worth hearing, in a few words; None if it is."""
        if self.broken:
            return "it has samples that are no numbers"
        if self.silent:
            return "it is silent"
        if self.still > STUCK_S:
            return f"it stands still for {self.still:.1f} s"
        return f"one tone stays for {self.held:.1f} s" if self.held > STUCK_S else None


class FaultMeter:
    """This meter finds the faults of one piece that comes in parts, before it is finished. Memory does not grow with
    it.

    Args:
        music: whether one tone that stays is a fault.
        skip: samples at the start that are not judged, such as the audio that a piece continues.
    """

    def __init__(self, sample_rate: int, *, music: bool = False, skip: int = 0) -> None:
        self._music = music
        self._skip = skip
        self._standstill = StandstillMeter(sample_rate)
        self._broken = False
        self._energy, self._count = 0.0, 0

    def push(self, audio: Tensor) -> None:
        """Take the next samples [C, n]."""
        skipped = min(self._skip, audio.shape[-1])
        self._skip -= skipped
        audio = audio[:, skipped:]
        if self._broken or not audio.numel():
            return
        audio = audio.detach().to("cpu", torch.float32)
        self._broken = not bool(audio.isfinite().all())
        if not self._broken:
            self._energy += float(audio.double().square().sum())
            self._count += audio.numel()
            self._standstill.push(audio.mean(dim=0))

    def finish(self) -> Faults:
        """Return the faults of what came."""
        if self._broken:
            return Faults(broken=True, silent=False, still=0.0)
        if not self._count or self._energy / self._count < 10 ** (SILENT_DB / 10):
            return Faults(broken=False, silent=True, still=0.0)
        held = self._standstill.held_s if self._music else 0.0
        return Faults(broken=False, silent=False, still=self._standstill.still_s, held=held)


class Opening:
    """This object holds back the beginning of a piece until it is sure not to be silent, so that a silent or broken one
    can be made again before anybody has heard a sample of it. Music is let through after some tens of milliseconds of
    sound.

    Args:
        samples: how long the piece will be.
        skip: samples at its start that are not judged, such as the audio that a piece continues.
    """

    def __init__(self, sample_rate: int, samples: int, *, skip: int = 0) -> None:
        self._skip = skip
        # As much sound as makes the whole louder than silence; a long piece need not wait for all of it.
        self._enough = 10 ** (SILENT_DB / 10) * min(samples - skip, _SURE_S * sample_rate)
        self._most = skip + _HELD_S * sample_rate
        self._energy, self._count = 0.0, 0
        self._held: list[Tensor] = []
        self.open = False
        """Whether anything was let through."""
        self.broken = False
        """Whether a sample that is no number came before that."""

    def push(self, audio: Tensor) -> list[Tensor]:
        """Take the next samples [C, n] and return the parts that may be heard now, in their order: none while it is
        not sure."""
        if self.open:
            return [audio]
        if self.broken or not bool(audio.isfinite().all()):
            self.broken = True
            self._held.clear()
            return []
        judged = audio[:, max(0, self._skip - self._count) :]
        self._count += audio.shape[-1]
        if judged.numel():
            self._energy += float(judged.double().square().sum()) / audio.shape[0]
        self._held.append(audio)
        self.open = self._energy >= self._enough > 0 or self._count > self._most
        if not self.open:
            return []
        held, self._held = self._held, []
        return held

    @property
    def faults(self) -> Faults:
        """Return what is wrong with a piece that has come to its end and of which nothing was let through."""
        return Faults(broken=self.broken, silent=not self.broken and not self.open, still=0.0)


def find_faults(wav: Tensor, sample_rate: int, *, music: bool = False) -> Faults:
    """Find the faults of a whole piece wav [C, N], before it is finished.

    Args:
        music: whether one tone that stays is a fault.
    """
    meter = FaultMeter(sample_rate, music=music)
    for part in wav.split(_HEARD_S * sample_rate, dim=-1):
        meter.push(part)
    return meter.finish()


def finished(wav: Tensor, sample_rate: int, finish: Finish = USUAL) -> Tensor:
    """Return a whole piece wav [C, N], finished, [C, N] float32 on its device. The same samples as a `Finisher`
    gives."""
    finisher = finish.open(sample_rate, wav.shape[0])
    return torch.cat([finisher.push(wav), finisher.finish()], dim=-1)


class Finisher:
    """A finisher works on one piece while it goes out. Pieces of any size give the same samples, bit for bit; they come
    out about 60 ms late, plus the length of the fade."""

    def __init__(self, sample_rate: int, channels: int, finish: Finish = USUAL) -> None:
        self._channels = channels
        self._fade = round(finish.fade * sample_rate)
        self._limiter = _Limiter(sample_rate, channels, finish.ceiling)
        self._held = torch.zeros(channels, 0, device="cpu")
        self._device = self._held.device

    def push(self, audio: Tensor) -> Tensor:
        """Take the next samples [C, n] and return what is finished by now [C, m], perhaps nothing.

        Raises:
            InvalidInput: another number of channels, or infinite or undefined samples.
        """
        # A limiter asks at every block whether there is anything to do, for which a GPU would have to be waited for.
        self._device, audio = audio.device, audio.detach().to("cpu", torch.float32)
        if audio.dim() != 2 or audio.shape[0] != self._channels:
            raise InvalidInput(
                f"this piece has {self._channels} channels, got audio {list(audio.shape)}", field="audio"
            )
        if not bool(audio.isfinite().all()):
            raise InvalidInput("the audio has infinite or undefined samples", field="audio")
        return self._released(self._limiter.push(audio)).to(self._device)

    def finish(self) -> Tensor:
        """Return the rest [C, m], faded out. Nothing may be pushed afterwards."""
        rest = torch.cat([self._held, self._limiter.end()], dim=-1)
        count = min(self._fade, rest.shape[-1])
        ramp = _fade_out(self._fade)[self._fade - count :]
        kept = rest.shape[-1] - count
        return torch.cat([rest[:, :kept], rest[:, kept:] * ramp], dim=-1).to(self._device)

    def _released(self, audio: Tensor) -> Tensor:
        """Return all but the samples that would fade if the piece ended here."""
        audio = torch.cat([self._held, audio], dim=-1)
        ready = max(0, audio.shape[-1] - self._fade)
        self._held = audio[:, ready:]
        return audio[:, :ready]


class _Limiter:
    """A limiter works on blocks whose borders lie at multiples of their length, so that pieces cannot change a result.

    Block b is analysed once the samples that its interpolation hears are there; block b - 1 is then written, since its
    gain looks `ahead` samples into block b.
    """

    def __init__(self, sample_rate: int, channels: int, ceiling: float) -> None:
        self._channels = channels
        self._interpolator = interpolator(sample_rate)
        self._reach = (self._interpolator.shape[-1] - 1) // 2
        self._block = max(1, round(_BLOCK_S * sample_rate))
        self._ahead = max(1, round(_AHEAD_S * sample_rate))
        self._ceiling = 10 ** (ceiling / 20)
        self._target = 10 ** ((ceiling - _MARGIN_DB) / 20)
        self._decay = -1 / (_RELEASE_S * sample_rate)  # of the logarithm of a reduction, per sample
        weights = torch.hann_window(self._ahead + 3, periodic=False, dtype=torch.float64, device="cpu")[1:-1]
        self._weights = weights / weights.sum()
        # Input from `reach + 1` samples before the block that is written next.
        self._input: Tensor | None = None
        self._analysed = 0  # blocks
        self._total = 0  # samples that came
        none = torch.zeros(self._block, dtype=torch.float64, device="cpu")
        self._before, self._present = (
            none,
            none,
        )  # reductions of the block written last, and of the one to write

    def push(self, audio: Tensor) -> Tensor:
        """Take samples [C, n] and return those that are limited by now [C, m]."""
        if not audio.shape[-1]:
            return audio
        if self._input is None:  # what came before the first sample sounds as if it had been that sample
            self._input = audio[:, :1].expand(-1, self._reach + 1)
        self._input = torch.cat([self._input, audio], dim=-1)
        self._total += audio.shape[-1]
        blocks = []
        while self._total >= (self._analysed + 1) * self._block + self._reach:
            blocks.append(self._next())
        return torch.cat([audio[:, :0], *blocks], dim=-1)

    def end(self) -> Tensor:
        """Return the rest, limited [C, m]."""
        if self._input is None:
            return torch.zeros(self._channels, 0, device="cpu")
        count = math.ceil(self._total / self._block)
        missing = (count + 1) * self._block + self._reach - self._total
        self._input = torch.cat([self._input, self._input[:, -1:].expand(-1, missing)], dim=-1)
        written = max(0, self._analysed - 1) * self._block
        blocks = [self._next() for _ in range(count + 1 - self._analysed)]
        return torch.cat(blocks, dim=-1)[:, : self._total - written]

    def _next(self) -> Tensor:
        """Analyse one block, and write the one before it; before the first there is none."""
        assert self._input is not None
        following = self._reductions()
        self._analysed += 1
        if self._analysed == 1:
            self._present = following
            return self._input[:, :0]
        start = self._reach + 1
        audio = self._input[:, start : start + self._block]
        self._input = self._input[:, self._block :]
        reduction = self._smoothed(following)
        self._before, self._present = self._present, following
        if reduction is None:
            return audio
        return (audio.double() * (1 - reduction)).float()

    def _reductions(self) -> Tensor:
        """Return how far each sample of the next block must be turned down [block], 0 to 1, with what still decays."""
        assert self._input is not None
        first = min(1, self._analysed) * self._block
        heard = self._input[:, first : first + self._block + 2 * self._reach + 1]
        peak = F.conv1d(heard[:, None], self._interpolator).abs().amax(dim=0)  # [factor, block + 1]
        half = peak.shape[0] // 2
        # Each sample stands for the time from half a sample before it to half a sample after it.
        after = peak[: half + 1, 1:].amax(dim=0)
        peak = torch.maximum(after, peak[half:, :-1].amax(dim=0)) if half else after
        last = float(self._present[-1]) if self._analysed else 0.0
        place = self._analysed * self._block
        over = peak > self._ceiling
        over[max(0, self._total - place) :] = False
        if not last and not bool(over.any()):
            return torch.zeros(self._block, dtype=torch.float64, device="cpu")
        needed = torch.where(over, 1 - self._target / peak.double(), 0.0)
        fall = self._decay * torch.arange(1, self._block + 1, dtype=torch.float64, device="cpu")
        highest = (needed.log() - fall).cummax(dim=0).values.clamp_min(math.log(last) if last else -math.inf)
        decayed = torch.maximum((highest + fall).exp(), needed)
        return torch.where(decayed < _FORGOTTEN, 0.0, decayed)

    def _smoothed(self, following: Tensor) -> Tensor | None:
        """Return the reduction of the block to write [block]: the highest of the look-ahead, smoothed as long; None for
        none.

        The highest of any stretch that is averaged includes the sample itself, so that the average is never too low.
        """
        around = torch.cat([self._before[-self._ahead :], self._present, following[: self._ahead]])
        if not bool(around.any()):
            return None
        highest = F.max_pool1d(around[None], self._ahead + 1, stride=1)[0]
        return highest.unfold(0, self._ahead + 1, 1) @ self._weights


def _fade_out(count: int) -> Tensor:
    """Return gains [count] from 1 to 0: a raised cosine, cubed, so that its last quarter lies below -50 dB."""
    return (0.5 + 0.5 * torch.cos(torch.pi * torch.arange(1, count + 1, device="cpu") / count)) ** 3
