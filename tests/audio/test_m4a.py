"""M4A files say their chapters and tags to other readers, and hold the audio."""

from __future__ import annotations

import io
import math

import pytest
import torch

from audiocraft.audio.chapters import Chapter
from audiocraft.audio.loudness import true_peak
from audiocraft.audio.m4a import decode_m4a, encode_m4a
from audiocraft.errors import InvalidInput

RATE = 44100
MARKS = (Chapter(0.0, "Welcome"), Chapter(1.25, "두 번째"), Chapter(2.5, "End"))


def tone(seconds: float = 4.0) -> torch.Tensor:
    ticks = torch.arange(round(seconds * RATE)) / RATE
    left = 0.4 * torch.sin(2 * math.pi * 440 * ticks)
    return torch.stack([left, 0.5 * left])


def test_chapters_and_tags_are_read_back_by_another_library() -> None:
    av = pytest.importorskip("av")
    content = encode_m4a(
        tone(), RATE, ceiling=-9.0, chapters=MARKS, tags={"title": "Episode 1", "software": "us"}
    )
    with av.open(io.BytesIO(content)) as file:
        found = [
            (
                float(one["start"] * one["time_base"]),
                float(one["end"] * one["time_base"]),
                one["metadata"]["title"],
            )
            for one in file.chapters()
        ]
        assert file.metadata["title"] == "Episode 1"
    assert found == [(0.0, 1.25, "Welcome"), (1.25, 2.5, "두 번째"), (2.5, 4.0, "End")]
    decoded, rate = decode_m4a(content)
    assert rate == RATE and decoded.shape[0] == 2
    assert decoded.shape[-1] == pytest.approx(4 * RATE, abs=3000)
    levels = decoded[:, RATE : 3 * RATE].square().mean(-1).sqrt()
    assert float(levels[0] / levels[1]) == pytest.approx(2, rel=0.03)
    assert (
        -11 < true_peak(decoded, RATE) <= -9
    )  # the beginning of a tone overshoots by more than two decibels


@pytest.mark.parametrize(
    ("shape", "rate", "marks", "said"),
    [
        ((3, 100), RATE, (), "one or two channels"),
        ((1, 100), 12345, (), "12345 Hz"),
        ((1, RATE), RATE, (Chapter(2.0, "Late"),), "'Late' begins at 2 s"),
    ],
)
def test_what_aac_cannot_hold_is_refused(
    shape: tuple[int, int], rate: int, marks: tuple[Chapter, ...], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        encode_m4a(torch.zeros(shape), rate, chapters=marks)
