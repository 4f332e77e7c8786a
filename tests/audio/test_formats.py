"""The table of formats, and that everybody who lists formats lists those."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from audiocraft.audio.encoders import open_encoder
from audiocraft.audio.files import encode_audio
from audiocraft.audio.formats import FILE_FORMATS, STREAM_FORMATS, AudioFormat, held_rate
from audiocraft.cli.live import StreamFormat
from audiocraft.workflows.render import SUFFIXES


def test_the_command_line_knows_the_same_formats() -> None:
    assert set(SUFFIXES) == {f".{form.suffix}" for form in FILE_FORMATS.values()}
    assert set(get_args(StreamFormat)) == STREAM_FORMATS.keys() - {"f32"}


def test_the_server_knows_the_same_formats() -> None:
    schemas = pytest.importorskip("audiocraft.server.api.schemas")
    assert set(get_args(schemas.AudioFormatName)) == STREAM_FORMATS.keys()


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 24000, 32000, 44100, 48000, 96000])
@pytest.mark.parametrize("name", FILE_FORMATS)
def test_every_format_holds_the_rate_that_the_table_says(name: str, rate: int) -> None:
    form = FILE_FORMATS[name]
    held = held_rate(form, rate)
    assert held == rate or held in form.rates
    # Nothing is lost below 48 kHz.
    assert held >= min(rate, 48000)
    assert encode_audio(torch.zeros(1, rate // 10), rate, name)
    if name in STREAM_FORMATS:
        assert open_encoder(name, rate, 1).sample_rate == held


@pytest.mark.parametrize("form", FILE_FORMATS.values(), ids=list(FILE_FORMATS))
def test_peaks_say_how_far_a_piece_is_turned_down(form: AudioFormat) -> None:
    """Never further than the format asks for, and by nothing where there is room; what is lossless stays as it is."""
    assert form.fitted(-1.0).headroom == form.fitted(0.5).headroom == form.headroom
    assert form.fitted(-20.0).headroom == -form.lost
    headrooms = [form.fitted(peak / 10).headroom for peak in range(-60, 0)]
    assert headrooms == sorted(headrooms)
    assert all(
        peak / 10 - room + form.headroom <= -1 + 1e-9
        for peak, room in zip(range(-60, -10), headrooms, strict=False)
    )
