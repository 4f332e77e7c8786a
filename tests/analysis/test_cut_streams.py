"""A stream that ends anywhere, in the middle of a packet too, is read as far as it goes and found as marked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from audiocraft.analysis.watermark import find_watermark
from audiocraft.audio.encoders import open_encoder
from audiocraft.audio.files import audio_pieces, audio_read
from audiocraft.audio.finishing import Finish
from audiocraft.audio.formats import STREAM_FORMATS
from audiocraft.config.limits import PROVENANCE
from audiocraft.config.serving import UploadLimits
from audiocraft.models.loaders import load_audioseal_models
from audiocraft.models.watermark import AudioSeal
from audiocraft.models.watermarks.provenance import way_out
from audiocraft.server.security.sandbox import decode

RATE, SECONDS = 24000, 3.0
_FILES = [name for name in STREAM_FORMATS if name not in ("pcm", "f32")]


def music() -> Tensor:
    """Chords that swell, and noise [1, N]: there has to be something in every band."""
    draws = torch.Generator().manual_seed(4)
    time = torch.arange(round(SECONDS * RATE)) / RATE
    wav = 0.03 * torch.randn(1, len(time), generator=draws)
    for number, hertz in enumerate((110, 277, 440, 990, 2217)):
        wav += 0.06 * torch.sin(6.2832 * hertz * time) * (1 + 0.4 * torch.sin(time * (1 + number)))
    return wav


def sent(form: str, *, marked: bool = True) -> bytes:
    """Return a stream of that music as a server sends it, in chunks that end where they happen to."""
    stream = way_out(Finish(watermark=PROVENANCE if marked else None)).open(RATE, 1)
    encoder = open_encoder(form, RATE, 1)
    parts = [encoder.encode(stream.push(part).numpy()) for part in music().split(7001, dim=-1)]
    return b"".join([*parts, encoder.encode(stream.finish().numpy()), encoder.finish()])


def first_cut(lasts: Callable[[int], float], length: int, seconds: float) -> int:
    """Return the lowest count of bytes of which so many seconds can be heard."""
    low, high = 0, length
    while high - low > 1:
        middle = (low + high) // 2
        try:
            long_enough = lasts(middle) >= seconds
        except ValueError:  # of its header alone nothing can be read
            long_enough = False
        low, high = (low, middle) if long_enough else (middle, high)
    return high


@pytest.fixture(scope="module")
def watermark() -> AudioSeal:
    model = load_audioseal_models(PROVENANCE)
    assert isinstance(model, AudioSeal)
    return model


@pytest.mark.parametrize("form", _FILES)
def test_a_stream_cut_at_any_byte_after_the_first_second_is_found_as_marked(
    form: str, watermark: AudioSeal, tmp_path: Path
) -> None:
    content = sent(form)
    path = tmp_path / f"cut.{form}"
    path.write_bytes(content)
    whole, rate = audio_read(path)

    def lasts(count: int) -> float:
        path.write_bytes(content[:count])
        return audio_read(path)[0].shape[-1] / rate

    @settings(max_examples=8)
    @given(st.integers(first_cut(lasts, len(content), 1.0), len(content)))
    def is_found(count: int) -> None:
        path.write_bytes(content[:count])
        parts = [wav for wav, _ in audio_pieces(path, 1.0)]
        heard = torch.cat(parts, dim=-1)
        assert heard.shape[-1] >= rate
        # The last packet of a cut MP3 lacks what the next one would have added.
        same = min(heard.shape[-1], whole.shape[-1]) - rate // 10
        torch.testing.assert_close(heard[:, :same], whole[:, :same], rtol=0, atol=1e-3)
        assert find_watermark(watermark, parts, rate).ours
        uploaded = decode(content[:count], UploadLimits()).wav
        assert abs(uploaded.shape[-1] - heard.shape[-1]) <= 1

    is_found()


@pytest.mark.parametrize("form", _FILES)
def test_a_cut_stream_without_a_mark_is_not_taken_for_marked(
    form: str, watermark: AudioSeal, tmp_path: Path
) -> None:
    content = sent(form, marked=False)
    path = tmp_path / f"cut.{form}"
    for share in (0.51, 0.76):
        path.write_bytes(content[: round(share * len(content))])
        wav, rate = audio_read(path)
        report = find_watermark(watermark, [wav], rate)
        assert not report.ours and not report.marked
