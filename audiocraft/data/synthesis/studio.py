"""Effects of the wide corpus: rooms, chorus, drive, tape, equaliser, compressor, echo. Mono, 24 kHz, in numpy.

Each takes a signal [N] and settings, and gives a signal of the same length; `draw_part` and `draw_mix` say which a
clip gets.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocraft.data.synthesis.levels import SAMPLE_RATE

Waveform = NDArray[np.float64]
_ROOM_BANDS = (250.0, 1000.0, 4000.0)
_COMPRESSOR_HOP = 120


def _rms(signal: Waveform) -> float:
    return max(float(np.sqrt(np.mean(signal**2))), 1e-9)


def _convolve(signal: Waveform, response: Waveform) -> Waveform:
    size = 1 << (len(signal) + len(response) - 1).bit_length()
    product = np.fft.rfft(signal, size) * np.fft.rfft(response, size)
    return np.fft.irfft(product, size)[: len(signal)]


def shape(signal: Waveform, curve: Callable[[Waveform], Waveform]) -> Waveform:
    """Multiply the spectrum by `curve` of the frequency in hertz."""
    frequency = np.fft.rfftfreq(len(signal), 1 / SAMPLE_RATE)
    return np.fft.irfft(np.fft.rfft(signal) * curve(np.maximum(frequency, 1.0)), len(signal))


def equalise(signal: Waveform, bands: Sequence[tuple[float, float, float]]) -> Waveform:
    """Raise and lower bands of a signal by bells of (centre in hertz, width in octaves, gain in dB)."""

    def curve(frequency: Waveform) -> Waveform:
        gain = np.zeros_like(frequency)
        for centre, width, decibels in bands:
            gain += decibels * np.exp(-((np.log2(frequency / centre) / width) ** 2))
        return 10 ** (gain / 20)

    return shape(signal, curve)


def filtered(signal: Waveform, low: float, high: float) -> Waveform:
    """Keep what lies between two frequencies, with slopes of 12 dB an octave."""
    return shape(signal, lambda f: 1 / np.sqrt((1 + (low / f) ** 4) * (1 + (f / high) ** 4)))


def room(
    signal: Waveform, seconds: float, damping: float, predelay: float, share: float, seed: int
) -> Waveform:
    """Add a room of its own noise: high frequencies die first.

    Args:
        seconds: until the low end is 60 dB down.
        damping: share of that time which the top octaves last, 0 to 1.
        predelay: seconds before the first reflection.
        share: level beside the direct sound.
    """
    size = int(min(seconds, 4.0) * SAMPLE_RATE)
    rng = np.random.Generator(np.random.PCG64(seed))
    time = np.arange(size) / SAMPLE_RATE
    noise = rng.standard_normal(size)
    spectrum, frequency = np.fft.rfft(noise), np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    edges = (0.0, *_ROOM_BANDS, SAMPLE_RATE / 2 + 1)
    response = np.zeros(size)
    for number, (low, high) in enumerate(itertools.pairwise(edges)):
        lasts = seconds * damping ** (number / (len(edges) - 2))
        band = np.fft.irfft(spectrum * ((frequency >= low) & (frequency < high)), size)
        response += band * np.exp(-6.9 * time / max(lasts, 0.05))
    start = int(predelay * SAMPLE_RATE)
    response = np.concatenate([np.zeros(start), response])
    response /= max(float(np.sqrt((response**2).sum())), 1e-9)
    return signal + share * _convolve(signal, response)


def echo(signal: Waveform, seconds: float, feedback: float, share: float) -> Waveform:
    """Add repeats that fade."""
    delay, out, level = int(seconds * SAMPLE_RATE), signal.copy(), share
    for number in range(1, 7):
        start = number * delay
        if start >= len(signal) or level < 0.02:
            break
        out[start:] += level * signal[: len(signal) - start]
        level *= feedback
    return out


def warp(signal: Waveform, positions: Waveform) -> Waveform:
    """Return the signal at fractional positions in samples."""
    return np.interp(positions, np.arange(len(signal)), signal)


def chorus(signal: Waveform, rate: float, depth_s: float, share: float) -> Waveform:
    """Return a detuned copy: a delay that swings."""
    index = np.arange(len(signal), dtype=np.float64)
    swing = 0.5 + 0.5 * np.sin(2 * np.pi * rate * index / SAMPLE_RATE)
    return signal + share * warp(signal, index - SAMPLE_RATE * (0.008 + depth_s * swing))


def tremolo(signal: Waveform, rate: float, depth: float) -> Waveform:
    """Let the loudness swing."""
    swing = 0.5 + 0.5 * np.sin(2 * np.pi * rate * np.arange(len(signal)) / SAMPLE_RATE)
    return signal * (1 - depth * swing)


def drive(signal: Waveform, gain: float, bias: float) -> Waveform:
    """Clip softly; a bias adds even harmonics. At twice the rate, so that little folds back."""
    level = _rms(signal)
    spectrum = np.fft.rfft(signal / level * gain)
    double = np.fft.irfft(np.pad(spectrum, (0, len(signal) // 2)), 2 * len(signal)) * 2
    clipped = np.tanh(double + bias) - np.tanh(bias)
    return np.fft.irfft(np.fft.rfft(clipped)[: len(spectrum)], len(signal)) / 2 * level / gain**0.7


def tape(signal: Waveform, wow: float, flutter: float, hiss: float, top: float, seed: int) -> Waveform:
    """Play it from an old tape: speed that wavers (shares of 1), hiss (beside the signal), and less treble (hertz)."""
    rng = np.random.Generator(np.random.PCG64(seed))
    time = np.arange(len(signal)) / SAMPLE_RATE
    speed = 1 + wow * np.sin(2 * np.pi * (rng.uniform(0.4, 1.2) * time + rng.random()))
    speed += flutter * np.sin(2 * np.pi * (rng.uniform(5, 9) * time + rng.random()))
    wavering = warp(signal, np.cumsum(speed) - 1)
    noise = rng.standard_normal(len(signal)) * hiss * _rms(signal)
    return filtered(drive(wavering, 0.6, 0.05), 40.0, top) + noise


def compress(signal: Waveform, threshold_db: float, ratio: float) -> Waveform:
    """Make loud passages (beside the mean level) quieter; 5 ms attack, 80 ms release."""
    hops = -(-len(signal) // _COMPRESSOR_HOP)
    padded = np.pad(signal, (0, hops * _COMPRESSOR_HOP - len(signal)))
    levels = 20 * np.log10(np.abs(padded.reshape(hops, -1)).max(axis=1) / _rms(signal) + 1e-6)
    over = np.maximum(levels - threshold_db, 0.0) * (1 - 1 / ratio)
    gain, current = np.empty(hops), 0.0
    for index, wanted in enumerate(over):
        current += (wanted - current) * (0.63 if wanted > current else 0.06)
        gain[index] = current
    smooth = np.interp(np.arange(len(signal)), (np.arange(hops) + 0.5) * _COMPRESSOR_HOP, gain)
    return signal * 10 ** (-smooth / 20)


def crush(signal: Waveform, bits: float, rate: float) -> Waveform:
    """Reduce a sound to few bits and a low sample rate, held."""
    step = 2 * _rms(signal) * 4 / 2**bits
    held = signal[(np.arange(len(signal)) // (SAMPLE_RATE / rate) * (SAMPLE_RATE / rate)).astype(int)]
    return np.round(held / step) * step


@dataclass(frozen=True, slots=True)
class Effect:
    """This record names one effect and its settings, as a clip's labels name them."""

    name: str
    settings: dict[str, Any]

    def __call__(self, signal: Waveform) -> Waveform:
        return _EFFECTS[self.name](signal, **self.settings)


_EFFECTS: dict[str, Callable[..., Waveform]] = {
    "equaliser": equalise, "filter": filtered, "room": room, "echo": echo, "chorus": chorus, "tremolo": tremolo,
    "drive": drive, "tape": tape, "compressor": compress, "crush": crush,
}  # fmt: skip


def _log_uniform(rng: random.Random, low: float, high: float) -> float:
    return float(low * (high / low) ** rng.random())


def draw_part(rng: random.Random, beat_s: float, *, drums: bool) -> list[Effect]:
    """Return effects of one instrument: usually none, sometimes one or two."""
    chain = []
    if rng.random() < 0.5:
        chain.append(_draw_equaliser(rng, 3, 7.0))
    if not drums and rng.random() < 0.15:
        chain.append(
            Effect("chorus", {"rate": rng.uniform(0.2, 2.5), "depth_s": rng.uniform(0.001, 0.004),
                              "share": rng.uniform(0.3, 0.9)})
        )  # fmt: skip
    if rng.random() < 0.1:
        chain.append(Effect("drive", {"gain": _log_uniform(rng, 0.7, 5.0), "bias": rng.uniform(0, 0.3)}))
    if not drums and rng.random() < 0.08:
        chain.append(Effect("tremolo", {"rate": rng.uniform(3.0, 8.0), "depth": rng.uniform(0.2, 0.7)}))
    if not drums and rng.random() < 0.12:
        seconds = beat_s * rng.choice((0.5, 0.75, 1.0))
        chain.append(
            Effect("echo", {"seconds": seconds, "feedback": rng.uniform(0.2, 0.6), "share": rng.uniform(0.15, 0.5)})
        )  # fmt: skip
    if drums and rng.random() < 0.06:
        chain.append(Effect("crush", {"bits": rng.uniform(3.0, 7.0), "rate": _log_uniform(rng, 4000, 16000)}))
    return chain


def draw_mix(rng: random.Random, room_share: float) -> list[Effect]:
    """Return effects of the whole: from dry to drowned, from clean to an old tape.

    Args:
        room_share: the room that suits the mood, beside which the real one is drawn.
    """
    chain = []
    if rng.random() < 0.85:
        chain.append(
            Effect("room", {"seconds": _log_uniform(rng, 0.2, 3.5), "damping": rng.uniform(0.15, 0.7),
                            "predelay": rng.uniform(0.002, 0.04), "share": room_share * _log_uniform(rng, 0.5, 8.0),
                            "seed": rng.randrange(1 << 30)})
        )  # fmt: skip
    if rng.random() < 0.6:
        chain.append(_draw_equaliser(rng, 4, 5.0))
    if rng.random() < 0.4:
        chain.append(
            Effect("compressor", {"threshold_db": rng.uniform(-6, 6), "ratio": rng.uniform(1.5, 8.0)})
        )
    if rng.random() < 0.12:
        chain.append(
            Effect("tape", {"wow": rng.uniform(0, 0.003), "flutter": rng.uniform(0, 0.001),
                            "hiss": _log_uniform(rng, 0.001, 0.03), "top": _log_uniform(rng, 3500, 11000),
                            "seed": rng.randrange(1 << 30)})
        )  # fmt: skip
    elif rng.random() < 0.08:
        chain.append(
            Effect("filter", {"low": _log_uniform(rng, 20, 300), "high": _log_uniform(rng, 2500, 11000)})
        )  # fmt: skip
    return chain


def _draw_equaliser(rng: random.Random, count: int, strongest: float) -> Effect:
    bands = [
        (_log_uniform(rng, 60, 10000), rng.uniform(0.5, 2.0), rng.uniform(-strongest, strongest))
        for _ in range(rng.randint(1, count))
    ]
    return Effect("equaliser", {"bands": bands})


def apply(chain: Sequence[Effect], signal: Waveform) -> Waveform:
    """Return the signal through every effect of a chain, in order."""
    for effect in chain:
        signal = effect(signal)
    return signal


__all__ = ["Effect", "apply", "draw_mix", "draw_part", "warp"]
