"""What leaves never peaks above the ceiling, is untouched below it, is the same in pieces, and ends softly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from audiocraft.audio.finishing import Faults, Finish, Finisher, Opening, find_faults, finished
from audiocraft.audio.level_anchor import LevelAnchor
from audiocraft.audio.loudness import true_peak
from audiocraft.errors import InvalidInput
from audiocraft.generation.request import GenerationRequest
from audiocraft.models import MusicGen

RATE = 24000
SHARP = Finish(fade=0.0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(channels: int, samples: int, seed: int = 0) -> Tensor:
    return torch.randn(channels, samples, generator=seeded(seed))


def tones(seconds: float, level: float = 0.5, rate: int = RATE) -> Tensor:
    time = torch.arange(int(seconds * rate)) / rate
    return level * torch.stack([torch.sin(6.2832 * 220 * time), torch.sin(6.2832 * 331 * time)])


def burst(rate: int) -> Tensor:
    """Quiet music with 30 ms that are 25 dB louder."""
    wav = tones(1.0, 0.3, rate)
    wav[:, rate // 2 : rate // 2 + rate // 33] *= 18
    return wav


SOUNDS: dict[str, Callable[[int], Tensor]] = {
    "white noise at +14 dB": lambda rate: 5 * noise(2, rate),
    "square wave": lambda rate: 1.4 * tones(1.0, 1.0, rate).sign(),
    "impulses": lambda rate: torch.where(torch.arange(rate) % 997 == 0, 3.0, 0.0).expand(2, -1),
    "half the rate": lambda rate: 2.0 * torch.cos(torch.pi * torch.arange(rate) * 0.98).expand(2, -1),
    "a burst": burst,
    "two samples": lambda rate: torch.tensor([[4.0, -4.0]]),
    "one loud sample at the start": lambda rate: torch.cat([torch.tensor([[9.0]]), torch.zeros(1, rate)], 1),
    "one loud sample at the end": lambda rate: torch.cat([0.1 * noise(1, rate), torch.tensor([[9.0]])], 1),
    "loud from a block's border on": lambda rate: (
        tones(1.0, 0.1, rate) * torch.where(torch.arange(rate) < 480, 1, 25)
    ),
}


@pytest.mark.parametrize("rate", [16000, 24000, 44100, 48000, 192000])
@pytest.mark.parametrize("sound", SOUNDS)
def test_nothing_peaks_above_the_ceiling(sound: str, rate: int) -> None:
    wav = SOUNDS[sound](rate)
    for finish in (SHARP, Finish(ceiling=-6.0)):
        found = finished(wav, rate, finish)
        assert found.shape == wav.shape and found.dtype == torch.float32
        assert true_peak(found, rate) <= finish.ceiling


@settings(max_examples=40)
@given(
    cuts=st.lists(st.integers(0, 9000), max_size=8),
    length=st.integers(0, 9000),
    level=st.sampled_from([0.2, 1.0, 4.0]),
)
def test_pieces_give_the_samples_of_the_whole_bit_for_bit(cuts: list[int], length: int, level: float) -> None:
    wav = level * noise(2, length) * torch.linspace(0.1, 1, length)
    whole = finished(wav, RATE)
    finisher = Finisher(RATE, 2)
    places = sorted({0, length, *(cut for cut in cuts if cut < length)})
    pieces = [finisher.push(wav[:, start:end]) for start, end in pairwise(places)]
    assert torch.equal(torch.cat([torch.zeros(2, 0), *pieces, finisher.finish()], dim=-1), whole)
    assert whole.shape == wav.shape


def test_what_stays_below_the_ceiling_is_untouched() -> None:
    wav = tones(2.0, 0.85)
    assert -3 < true_peak(wav, RATE) <= -1
    assert torch.equal(finished(wav, RATE, SHARP), wav)
    fade = round(Finish().fade * RATE)
    assert torch.equal(finished(wav, RATE)[:, :-fade], wav[:, :-fade])


def test_music_is_itself_again_soon_after_a_burst() -> None:
    wav = burst(RATE)
    found = finished(wav, RATE, SHARP)
    changed = (found != wav).any(dim=0).nonzero()
    begin, end = RATE // 2, RATE // 2 + RATE // 33
    assert begin - 0.006 * RATE <= int(changed.min())
    assert int(changed.max()) <= end + 0.9 * RATE
    # A quarter of a second later less than half a decibel is missing.
    later = slice(end + RATE // 4, end + RATE // 4 + 1000)
    assert float((found[:, later] / wav[:, later]).nanmedian()) > 0.94


def test_channels_are_turned_down_together() -> None:
    wav = torch.cat([3 * tones(0.5)[:1], 0.25 * tones(0.5)[:1]])
    found = finished(wav, RATE, SHARP)
    torch.testing.assert_close(found[0], 12 * found[1], rtol=1e-5, atol=1e-6)


def test_the_gain_is_smooth() -> None:
    """A gain that jumps would click: from one sample to the next it moves by less than a twentieth."""
    wav = 0.25 * torch.ones(1, RATE)
    wav[:, RATE // 2] = 6.0
    gain = finished(wav, RATE, SHARP)[0] / wav[0]
    assert float(gain.diff().abs().max()) < 0.05


@pytest.mark.parametrize("samples", [1, 100, 480, 5000, 24000])
def test_the_end_does_not_click(samples: int) -> None:
    wav = tones(1.0, 0.8)[:, :samples]
    found = finished(wav, RATE)
    last = found[:, -120:]
    if samples >= 480:
        assert float(last.abs().max()) < 0.01 * float(found.abs().max())
    assert float(found[:, -1].abs().max()) < 1e-6


def test_audio_comes_soon() -> None:
    """A listener waits no longer than 85 ms for what went in."""
    finisher = Finisher(RATE, 2)
    out = 0
    for number, piece in enumerate(tones(1.0).split(240, dim=-1), start=1):
        out += finisher.push(piece).shape[-1]
        assert number * 240 - out <= 0.085 * RATE


@pytest.mark.parametrize("anchored", [False, True])
def test_a_request_can_ask_for_it(anchored: bool) -> None:
    """In files and in streams, beside other processors."""
    model = MusicGen.get_pretrained("debug")
    loud = Louder(40.0)
    anchor = (LevelAnchor(reference=1),) if anchored else ()
    request = GenerationRequest(
        prompts=("rock",), duration=0.7, seeds=(1,), processors=(*anchor, loud, Finish())
    )
    found = model.run(request).audio[0]
    streamed = torch.cat([chunk.audio for chunk in model.stream(request)], dim=-1)
    assert found.shape == streamed.shape == (1, round(0.7 * model.sample_rate))
    for audio in (found, streamed):
        assert -1.6 < true_peak(audio, model.sample_rate) <= -1.0
        assert float(audio[:, -1].abs()) < 1e-6


@dataclass(frozen=True)
class Louder:
    """A processor that multiplies samples."""

    gain: float

    def open(self, sample_rate: int, channels: int) -> Louder:
        return self

    def push(self, audio: Tensor) -> Tensor:
        return audio * self.gain

    def finish(self) -> Tensor:
        return torch.zeros(1, 0)


def test_what_cannot_be_finished_is_refused() -> None:
    with pytest.raises(InvalidInput, match="2 channels"):
        Finisher(RATE, 2).push(torch.zeros(1, 10))
    with pytest.raises(InvalidInput, match="undefined"):
        Finisher(RATE, 1).push(torch.tensor([[0.0, torch.nan]]))
    with pytest.raises(InvalidInput, match="ceiling"):
        Finish(ceiling=1.0)
    with pytest.raises(InvalidInput, match="fade"):
        Finish(fade=-1.0)


def test_faults_are_named() -> None:
    music = tones(3.0, 0.2) * (1 + 0.5 * torch.sin(torch.arange(3 * RATE) / 1500))
    assert find_faults(music, RATE).reason is None
    assert find_faults(torch.zeros(2, RATE), RATE).reason == "it is silent"
    assert find_faults(music.clone().fill_(torch.inf), RATE).reason == "it has samples that are no numbers"
    stuck = find_faults(torch.cat([music, tones(3.0, 0.2)], dim=-1), RATE)
    assert 2.5 < stuck.still < 3.1 and stuck.reason == f"it stands still for {stuck.still:.1f} s"
    # A rest is music.
    assert find_faults(torch.cat([music, torch.zeros(2, 3 * RATE), music], -1), RATE).reason is None
    assert Faults(broken=False, silent=False, still=1.9).reason is None


def test_nothing_is_let_through_before_it_is_sure_to_be_heard() -> None:
    noise = 0.1 * torch.randn(2, 4 * RATE)
    for lead in (0, RATE):  # seconds of silence before
        piece = torch.cat([torch.zeros(2, lead), noise], dim=-1)
        opening = Opening(RATE, piece.shape[-1])
        parts = [opening.push(part) for part in piece.split(480, dim=-1)]
        held = next(place for place, part in enumerate(parts) if part)
        assert lead <= 480 * held <= lead + RATE // 10  # music waits for less than a tenth of a second
        assert torch.equal(torch.cat([audio for part in parts for audio in part], dim=-1), piece)
        # What is let through makes the whole no silence, whatever comes after it.
        heard = torch.cat([audio for part in parts[: held + 1] for audio in part], dim=-1)
        whole = torch.nn.functional.pad(heard, (0, piece.shape[-1] - heard.shape[-1]))
        assert find_faults(whole, RATE).reason != "it is silent"


def test_a_silent_or_broken_beginning_is_held_back() -> None:
    opening = Opening(RATE, 3 * RATE)
    assert not any(opening.push(part) for part in (1e-3 * torch.randn(2, 3 * RATE)).split(1000, dim=-1))
    assert opening.faults.reason == "it is silent"
    broken = Opening(RATE, 3 * RATE)
    assert not broken.push(torch.full((2, 100), torch.nan)) and not broken.push(torch.ones(2, RATE))
    assert broken.broken and broken.faults.broken
    # What is continued is no reason to let it through; after a minute it is let through whatever it is.
    continued = Opening(RATE, 6 * RATE, skip=3 * RATE)
    assert not continued.push(torch.randn(2, 3 * RATE)) and continued.push(torch.randn(2, RATE))
    endless = Opening(RATE, 1 << 60)
    assert not endless.push(torch.zeros(2, 60 * RATE)) and len(endless.push(torch.zeros(2, 1))) == 2
