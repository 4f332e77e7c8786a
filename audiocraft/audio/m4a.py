"""M4A files: AAC in MP4, with tags and chapters that players show. Needs PyAV (extra [av])."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiocraft.audio.chapters import Chapter, checked_chapters
from audiocraft.audio.loudness import true_peak
from audiocraft.errors import InvalidInput, require

SUFFIX = ".m4a"
_TRIES, _MORE_DB = 3, 0.1
_TAGS = {"title": "title", "artist": "artist", "comment": "comment", "software": "encoder"}
_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
_MILLISECONDS = Fraction(1, 1000)


def encode_m4a(
    audio: Tensor,
    sample_rate: int,
    *,
    kbps: int = 160,
    chapters: Sequence[Chapter] = (),
    tags: Mapping[str, str] | None = None,
    ceiling: float | None = None,
) -> bytes:
    """Return audio [C, N] of one or two channels as the content of an M4A file.

    Args:
        chapters: each ends with the next, the last with the recording.
        tags: title, artist, comment and software.
        ceiling: dB below full scale; AAC lifts peaks, so what comes out of the file is measured, and the audio turned
            down until its true peaks lie below.

    Raises:
        InvalidInput: AAC has no such rate or number of channels, or a chapter begins behind the end.
        MissingDependency: PyAV is not installed.
    """
    seconds = audio.shape[-1] / sample_rate
    marks = checked_chapters(chapters)
    if sample_rate not in _RATES or audio.dim() != 2 or audio.shape[0] not in (1, 2):
        raise InvalidInput(
            f"AAC takes one or two channels at {', '.join(map(str, _RATES))} Hz, got {list(audio.shape)} at "
            f"{sample_rate} Hz",
            field="audio",
        )
    if marks and marks[-1].start >= seconds:
        raise InvalidInput(
            f"chapter {marks[-1].title!r} begins at {marks[-1].start:g} s, but the recording ends at {seconds:g} s",
            field="chapters",
        )
    content = _encoded(audio, sample_rate, kbps, marks, tags)
    for _ in range(_TRIES):
        above = -math.inf if ceiling is None else true_peak(decode_m4a(content)[0], sample_rate) - ceiling
        if above <= 0:
            break
        audio = audio * 10 ** (-(above + _MORE_DB) / 20)
        content = _encoded(audio, sample_rate, kbps, marks, tags)
    return content


def decode_m4a(content: bytes) -> tuple[Tensor, int]:
    """Return the audio [C, N] of an M4A file, and its sample rate."""
    av = require("av", extra="av")
    with av.open(io.BytesIO(content)) as container:
        rate = container.streams.audio[0].rate
        parts = [torch.from_numpy(frame.to_ndarray()) for frame in container.decode(audio=0)]
    return torch.cat(parts, dim=-1), rate


def _encoded(
    audio: Tensor, sample_rate: int, kbps: int, marks: Sequence[Chapter], tags: Mapping[str, str] | None
) -> bytes:
    av = require("av", extra="av")
    target, seconds = io.BytesIO(), audio.shape[-1] / sample_rate
    with av.open(target, "w", format="ipod") as container:
        container.metadata.update(
            {_TAGS[name]: value for name, value in (tags or {}).items() if name in _TAGS and value}
        )
        if marks:
            container.set_chapters(_entries(marks, seconds))
        layout = "mono" if audio.shape[0] == 1 else "stereo"
        stream = container.add_stream("aac", rate=sample_rate, layout=layout)
        stream.bit_rate = kbps * 1000
        for frame in _frames(av, audio, sample_rate, layout):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target.getvalue()


def _entries(marks: Sequence[Chapter], seconds: float) -> list[dict[str, Any]]:
    ends = [chapter.start for chapter in marks[1:]] + [seconds]
    return [
        {
            "id": number,
            "start": round(chapter.start * 1000),
            "end": round(end * 1000),
            "time_base": _MILLISECONDS,
            "metadata": {"title": chapter.title},
        }
        for number, (chapter, end) in enumerate(zip(marks, ends, strict=True))
    ]


def _frames(av: Any, audio: Tensor, sample_rate: int, layout: str) -> Any:
    """Return the audio as frames of PyAV, a second each."""
    samples = audio.detach().cpu().float().clamp(-1, 1).numpy()
    for start in range(0, samples.shape[-1], sample_rate):
        part = np.ascontiguousarray(samples[:, start : start + sample_rate])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
        frame.sample_rate = sample_rate
        frame.pts = start
        frame.time_base = Fraction(1, sample_rate)
        yield frame
