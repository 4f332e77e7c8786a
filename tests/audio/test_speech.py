"""Speech is found where it is, whatever the noise around it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from audiocraft.audio.speech import speech_regions
from audiocraft.errors import InvalidInput

RATE = 16000


def spoken(places: list[tuple[float, float]], seconds: float, noise_db: float, rate: int = RATE) -> Tensor:
    """Noise in the band of speech whose level goes up and down as syllables do, over other noise."""
    generator = torch.Generator().manual_seed(0)
    count = round(seconds * rate)
    time = torch.arange(count) / rate
    voice = torch.randn(1, count, generator=generator)
    voice = torch.nn.functional.avg_pool1d(voice[None], 5, stride=1, padding=2)[0]
    voice = voice * (0.6 + 0.4 * torch.sin(2 * torch.pi * 4 * time))
    open_ = torch.zeros(count)
    for start, end in places:
        open_[round(start * rate) : round(end * rate)] = 1
    noise = torch.randn(1, count, generator=generator) * 10 ** (noise_db / 20)
    return 0.3 * voice * open_ + noise


@pytest.mark.parametrize("noise_db", [-120.0, -60.0, -36.0])
@pytest.mark.parametrize("rate", [8000, 44100])
def test_stretches_of_speech_are_found_to_a_tenth_of_a_second(noise_db: float, rate: int) -> None:
    places = [(0.5, 2.0), (2.9, 3.6), (5.0, 7.5)]
    found = speech_regions(spoken(places, 9.0, noise_db, rate), rate, detector="level")
    assert len(found) == len(places)
    for (start, end), (first, last) in zip(found, places, strict=True):
        assert start == pytest.approx(first, abs=0.1)
        assert end == pytest.approx(last, abs=0.1)


def test_short_pauses_belong_to_the_speech_and_clicks_are_none() -> None:
    places = [(1.0, 2.0), (2.2, 3.0), (5.0, 5.03)]
    found = speech_regions(spoken(places, 7.0, -80.0), RATE, detector="level")
    assert len(found) == 1
    assert len(speech_regions(spoken(places, 7.0, -80.0), RATE, pause=0.05, detector="level")) == 2


def test_silence_says_nothing_and_what_never_pauses_is_one_stretch() -> None:
    assert speech_regions(torch.zeros(2, RATE), RATE, detector="level") == ()
    assert speech_regions(torch.zeros(1, 0), RATE) == ()
    steady = torch.randn(1, 2 * RATE, generator=torch.Generator().manual_seed(1))
    assert speech_regions(steady, RATE, detector="level") == ((0.0, 2.0),)


def test_a_long_recording_is_heard_piece_by_piece_with_the_same_result() -> None:
    places = [(1.0, 2.0), (59.5, 61.0), (70.0, 71.0)]
    found = speech_regions(spoken(places, 75.0, -60.0, 8000), 8000, detector="level")
    assert [round(start) for start, _ in found] == [1, 59, 70] or [round(start) for start, _ in found] == [
        1,
        60,
        70,
    ]
    assert len(found) == 3


def test_the_network_hears_nothing_in_noise() -> None:
    pytest.importorskip("silero_vad")
    noise = spoken([(1.0, 3.0)], 4.0, -40.0)
    assert sum(end - start for start, end in speech_regions(noise, RATE, detector="silero")) < 1.0


def test_a_detector_that_is_not_known_is_refused() -> None:
    with pytest.raises(InvalidInput, match="loudly"):
        speech_regions(torch.ones(1, RATE), RATE, detector="loudly")  # type: ignore[arg-type]
