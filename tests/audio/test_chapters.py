"""Chapters are read from what people type, and players find them in the file."""

from __future__ import annotations

import io
import struct

import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from audiocraft.audio.chapters import Chapter, checked_chapters, read_chapters, with_chapters
from audiocraft.audio.files import encode_audio
from audiocraft.audio.mpeg import after_tags
from audiocraft.errors import InvalidInput

CHAPTERS = (Chapter(0.0, "Welcome"), Chapter(2.5, "질문 — questions"), Chapter(4.0, "Bye"))


def frames_of(tag: bytes) -> dict[str, list[bytes]]:
    """The frames of an ID3v2.3 tag, by the text of the standard and not by our writer."""
    assert tag[:5] == b"ID3\x03\x00"
    size = tag[6] << 21 | tag[7] << 14 | tag[8] << 7 | tag[9]
    at, end, found = 10, 10 + size, dict[str, list[bytes]]()
    while at < end:
        (length,) = struct.unpack(">I", tag[at + 4 : at + 8])
        found.setdefault(tag[at : at + 4].decode(), []).append(tag[at + 10 : at + 10 + length])
        at += 10 + length
    assert at == end
    return found


@pytest.fixture(scope="module")
def mp3() -> bytes:
    noise = torch.randn(1, 5 * 24000, generator=torch.Generator().manual_seed(0)) * 0.1
    return encode_audio(noise, 24000, "mp3", 64)


def test_chapters_are_in_the_file_at_their_times(mp3: bytes) -> None:
    made = with_chapters(mp3, CHAPTERS, 5.0, {"title": "Episode", "comment": "made"})
    frames = frames_of(made)
    names = [one.split(b"\0")[0] for one in frames["CHAP"]]
    times = [struct.unpack(">4I", one.split(b"\0", 1)[1][:16])[:2] for one in frames["CHAP"]]
    titles = [
        one.split(b"\0", 1)[1][16 + 10 + 3 :].decode("utf-16-le").rstrip("\0") for one in frames["CHAP"]
    ]
    assert times == [(0, 2500), (2500, 4000), (4000, 5000)]
    assert titles == [chapter.title for chapter in CHAPTERS]
    (toc,) = frames["CTOC"]
    assert toc.startswith(b"toc\0\x03\x03")
    assert toc[6:].split(b"\0")[:-1] == names
    assert frames["TIT2"][0][3:].decode("utf-16-le").rstrip("\0") == "Episode"


def test_the_audio_stays_as_it_was(mp3: bytes) -> None:
    made = with_chapters(mp3, CHAPTERS, 5.0)
    assert made[after_tags(made) :] == mp3[after_tags(mp3) :]
    heard, rate = soundfile.read(io.BytesIO(made))
    assert rate == 24000
    assert len(heard) == len(soundfile.read(io.BytesIO(mp3))[0])
    assert with_chapters(made, CHAPTERS, 5.0) == made


def test_what_players_are_built_on_reads_them(mp3: bytes) -> None:
    av = pytest.importorskip("av")
    with av.open(io.BytesIO(with_chapters(mp3, CHAPTERS, 5.0))) as file:
        found = [(one["start"] * one["time_base"], one["metadata"]["title"]) for one in file.chapters()]
    assert found == [(chapter.start, chapter.title) for chapter in CHAPTERS]


def test_lines_of_times_and_titles_are_read() -> None:
    text = "# mine\n00:00 Welcome\n\n 02:30.5  Questions, and more \n1:02:03 End\n"
    assert read_chapters(text) == (
        Chapter(0, "Welcome"),
        Chapter(150.5, "Questions, and more"),
        Chapter(3723, "End"),
    )


@given(text=st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read_chapters(text)
    except InvalidInput:
        pass


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda _mp3: read_chapters("00:00 A\nnothing"), "line 2"),
        (lambda _mp3: read_chapters("00:10 A\n00:05 B"), "not after"),
        (lambda _mp3: Chapter(-1, "A"), "0 s or later"),
        (lambda _mp3: Chapter(1, " "), "needs a title"),
        (lambda _mp3: checked_chapters([Chapter(i, "x") for i in range(300)]), "255"),
        (lambda mp3: with_chapters(mp3, CHAPTERS, 3.0), "ends at 3"),
    ],
)
def test_what_is_no_chapter_is_refused_by_name(make: object, says: str, mp3: bytes) -> None:
    with pytest.raises(InvalidInput, match=says):
        make(mp3)  # type: ignore[operator]
