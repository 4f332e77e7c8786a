"""The detector that travels with the package: right about its codec, its models and its corpus, silent about others."""

from __future__ import annotations

import pytest
import torch

from audiocraft.analysis.report import Report, analyse
from audiocraft.data.synthesis.sounds import compose_sound, render_sound
from audiocraft.generation.request import GenerationRequest
from audiocraft.models import MusicGen
from audiocraft.models.detectors.detector import Detector, load_detector
from audiocraft.models.loaders import load_compression_model

RATE, SECONDS = 24000, 4.0


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detector()


@pytest.fixture(scope="module")
def clips() -> list[torch.Tensor]:
    """Sounds of the corpus [1, N] that nobody has heard: their seed is none of the corpus's."""
    scenes = [compose_sound(977, index, "heldout", SECONDS) for index in range(6)]
    return [torch.from_numpy(render_sound(scene))[None] for scene in scenes]


def judged(wav: torch.Tensor, detector: Detector) -> Report:
    return analyse(wav, RATE, detector, music=False)


def test_clips_are_real_and_what_the_codec_makes_of_them_is_not(
    detector: Detector, clips: list[torch.Tensor]
) -> None:
    codec = load_compression_model("nano")
    with torch.inference_mode():
        fakes = codec.decode(codec.encode(torch.stack(clips))[0])
    real = [judged(wav, detector).score for wav in clips]
    fake = [judged(wav, detector).score for wav in fakes.clone()]
    right = sum(good > bad for good, bad in zip(real, fake, strict=True))  # type: ignore[operator]
    assert right >= 5


def test_a_generated_piece_is_found_out(detector: Detector) -> None:
    model = MusicGen.get_pretrained("nano", device="cpu")
    result = model.run(GenerationRequest(prompts=("calm piano in C major",), duration=SECONDS, seeds=(7,)))
    assert judged(result.audio[0], detector).verdict == "generated"


def test_strangers_get_no_verdict(detector: Detector) -> None:
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(1, int(SECONDS * RATE), generator=generator)
    spectrum = torch.fft.rfft(noise)
    spectrum[:, 1:] /= torch.arange(1, spectrum.shape[1]) ** 0.5
    tone = torch.sin(2 * torch.pi * 440 * torch.arange(int(SECONDS * RATE)) / RATE)[None]
    for wav in (noise, torch.fft.irfft(spectrum), tone):
        report = judged(0.2 * wav / wav.std(), detector)
        assert report.verdict == "unknown" and not report.in_domain
