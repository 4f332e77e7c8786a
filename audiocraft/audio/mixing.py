"""A mixing desk for whole recordings: level, place, tone and dynamics of tracks, their sum, and its mastering.

Every function takes audio [C, N], float32, and returns new audio; none changes what it is given. Levels are in dB,
times in seconds, frequencies in Hz.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from audiocraft.audio.finishing import Finish, finished
from audiocraft.audio.loudness import loudness_in_pieces, true_peak
from audiocraft.errors import InvalidInput

BandKind = Literal["peak", "low_shelf", "high_shelf", "low_cut", "high_cut"]

# A filter's ringing that is longer than this is cut; the narrowest band that is allowed has died away by then.
_RINGING_S = 1.0
_NARROWEST = 30.0
_MOST_GAIN_DB = 40.0
# Dynamics are decided this often: ten times as fast as the fastest attack that sounds like one.
_STEP_S = 1e-3
_QUIETEST_DB = -120.0
_CLOSE_ENOUGH_LU = 0.05
_ROUNDS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class EqualiserBand:
    """A band says where and by how much an equaliser changes a spectrum.

    Args:
        frequency: of the middle of a peak or shelf, or where a cut has lost 3 dB (at the usual `q`).
        gain_db: of a peak or shelf; cuts have none.
        q: how narrow the band is.
    """

    kind: BandKind
    frequency: float
    gain_db: float = 0.0
    q: float = 0.5**0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Track:
    """A track is audio with a place in a mix.

    Args:
        audio: [C, N], one channel or two.
        at: second at which it begins.
        pan: -1 is left, 0 the middle, 1 right.
    """

    audio: Tensor
    at: float = 0.0
    gain_db: float = 0.0
    pan: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Master:
    """This record holds a finished mix and what was measured on it.

    Args:
        audio: [C, N].
        loudness: integrated loudness in LUFS (BS.1770-4).
        true_peak: in dB below full scale.
        gain_db: by how much the mix was turned up before the limiter.
    """

    audio: Tensor
    loudness: float
    true_peak: float
    gain_db: float


def gain(wav: Tensor, db: float) -> Tensor:
    """Turn `wav` up by `db`."""
    return wav * 10 ** (_number(db, "db") / 20)


def at_loudness(wav: Tensor, sample_rate: int, loudness: float, *, peak_db: float | None = None) -> Tensor:
    """Turn wav [C, N] up or down to an integrated loudness in LUFS; silence stays as it is.

    Args:
        peak_db: the highest sample that may come of it, in dB beside full scale; where it would be higher, the result
            is softer than asked.
    """
    measured = loudness_in_pieces(wav, sample_rate)
    if not math.isfinite(measured):
        return wav
    factor = 10 ** ((loudness - measured) / 20)
    if peak_db is not None:
        factor = min(factor, 10 ** (peak_db / 20) / float(wav.abs().amax()))
    return wav * factor


def pan(wav: Tensor, position: float) -> Tensor:
    """Place audio [1 or 2, N] between left and right -> [2, N]. One channel is placed with constant power, 3 dB down on
    each side in the middle; of two, the one on the far side is turned down, and nothing changes in the middle."""
    if not -1 <= position <= 1:
        raise InvalidInput(f"pan lies between -1 (left) and 1 (right), got {position:g}", field="pan")
    if wav.shape[0] not in (1, 2):
        raise InvalidInput(f"one channel or two can be placed, got {wav.shape[0]}", field="audio")
    angle = (position + 1) * math.pi / 4
    sides = wav.new_tensor([math.cos(angle), math.sin(angle)])[:, None]
    return wav * sides if wav.shape[0] == 1 else wav * (sides * math.sqrt(2)).clamp_max(1)


def equalise(wav: Tensor, sample_rate: int, bands: Sequence[EqualiserBand]) -> Tensor:
    """Send `wav` through all `bands`, with the responses of the Audio EQ Cookbook (Bristow-Johnson)."""
    if not bands:
        return wav.clone()
    length = wav.shape[-1]
    size = 1 << math.ceil(math.log2(max(2, length + round(_RINGING_S * sample_rate))))
    response = torch.ones(size // 2 + 1, dtype=torch.complex128)
    for band in bands:
        response = response * _response(band, sample_rate, size)
    spectrum = torch.fft.rfft(wav.float(), n=size) * response.to(torch.complex64).to(wav.device)
    return torch.fft.irfft(spectrum, n=size)[..., :length]


def band_gain_db(bands: Sequence[EqualiserBand], sample_rate: int, frequency: float) -> float:
    """Return how much `equalise` turns a tone of `frequency` up."""
    size = sample_rate  # a bin for each hertz
    product = math.prod(float(_response(band, sample_rate, size)[round(frequency)].abs()) for band in bands)
    return 20 * math.log10(max(product, 1e-12))


def compress(
    wav: Tensor,
    sample_rate: int,
    *,
    threshold_db: float,
    ratio: float,
    attack: float = 0.005,
    release: float = 0.12,
    knee_db: float = 6.0,
    makeup_db: float = 0.0,
) -> Tensor:
    """Turn down what exceeds the threshold in `wav`, in all channels by the same.

    A feed-forward compressor with a soft knee and a smooth decoupled peak detector (Giannoulis, Massberg and Reiss,
    JAES 2012, 60/6).

    Args:
        threshold_db: peak level below full scale from which on the ratio counts.
        ratio: a level that exceeds the threshold by `ratio` dB exceeds it by 1 dB afterwards.
        attack, release: seconds in which 63 % of a step are followed, downwards and upwards.
    """
    for value, name, least in ((ratio, "ratio", 1.0), (attack, "attack", 0.0), (release, "release", 0.0)):
        if not (math.isfinite(value) and value >= least):
            raise InvalidInput(
                f"the {name} of a compressor must be {least:g} or more, got {value:g}", field=name
            )
    if not wav.shape[-1]:
        return wav.clone()
    hop = max(1, round(_STEP_S * sample_rate))
    level = _levels_db(wav, hop)
    over = level - threshold_db
    knee = max(knee_db, 1e-9)
    soft = np.where(
        over <= -knee / 2, 0.0, np.where(over >= knee / 2, over, (over + knee / 2) ** 2 / (2 * knee))
    )
    wanted = soft * (1 - 1 / ratio)
    reduction = _followed(wanted, _share(attack), _share(release))
    return gain(_turned(wav, -reduction, hop), makeup_db)


def automate(wav: Tensor, sample_rate: int, points: Sequence[tuple[float, float]]) -> Tensor:
    """Return `wav` with a gain that moves: `points` are (second, dB), straight in dB between them and level outside."""
    if not points:
        return wav.clone()
    seconds = np.array([point[0] for point in points], dtype=np.float64)
    if bool((np.diff(seconds) < 0).any()):
        raise InvalidInput("the points of a gain curve must be in the order of time", field="points")
    levels = np.array([_number(point[1], "points") for point in points], dtype=np.float64)
    curve = np.interp(np.arange(wav.shape[-1]) / sample_rate, seconds, levels)
    return wav * torch.from_numpy(10 ** (curve / 20)).to(wav)


def duck(
    bed: Tensor,
    sample_rate: int,
    regions: Sequence[tuple[float, float]],
    *,
    depth_db: float = 12.0,
    attack: float = 0.25,
    release: float = 0.6,
    hold: float = 0.8,
) -> Tensor:
    """Make `bed` softer by `depth_db` wherever something else is to be heard.

    Args:
        regions: (start, end) in seconds, in order. The bed is down when a region begins: it goes down in the `attack`
            seconds before, and up again in the `release` seconds after.
        hold: gaps between regions that are shorter stay soft.
    """
    if not (math.isfinite(depth_db) and depth_db >= 0):
        raise InvalidInput(f"the depth of ducking must be 0 dB or more, got {depth_db:g}", field="depth_db")
    return automate(bed, sample_rate, _ducking(regions, depth_db, attack, release, hold))


def _ducking(
    regions: Sequence[tuple[float, float]], depth_db: float, attack: float, release: float, hold: float
) -> list[tuple[float, float]]:
    """Return the gain curve of `duck`."""
    joined: list[list[float]] = []
    for start, end in regions:
        if joined and start - joined[-1][1] < max(hold, attack + release):
            joined[-1][1] = max(joined[-1][1], end)
        else:
            joined.append([start, end])
    points = []
    for start, end in joined:
        points += [(start - attack, 0.0), (start, -depth_db), (end, -depth_db), (end + release, 0.0)]
    return points


def crossfade(first: Tensor, second: Tensor, samples: int) -> Tensor:
    """Return the end of `first` [C, N] over the beginning of `second` [C, M], with equal power, [C, N + M -
    samples]."""
    if not 0 <= samples <= min(first.shape[-1], second.shape[-1]):
        raise InvalidInput(
            f"a cross-fade of {samples} samples does not fit into {first.shape[-1]} and {second.shape[-1]}",
            field="samples",
        )
    angle = (torch.arange(samples, device=first.device) + 0.5) / max(1, samples) * (math.pi / 2)
    kept = first.shape[-1] - samples
    over = first[:, kept:] * angle.cos() + second[:, :samples] * angle.sin()
    return torch.cat([first[:, :kept], over, second[:, samples:]], dim=-1)


def mix(tracks: Sequence[Track], sample_rate: int, *, seconds: float | None = None) -> Tensor:
    """Return the sum of all tracks [C, N]: in stereo as soon as one of them is stereo or not in the middle.

    Args:
        seconds: how long it is; None ends with the last track.
    """
    if not tracks:
        raise InvalidInput("there is nothing to mix", field="tracks")
    starts = [round(track.at * sample_rate) for track in tracks]
    if min(starts) < 0:
        raise InvalidInput("a track begins before the mix does", field="at")
    stereo = any(track.audio.shape[0] > 1 or track.pan for track in tracks)
    ends = [start + track.audio.shape[-1] for start, track in zip(starts, tracks, strict=True)]
    size = max(ends) if seconds is None else round(seconds * sample_rate)
    total = torch.zeros(2 if stereo else 1, size)
    for start, track in zip(starts, tracks, strict=True):
        audio = gain(track.audio.to("cpu", torch.float32), track.gain_db)
        if stereo:
            audio = pan(audio, track.pan)
        count = max(0, min(audio.shape[-1], size - start))
        total[:, start : start + count] += audio[:, :count]
    return total


def master(
    wav: Tensor, sample_rate: int, *, loudness: float = -14.0, ceiling: float = -1.0, fade: float = 0.02
) -> Master:
    """Bring `wav` to an integrated loudness, and hold its true peaks.

    What the limiter takes away is made up for, as far as it can be: audio of few loud peaks stays softer than was
    asked, and `Master.loudness` says how loud it is.

    Args:
        loudness: in LUFS.
        ceiling: highest true peak in dB below full scale.
        fade: seconds at the end that fade to silence.

    Raises:
        InvalidInput: silence, which no gain makes louder.
    """
    if not -70 <= loudness <= -5:
        raise InvalidInput(f"a loudness lies between -70 and -5 LUFS, got {loudness:g}", field="loudness")
    measured = loudness_in_pieces(wav, sample_rate)
    if not math.isfinite(measured):
        raise InvalidInput("the mix is silent", field="audio")
    finish = Finish(ceiling=ceiling, fade=fade)
    turned = loudness - measured
    best: Master | None = None
    for _ in range(_ROUNDS):
        audio = finished(gain(wav, turned), sample_rate, finish)
        reached = loudness_in_pieces(audio, sample_rate)
        missing = loudness - reached
        if best is None or abs(missing) < abs(loudness - best.loudness):
            best = Master(
                audio=audio, loudness=reached, true_peak=true_peak(audio, sample_rate), gain_db=turned
            )
        # Beyond some point more gain only makes more distortion.
        if abs(missing) < _CLOSE_ENOUGH_LU or turned + missing > loudness - measured + 12:
            break
        turned += missing
    assert best is not None
    return best


def _number(value: float, field: str) -> float:
    if not (math.isfinite(value) and abs(value) <= 200):
        raise InvalidInput(f"a gain lies between -200 and 200 dB, got {value:g}", field=field)
    return value


def _response(band: EqualiserBand, sample_rate: int, size: int) -> Tensor:
    """Return the complex response [size // 2 + 1] of a band."""
    if not 0 < band.frequency < sample_rate / 2:
        raise InvalidInput(
            f"a band lies between 0 and {sample_rate / 2:g} Hz, got {band.frequency:g}", field="frequency"
        )
    if not 0.1 <= band.q <= _NARROWEST:
        raise InvalidInput(f"the q of a band lies between 0.1 and {_NARROWEST:g}, got {band.q:g}", field="q")
    if not abs(band.gain_db) <= _MOST_GAIN_DB:
        raise InvalidInput(
            f"the gain of a band lies within {_MOST_GAIN_DB:g} dB, got {band.gain_db:g}", field="gain_db"
        )
    (b0, b1, b2), (a0, a1, a2) = _biquad(band, sample_rate)
    angle = torch.arange(size // 2 + 1, dtype=torch.float64) * (2 * math.pi / size)
    step = torch.polar(torch.ones_like(angle), -angle)  # z ** -1
    return (b0 + b1 * step + b2 * step**2) / (a0 + a1 * step + a2 * step**2)


_Polynomial = tuple[float, float, float]


def _biquad(band: EqualiserBand, sample_rate: int) -> tuple[_Polynomial, _Polynomial]:
    """Return (b, a) of a band."""
    w = 2 * math.pi * band.frequency / sample_rate
    cos, alpha = math.cos(w), math.sin(w) / (2 * band.q)
    amplitude = 10 ** (band.gain_db / 40)
    cut = (1 + alpha, -2 * cos, 1 - alpha)
    match band.kind:
        case "peak":
            up, down = alpha * amplitude, alpha / amplitude
            return (1 + up, -2 * cos, 1 - up), (1 + down, -2 * cos, 1 - down)
        case "low_cut":
            return ((1 + cos) / 2, -(1 + cos), (1 + cos) / 2), cut
        case "high_cut":
            return ((1 - cos) / 2, 1 - cos, (1 - cos) / 2), cut
        case "low_shelf" | "high_shelf":
            # A low shelf is a high shelf seen from the other end of the spectrum.
            sign = 1 if band.kind == "high_shelf" else -1
            more, less = amplitude + 1, (amplitude - 1) * sign
            root = 2 * math.sqrt(amplitude) * alpha
            return (
                (
                    amplitude * (more + less * cos + root),
                    -2 * sign * amplitude * ((amplitude - 1) + sign * more * cos),
                    amplitude * (more + less * cos - root),
                ),
                (
                    more - less * cos + root,
                    2 * sign * ((amplitude - 1) - sign * more * cos),
                    more - less * cos - root,
                ),
            )
    raise InvalidInput(f"band kind {band.kind!r} is not known", field="kind")


def _levels_db(wav: Tensor, hop: int) -> np.ndarray:
    """Return the highest peak of all channels in each step, in dB."""
    padded = torch.nn.functional.pad(wav.detach().to("cpu", torch.float32), (0, -wav.shape[-1] % hop))
    peaks = padded.abs().amax(dim=0).unflatten(0, (-1, hop)).amax(dim=1).double()
    return peaks.log10().mul(20).clamp_min(_QUIETEST_DB).numpy()


def _share(seconds: float) -> float:
    """Return how much of the last step is kept in one step."""
    return math.exp(-_STEP_S / seconds) if seconds > 0 else 0.0


def _followed(wanted: np.ndarray, attack: float, release: float) -> np.ndarray:
    """Return a reduction in dB that follows `wanted`: falls back slowly, and rises as fast as the attack allows."""
    held, smooth, out = 0.0, 0.0, np.empty_like(wanted)
    for step, value in enumerate(wanted.tolist()):
        held = max(value, release * held + (1 - release) * value)
        smooth = attack * smooth + (1 - attack) * held
        out[step] = smooth
    return out


def _turned(wav: Tensor, gains_db: np.ndarray, hop: int) -> Tensor:
    """Return `wav` with a gain for the middle of each step, straight in dB between them."""
    middles = (np.arange(len(gains_db)) + 0.5) * hop
    curve = np.interp(np.arange(wav.shape[-1]), middles, gains_db)
    return wav * torch.from_numpy(10 ** (curve / 20)).to(wav)
