"""The formats in which audio is written: one table, and what each format can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from audiocraft.errors import InvalidInput

OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
CEILING = -1.0
"""The highest true peak of finished audio in dB below full scale, unless something else is asked for."""
# Constant bit rates of MP3 in kb/s: a file that is kept gets the best there is, a stream what any connection carries.
MP3_KBPS: Mapping[str, int] = {"file": 320, "stream": 160}


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """A format is a way to write audio.

    Args:
        name: what a user asks for.
        media_type: what an HTTP header says.
        suffix: how the name of a file ends, without the dot.
        lossless: whether a reader gets every sample back, in 16 bits or more.
        title: a few words for people.
        container, encoding: libsndfile's names of the format; empty where libsndfile has no part in it.
        in_files, in_streams: whether it can be a file, and whether it can be sent while it is made.
        coded: whether it holds codes of a neural codec: `audiocraft.codec` reads and writes it.
        rates: the sample rates in Hz that it can hold; empty for any.
        headroom: decibels by which finished audio is turned down first, since coding adds up to as much to its peaks.
        lost: decibels that its encoder takes from the level of all audio.
        fade: seconds that an end fades at least, where it does: coding spreads some of what is before into it.
    """

    name: str
    media_type: str
    suffix: str
    lossless: bool
    title: str
    container: str = ""
    encoding: str = ""
    in_files: bool = True
    in_streams: bool = True
    coded: bool = False
    rates: tuple[int, ...] = ()
    headroom: float = 0.0
    lost: float = 0.0
    fade: float = 0.0

    @property
    def gain(self) -> float:
        """Return what finished audio is multiplied by before it is encoded."""
        return float(10 ** (-self.headroom / 20))

    def fitted(self, true_peak: float) -> AudioFormat:
        """Return the same for one piece whose highest true peak is known, in dB below full scale: it is turned down no
        further than its peaks ask for, so that it stays as loud as it was where they leave the room."""
        room = CEILING - true_peak - self.headroom
        return replace(self, headroom=min(self.headroom, -min(self.lost, room)))


_ALL = (
    AudioFormat("wav", "audio/wav", "wav", True, "WAV, 16 bit", "WAV", "PCM_16"),
    AudioFormat("flac", "audio/flac", "flac", True, "FLAC, lossless and smaller", "FLAC", "PCM_16"),
    AudioFormat(
        "ogg", "audio/ogg", "ogg", False, "Vorbis in Ogg", "OGG", "VORBIS", in_streams=False, headroom=3.0, fade=0.04
    ),
    AudioFormat(
        "mp3", "audio/mpeg", "mp3", False, "MP3", "MP3", "MPEG_LAYER_III", rates=MP3_RATES, headroom=0.5,
        lost=0.44,
    ),
    AudioFormat("opus", "audio/ogg", "opus", False, "Opus in Ogg", "OGG", "OPUS", rates=OPUS_RATES, headroom=2.5),
    AudioFormat("pcm", "audio/pcm", "pcm", True, "raw samples, 16 bit little endian", in_files=False),
    AudioFormat("f32", "audio/x-f32le", "f32", True, "raw samples, 32 bit float little endian", in_files=False),
    AudioFormat(
        "acx", "audio/x-acx", "acx", False, "codes of a neural codec, the smallest", in_files=False, in_streams=False,
        coded=True,
    ),
)  # fmt: skip
FILE_FORMATS: Mapping[str, AudioFormat] = {form.name: form for form in _ALL if form.in_files}
STREAM_FORMATS: Mapping[str, AudioFormat] = {form.name: form for form in _ALL if form.in_streams}
DOWNLOAD_FORMATS: Mapping[str, AudioFormat] = {
    form.name: form for form in _ALL if form.in_streams or form.coded
}
"""What a server makes of a finished piece."""


def file_format(name: str) -> AudioFormat:
    """Return the format of a file by its name; another name raises InvalidInput, which lists those that there are."""
    return _named(name, FILE_FORMATS)


def stream_format(name: str) -> AudioFormat:
    """Return the format of a stream by its name; another name raises InvalidInput, which lists those that there are."""
    return _named(name, STREAM_FORMATS)


def held_rate(form: AudioFormat, sample_rate: int) -> int:
    """Return the lowest rate in Hz that the format can hold and that loses nothing of `sample_rate`; 48 kHz where
    there is none. Opus works at 48 kHz inside, so that any other rate becomes that."""
    if not form.rates or sample_rate in form.rates:
        return sample_rate
    if form.name == "opus":
        return 48000
    return min((rate for rate in form.rates if rate >= sample_rate), default=48000)


def _named(name: str, table: Mapping[str, AudioFormat]) -> AudioFormat:
    form = table.get(name)
    if form is None:
        raise InvalidInput(f"unknown audio format {name!r}: one of {', '.join(table)}", field="format")
    return form
