"""Chroma says which notes sound, and nothing about how loud or in which octave."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from audiocraft.errors import InvalidInput
from audiocraft.modules.chroma import ChromaExtractor, chroma_filters

RATE = 16000
A = 9  # pitch class, counted from C


def tone(note: int, *, seconds: float = 1.0, rate: int = RATE) -> Tensor:
    """A MIDI note as [1, 1, N]."""
    time = torch.arange(int(seconds * rate)) / rate
    return torch.sin(2 * math.pi * 440 * 2 ** ((note - 69) / 12) * time).view(1, 1, -1)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("r12", {"radix2_exp": 12}),
        ("r14", {"radix2_exp": 14}),
        ("argmax", {"radix2_exp": 11, "argmax": True}),
        ("n24", {"radix2_exp": 12, "n_chroma": 24, "winhop": 512, "norm": 2.0}),
    ],
)
def test_golden(golden_dir: Path, name: str, options: dict) -> None:
    wav = load_file(golden_dir / "chroma" / "inputs.safetensors")["wav"]
    want = load_file(golden_dir / "chroma" / "expected" / "chroma.safetensors")[name]
    torch.testing.assert_close(ChromaExtractor(RATE, **options)(wav), want, rtol=0, atol=5e-5)


@pytest.mark.parametrize(
    ("rate", "nfft", "classes"), [(16000, 4096, 12), (32000, 16384, 12), (44100, 2048, 24)]
)
def test_filters_are_the_usual_ones(rate: int, nfft: int, classes: int) -> None:
    librosa = pytest.importorskip("librosa")
    wanted = librosa.filters.chroma(sr=rate, n_fft=nfft, tuning=0, n_chroma=classes)
    torch.testing.assert_close(chroma_filters(rate, nfft, classes), torch.tensor(wanted), rtol=0, atol=1e-6)


@given(st.integers(48, 95))
def test_a_note_is_its_pitch_class(note: int) -> None:
    chroma = ChromaExtractor(RATE, radix2_exp=12)(tone(note))
    assert (chroma.argmax(-1) == note % 12).all()


@given(st.floats(0.01, 100.0))
def test_loudness_does_not_matter(gain: float) -> None:
    extractor = ChromaExtractor(RATE, radix2_exp=11)
    wav = tone(60) + 0.3 * tone(64)
    torch.testing.assert_close(extractor(wav * gain), extractor(wav), rtol=0, atol=1e-4)


@given(st.integers(1, 9000))
def test_number_of_frames(samples: int) -> None:
    extractor = ChromaExtractor(RATE, radix2_exp=11, argmax=True)
    chroma = extractor(torch.zeros(2, 1, samples))
    assert chroma.shape == (2, extractor.num_frames(samples), 12)
    assert torch.equal(chroma.sum(-1), torch.ones(2, chroma.shape[1]))


def test_precision_around_it_does_not_matter() -> None:
    """The model it is a part of may be in half precision."""
    wav, extractor = tone(69), ChromaExtractor(RATE, radix2_exp=11)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(extractor(wav), ChromaExtractor(RATE, radix2_exp=11)(wav))
    half = extractor.half()(wav.half())
    assert half.dtype == torch.float32 and (half.argmax(-1) == A).all()


def test_only_the_window_is_saved() -> None:
    """Released checkpoints have the window and not the filters; on the meta device nothing may be left empty."""
    assert list(ChromaExtractor(RATE, radix2_exp=8).state_dict()) == ["spec.window"]
    with torch.device("meta"):
        assert not ChromaExtractor(RATE, radix2_exp=8).fbanks.is_meta


def test_refusals() -> None:
    with pytest.raises(InvalidInput, match="mono"):
        ChromaExtractor(RATE)(torch.zeros(1, 2, 9000))
    with pytest.raises(InvalidInput, match="does not fit"):
        ChromaExtractor(RATE, nfft=512, winlen=1024)
