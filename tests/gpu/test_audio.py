"""Audio that lies on a GPU is converted, measured, finished and written like audio that does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from audiocraft.audio import faults
from audiocraft.audio.convert import convert_audio, normalize_audio
from audiocraft.audio.files import encode_audio
from audiocraft.audio.finishing import Finisher, find_faults, finished
from audiocraft.audio.level_anchor import AnchoredLevel, LevelAnchor
from audiocraft.audio.loudness import integrated_loudness, true_peak
from audiocraft.audio.pcm import as_samples, in_steps, pcm16
from audiocraft.audio.spectrogram import get_spec
from audiocraft.audio.writer import AudioWriter, GrowingWav
from audiocraft.losses import TFLoudnessRatio
from audiocraft.metrics.reconstruction import MelDistance, log_mel_distance, si_snr
from audiocraft.metrics.seams import measure_seams

from .conftest import Device

RATE = 24000


def music() -> Tensor:
    """Two channels of a second [2, N] with a burst above full scale."""
    wav = 0.2 * torch.randn(2, RATE, generator=torch.Generator().manual_seed(0))
    wav[:, 9000:9200] *= 20
    return wav


VALUES: dict[str, Callable[[Tensor], Tensor]] = {
    "resampled": lambda wav: convert_audio(wav, RATE, 16000, 1),
    "as loud": lambda wav: normalize_audio(wav, strategy="loudness", sample_rate=RATE),
    "loudness": lambda wav: integrated_loudness(wav, RATE),
    "in steps": in_steps,
    "finished": lambda wav: finished(wav, RATE),
    "held level": lambda wav: AnchoredLevel(LevelAnchor(reference=1), RATE).push(wav.repeat(1, 3)),
    "peak": lambda wav: torch.tensor(true_peak(wav, RATE)),
    "mel": lambda wav: torch.tensor(log_mel_distance(0.9 * wav[0], wav[0], RATE)),
    "ratio": lambda wav: torch.tensor(si_snr(wav[0] + 0.1 * wav[1], wav[0], RATE)),
    "picture": lambda wav: torch.from_numpy(get_spec(wav[0], RATE)),
    "loss": lambda wav: TFLoudnessRatio(RATE).to(wav.device)(wav[None] * 0.9, wav[None]),
    "distance": lambda wav: MelDistance(RATE).to(wav.device)(wav[None] * 0.9, wav[None]),
}
NUMBERS: dict[str, Callable[[Tensor], object]] = {
    "still": lambda wav: faults.longest_still_s(wav[0], RATE),
    "silent": faults.is_silent,
    "clipped": faults.is_clipped,
    "faults": lambda wav: find_faults(wav, RATE),
    "repeated": lambda wav: faults.longest_repetition_s((wav[:, :500] > 0).long(), 50.0),
    "samples": lambda wav: (as_samples(wav).tobytes(), pcm16(wav).tobytes()),
    "file": lambda wav: encode_audio(wav, RATE, "flac"),
}


@pytest.mark.parametrize("what", VALUES)
def test_values_are_those_of_the_cpu(gpu: Device, what: str) -> None:
    expected = VALUES[what](music())
    torch.testing.assert_close(VALUES[what](music().to("cuda")).cpu(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("what", NUMBERS)
def test_numbers_are_those_of_the_cpu(gpu: Device, what: str) -> None:
    expected = NUMBERS[what](music())
    assert NUMBERS[what](music().to("cuda")) == expected


def test_seams_are_measured(gpu: Device) -> None:
    pieces = [(music().repeat(1, 4), [30000, 60000])]
    there = [(wav.to("cuda"), seams) for wav, seams in pieces]
    assert measure_seams(there, RATE).count == measure_seams(pieces, RATE).count == 2


def test_files_grow(gpu: Device, tmp_path: Path) -> None:
    finisher = Finisher(RATE, 2)
    growing = GrowingWav(tmp_path / "a.wav", RATE, 2)
    with AudioWriter(tmp_path / "b.wav", RATE, 2, format="wav", seconds=1) as writer:
        for piece in music().to("cuda").split(5000, dim=-1):
            ready = finisher.push(piece)
            writer.write(ready.to("cuda"))
            growing.append(ready.to("cuda"))
    growing.finish()
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
