"""Synthesises sound effects with numpy: each function fills a stretch of time with one kind of sound.

All take a random generator and a length in samples and return a signal of about unit loudness at 24 kHz.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocraft.data.synthesis.levels import SAMPLE_RATE

Waveform = NDArray[np.float64]
Rng = np.random.Generator


def _seconds(size: int) -> Waveform:
    return np.arange(size) / SAMPLE_RATE


def _noise(rng: Rng, size: int, low: float, high: float, slope: float = 0.0) -> Waveform:
    """Make noise between two frequencies with soft edges; `slope` tilts it (-1 is pink-like)."""
    spectrum = np.fft.rfft(rng.standard_normal(size))
    frequency = np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE), 1.0)
    shape = 1 / (1 + (low / frequency) ** 6) / (1 + (frequency / high) ** 6) * (frequency / 1000) ** slope
    return _unit(np.fft.irfft(spectrum * shape, size))


def _unit(signal: Waveform) -> Waveform:
    return signal / max(float(np.sqrt(np.mean(signal**2))), 1e-9)


def _slow(rng: Rng, size: int, period_s: float, low: float, high: float) -> Waveform:
    """Return a smooth random curve between two values that turns about every `period_s`."""
    count = max(4, int(size / SAMPLE_RATE / period_s) + 4)
    points = rng.uniform(low, high, count)
    position = np.linspace(0, count - 1.001, size)
    index = position.astype(int)
    blend = 0.5 - 0.5 * np.cos(np.pi * (position - index))
    return points[index] * (1 - blend) + points[index + 1] * blend


def _phase(frequency: Waveform) -> Waveform:
    return 2 * np.pi * np.cumsum(frequency) / SAMPLE_RATE


def _decay(size: int, seconds: float, attack_s: float = 0.002) -> Waveform:
    time = _seconds(size)
    return np.minimum(time / attack_s, 1.0) * np.exp(-time / seconds)


def _place(size: int, starts: Sequence[float], sound: Callable[[], Waveform]) -> Waveform:
    """Add a new sound at each start second."""
    out = np.zeros(size)
    for start in starts:
        offset = int(start * SAMPLE_RATE)
        if offset < size:
            one = sound()[: size - offset]
            out[offset : offset + len(one)] += one
    return out


def _clicks(rng: Rng, size: int, per_second: float, click_s: float, low: float, high: float) -> Waveform:
    """Make many short bursts at random times and strengths, as one noise gated by their envelope."""
    impulses = (rng.random(size) < per_second / SAMPLE_RATE) * rng.exponential(1.0, size)
    kernel = np.exp(-np.arange(int(6 * click_s * SAMPLE_RATE)) / (click_s * SAMPLE_RATE))
    length = size + len(kernel)
    envelope = np.fft.irfft(np.fft.rfft(impulses, length) * np.fft.rfft(kernel, length), length)[:size]
    return envelope * _noise(rng, size, low, high)


def _steady_times(rng: Rng, size: int, period_s: float, unsteadiness: float) -> list[float]:
    count = int(size / SAMPLE_RATE / period_s) + 1
    return [max(0.0, period_s * (i + 0.1 + rng.uniform(-unsteadiness, unsteadiness))) for i in range(count)]


def rain(rng: Rng, size: int) -> Waveform:
    return _noise(rng, size, 900, 9000, -0.4) + 0.8 * _unit(_clicks(rng, size, 180, 0.002, 1500, 9000))


def wind(rng: Rng, size: int) -> Waveform:
    gust = _slow(rng, size, 1.6, 0.15, 1.0)
    whistle = _noise(rng, size, 420, 620) * gust**3
    return _noise(rng, size, 60, 420, -0.7) * gust + 0.4 * whistle


def waves(rng: Rng, size: int) -> Waveform:
    period = rng.uniform(3.5, 5.5)
    swell = 0.5 - 0.5 * np.cos(2 * np.pi * (_seconds(size) / period + rng.random()))
    return _noise(rng, size, 80, 900, -0.6) * (0.25 + swell) + 0.9 * _noise(rng, size, 1200, 7000) * swell**3


def fire(rng: Rng, size: int) -> Waveform:
    roar = _noise(rng, size, 50, 400, -0.5) * _slow(rng, size, 0.5, 0.5, 1.0)
    return 0.6 * roar + _unit(_clicks(rng, size, 14, 0.004, 1000, 8000))


def stream(rng: Rng, size: int) -> Waveform:
    bubbles = np.zeros(size)
    for start in rng.uniform(0, size / SAMPLE_RATE, int(14 * size / SAMPLE_RATE)):
        length = int(rng.uniform(0.03, 0.08) * SAMPLE_RATE)
        pitch = rng.uniform(500, 1600) * (1 + np.linspace(0, rng.uniform(0.1, 0.6), length))
        one = np.sin(_phase(pitch)) * _decay(length, 0.02)
        offset = int(start * SAMPLE_RATE)
        bubbles[offset : offset + length] += one[: size - offset]
    return 0.5 * _noise(rng, size, 400, 4000, -0.5) + _unit(bubbles)


def crickets(rng: Rng, size: int) -> Waveform:
    pitch, rate, chirp = rng.uniform(3800, 4800), rng.uniform(2.2, 3.2), rng.uniform(28, 36)
    time = _seconds(size)
    gate = ((time * rate) % 1 < 0.45) * np.clip(np.sin(2 * np.pi * chirp * time), 0, 1)
    return gate * np.sin(2 * np.pi * pitch * time) + 0.03 * _noise(rng, size, 200, 4000)


def engine(rng: Rng, size: int) -> Waveform:
    speed = rng.uniform(28, 60) * _slow(rng, size, 2.5, 0.85, 1.2)
    phase = _phase(speed)
    tone = sum((np.sin(n * phase + 0.3 * n) / n**0.7 for n in range(1, 14)), np.zeros(size))
    return _unit(tone) + 0.35 * _noise(rng, size, 80, 1500, -0.5) * (0.6 + 0.4 * np.sin(phase))


def helicopter(rng: Rng, size: int) -> Waveform:
    rate = rng.uniform(9, 13)
    blade = (0.5 + 0.5 * np.cos(2 * np.pi * rate * _seconds(size))) ** 6
    return _noise(rng, size, 60, 900, -0.5) * (0.1 + blade) + 0.15 * np.sin(
        2 * np.pi * rng.uniform(380, 460) * _seconds(size)
    )


def siren(rng: Rng, size: int) -> Waveform:
    rate, low = rng.uniform(0.25, 0.6), rng.uniform(520, 680)
    sweep = 0.5 - 0.5 * np.cos(2 * np.pi * rate * _seconds(size))
    phase = _phase(low * 2.0**sweep)
    return np.sin(phase) + 0.35 * np.sin(2 * phase) + 0.2 * np.sin(3 * phase)


def alarm(rng: Rng, size: int) -> Waveform:
    pitch, rate = rng.uniform(900, 2200), rng.uniform(2.0, 5.0)
    time = _seconds(size)
    gate = ((time * rate) % 1 < 0.5).astype(np.float64)
    gate = np.convolve(gate, np.ones(96) / 96, mode="same")
    return gate * (np.sin(2 * np.pi * pitch * time) + 0.3 * np.sin(6 * np.pi * pitch * time))


def clock(rng: Rng, size: int) -> Waveform:
    tones = (rng.uniform(1800, 2600), rng.uniform(1300, 1700))
    out = np.zeros(size)
    length = int(0.05 * SAMPLE_RATE)
    for tick in range(int(2 * size / SAMPLE_RATE) + 1):
        one = np.sin(2 * np.pi * tones[tick % 2] * _seconds(length)) * _decay(length, 0.008, 0.0005)
        offset = int((0.05 + tick * 0.5) * SAMPLE_RATE)
        if offset < size:
            one = one + 0.5 * rng.standard_normal(length) * _decay(length, 0.003, 0.0005)
            out[offset : offset + length] += one[: size - offset]
    return out


def typing(rng: Rng, size: int) -> Waveform:
    starts: list[float] = []
    time = 0.05
    while time < size / SAMPLE_RATE:
        starts.append(time)
        time += rng.uniform(0.08, 0.2) if rng.random() < 0.88 else rng.uniform(0.4, 0.8)

    def key() -> Waveform:
        length = int(0.04 * SAMPLE_RATE)
        thock = np.sin(2 * np.pi * rng.uniform(280, 420) * _seconds(length)) * _decay(length, 0.01, 0.001)
        click = rng.standard_normal(length) * _decay(length, 0.004, 0.0005)
        return rng.uniform(0.6, 1.0) * (click + 0.5 * thock)

    return _place(size, starts, key)


def footsteps(rng: Rng, size: int) -> Waveform:
    pitch = rng.uniform(70, 120)

    def step() -> Waveform:
        length = int(0.2 * SAMPLE_RATE)
        thump = np.sin(2 * np.pi * pitch * _seconds(length)) * _decay(length, 0.04)
        grit = _noise(rng, length, 400, 4000) * _decay(length, 0.03)
        return rng.uniform(0.8, 1.0) * (thump + 0.5 * grit)

    return _place(size, _steady_times(rng, size, rng.uniform(0.45, 0.7), 0.04), step)


def birds(rng: Rng, size: int) -> Waveform:
    base = rng.uniform(2200, 3800)

    def song() -> Waveform:
        notes = []
        for _ in range(rng.integers(2, 6)):
            length = int(rng.uniform(0.06, 0.16) * SAMPLE_RATE)
            sweep = np.linspace(base * rng.uniform(0.85, 1.3), base * rng.uniform(0.85, 1.3), length)
            notes += [np.sin(_phase(sweep)) * np.hanning(length), np.zeros(int(0.03 * SAMPLE_RATE))]
        return np.concatenate(notes)

    return _place(size, _steady_times(rng, size, rng.uniform(0.8, 1.4), 0.3), song)


def dog(rng: Rng, size: int) -> Waveform:
    pitch = rng.uniform(260, 480)

    def bark() -> Waveform:
        length = int(rng.uniform(0.16, 0.24) * SAMPLE_RATE)
        sweep = pitch * (1 + 0.6 * np.sin(np.pi * np.linspace(0, 1, length)))
        phase = _phase(sweep)
        voice = sum(
            (np.sin(n * phase) * w for n, w in ((1, 0.6), (2, 1.0), (3, 0.8), (4, 0.4), (5, 0.2))),
            np.zeros(length),
        )
        return (voice + 0.7 * _noise(rng, length, 500, 3000)) * np.hanning(length) ** 0.6

    starts = [start for start in _steady_times(rng, size, 0.55, 0.1) if rng.random() < 0.75] or [0.0]
    return _place(size, starts, bark)


def drops(rng: Rng, size: int) -> Waveform:
    def drop() -> Waveform:
        length = int(0.15 * SAMPLE_RATE)
        sweep = rng.uniform(700, 1300) * (1 + 0.7 * np.linspace(0, 1, length))
        return np.sin(_phase(sweep)) * _decay(length, 0.03)

    return _place(size, _steady_times(rng, size, rng.uniform(0.4, 0.9), 0.2), drop)


def bell(rng: Rng, size: int) -> Waveform:
    pitch = rng.uniform(280, 620)
    partials = (
        (0.5, 0.4, 2.0),
        (1, 1.0, 1.6),
        (1.19, 0.6, 1.2),
        (1.5, 0.4, 1.0),
        (2, 0.7, 0.8),
        (2.74, 0.4, 0.5),
    )

    def strike() -> Waveform:
        length = int(4 * SAMPLE_RATE)
        time = _seconds(length)
        tones = (w * np.sin(2 * np.pi * pitch * r * time) * np.exp(-time / d) for r, w, d in partials)
        return sum(tones, np.zeros(length)) * np.minimum(time / 0.001, 1)

    return _place(size, _steady_times(rng, size, rng.uniform(1.2, 2.4), 0.02), strike)


def door(rng: Rng, size: int) -> Waveform:
    """Return a creak, then a slam."""
    creak_s = min(rng.uniform(0.7, 1.3), 0.5 * size / SAMPLE_RATE)
    creak_size, slam_size = int(creak_s * SAMPLE_RATE), int(0.6 * SAMPLE_RATE)
    rate = np.linspace(rng.uniform(30, 50), rng.uniform(70, 120), creak_size)
    creak = np.sign(np.sin(_phase(rate))) * np.hanning(creak_size) * _noise(rng, creak_size, 500, 1800)
    slam = np.sin(2 * np.pi * 62 * _seconds(slam_size)) * _decay(slam_size, 0.12) * 2.5
    slam += _noise(rng, slam_size, 80, 2500, -0.5) * _decay(slam_size, 0.06) * 2
    whole = np.concatenate([0.35 * creak, np.zeros(int(0.1 * SAMPLE_RATE)), slam, np.zeros(size)])
    return whole[:size]


def whoosh(rng: Rng, size: int) -> Waveform:
    def pass_by() -> Waveform:
        length = int(rng.uniform(0.6, 1.1) * SAMPLE_RATE)
        low, high = (_noise(rng, length, *band) for band in ((200, 900), (900, 5000)))
        shape = np.hanning(length) ** 2
        return shape * (low + high * np.linspace(0.2, 1.0, length) * shape)

    return _place(size, _steady_times(rng, size, rng.uniform(1.4, 2.0), 0.1), pass_by)


def thunder(rng: Rng, size: int) -> Waveform:
    def clap() -> Waveform:
        length = int(3.5 * SAMPLE_RATE)
        rumble = (
            _noise(rng, length, 30, 220, -0.5) * _decay(length, 1.1, 0.08) * _slow(rng, length, 0.2, 0.4, 1.3)
        )
        crack = _noise(rng, length, 200, 4000, -0.5) * _decay(length, 0.12)
        return 2.0 * rumble + crack

    return _place(size, _steady_times(rng, size, rng.uniform(3.0, 4.5), 0.1), clap)


def explosion(rng: Rng, size: int) -> Waveform:
    length = max(size, SAMPLE_RATE)
    blast = _noise(rng, length, 40, 3000, -0.8) * _decay(length, 0.45) * 2
    boom = np.sin(_phase(45 + 60 * np.exp(-_seconds(length) / 0.15))) * _decay(length, 0.5)
    return (blast + boom)[:size]


# Sounds that go on, and sounds that happen: (function, seconds it takes at least, at most).
LASTING: MappingProxyType[str, Callable[[Rng, int], Waveform]] = MappingProxyType(
    {"rain": rain, "wind": wind, "waves": waves, "fire": fire, "stream": stream, "crickets": crickets,
     "engine": engine, "helicopter": helicopter, "clock": clock, "typing": typing, "footsteps": footsteps}
)  # fmt: skip
EVENTS: MappingProxyType[str, tuple[Callable[[Rng, int], Waveform], float, float]] = MappingProxyType(
    {"siren": (siren, 4.0, 8.0), "alarm": (alarm, 2.5, 6.0), "birds": (birds, 3.0, 7.0), "dog": (dog, 1.5, 4.0),
     "drops": (drops, 3.0, 6.0), "bell": (bell, 3.5, 7.0), "door": (door, 1.8, 2.6), "whoosh": (whoosh, 1.2, 4.0),
     "thunder": (thunder, 3.5, 6.0), "explosion": (explosion, 2.0, 3.0)}
)  # fmt: skip


def synthesize(kind: str, rng: Rng, size: int) -> NDArray[Any]:
    """Synthesise one kind of sound, faded at both ends -> [size], at unit loudness over its length."""
    function = LASTING[kind] if kind in LASTING else EVENTS[kind][0]
    signal = _unit(function(rng, size))
    fade = min(size // 4, SAMPLE_RATE // 50)
    signal[:fade] *= np.linspace(0, 1, fade)
    signal[-fade:] *= np.linspace(1, 0, fade)
    return signal
