"""The lists of audio formats that types and other languages need agree with the one table, `audio/formats.py`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args, get_type_hints

from audiocraft import client
from audiocraft.audio.formats import FILE_FORMATS, STREAM_FORMATS
from audiocraft.cli.live import StreamFormat
from audiocraft.config.training import SampleAudioConfig
from audiocraft.server.api import compat, schemas


def test_lists_of_formats_agree_with_the_table(repository: Path) -> None:
    streams = set(STREAM_FORMATS)
    assert set(get_args(schemas.AudioFormat)) == streams
    assert set(get_args(StreamFormat)) == streams - {"f32"}, "other programs play 16 bit"
    assert set(client._SUFFIXES.values()) == streams - {"f32"}, "f32 is for programs, not for files"
    assert set(client._EXACT) <= {form.name for form in STREAM_FORMATS.values() if form.lossless}
    assert set(get_args(get_type_hints(SampleAudioConfig)["format"])) <= set(FILE_FORMATS)
    for body in (compat.SpeechBody, compat.AudioGenerateBody):
        assert set(get_args(body.model_fields["response_format"].annotation)) - {"aac"} == streams - {"f32"}
    page = (repository / "audiocraft/server/static/stage.js").read_text(encoding="utf-8")
    listed = re.search(r"const FORMATS = (\[\[.*?\]\]);", page)
    assert listed is not None
    assert set(re.findall(r'\["(\w+)"', listed[1])) <= streams & set(FILE_FORMATS)


def test_a_format_is_found_by_the_suffix_of_its_files() -> None:
    """What writes a file takes the name of its format from the suffix."""
    assert all(form.suffix == name for name, form in FILE_FORMATS.items())
