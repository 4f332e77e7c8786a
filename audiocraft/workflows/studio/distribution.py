"""What is given to others: one mix in several formats, each of which sounds as loud as asked when it is decoded."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from audiocraft.audio.covers import with_cover
from audiocraft.audio.files import audio_read, audio_write, encode_audio
from audiocraft.audio.formats import FILE_FORMATS
from audiocraft.audio.loudness import loudness_in_pieces, true_peak
from audiocraft.audio.mixing import gain, master
from audiocraft.codec import AcxFile, EncodeSettings, KnownCodec, encode_file
from audiocraft.codec.writer import Notes, cover_type
from audiocraft.environment import VERSION
from audiocraft.errors import InvalidInput
from audiocraft.generation.progress import CancelToken
from audiocraft.utils.files import atomic_write
from audiocraft.workflows.studio.parts import slug

ACX = "acx"
FORMATS = ("flac", "mp3", "opus", ACX)
"""What is written unless something else is asked for."""
KNOWN_FORMATS = (*FILE_FORMATS, ACX)
_KBPS: Mapping[str, float] = {"mp3": 320.0, "opus": 128.0, "ogg": 192.0}
_ROUNDS = 4  # coding moves level and peaks; they are corrected so often
_ACX_ROUNDS = 2  # which take as long as all others together
_CLOSE_LU = 0.3
_SPARE_DB = 0.1
_LOWEST_CEILING = -9.0
_ACX_DOWN_DB = 10.0
"""Neural codecs were trained with softer audio, and flatten what is as loud as a master: .acx files hold it turned
down, and say in the usual tag by how much a player turns it up again."""
GAIN_TAG = "replaygain_track_gain"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseSettings:
    """This record says how audio is given to others.

    Args:
        name: of the files, without their suffixes; by default made of the title.
        loudness: in LUFS, of what comes out of the files.
        ceiling: of true peaks, in dB below full scale.
        cover: a PNG or JPEG picture.
    """

    formats: tuple[str, ...] = FORMATS
    name: str = ""
    title: str = ""
    artist: str = ""
    comment: str = ""
    loudness: float = -14.0
    ceiling: float = -1.0
    cover: bytes | None = None

    def __post_init__(self) -> None:
        unknown = [name for name in self.formats if name not in KNOWN_FORMATS]
        if unknown or not self.formats:
            wrong = unknown[0] if unknown else "none"
            raise InvalidInput(f"format {wrong!r} is not one of {', '.join(KNOWN_FORMATS)}", field="formats")
        if self.cover is not None and cover_type(self.cover) not in ("image/png", "image/jpeg"):
            raise InvalidInput("a cover is a PNG or JPEG picture", field="cover")

    @property
    def tags(self) -> dict[str, str]:
        """Return what the files say in words."""
        said = {"title": self.title, "artist": self.artist, "comment": self.comment or "generated audio"}
        return {name: text for name, text in said.items() if text} | {"software": f"AudioCraft {VERSION}"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Released:
    """This record describes one file, and what comes out of it.

    Args:
        bytes: of the file.
        loudness: in LUFS, decoded, with its gain.
        true_peak: in dB below full scale, decoded, with its gain.
        gain_db: by which players turn it up, as the file says (`GAIN_TAG`).
    """

    path: Path
    format: str
    bytes: int
    seconds: float
    loudness: float
    true_peak: float
    gain_db: float = 0.0


USUAL_RELEASE = ReleaseSettings()
"""How audio is given to others unless something else is asked for."""


def release(
    wav: Tensor,
    sample_rate: int,
    folder: Path,
    settings: ReleaseSettings = USUAL_RELEASE,
    *,
    codec: str = "nano",
    cancel: CancelToken | None = None,
) -> list[Released]:
    """Write wav [C, N] in every format. Each file is decoded and measured; where coding has moved its loudness, or its
    peaks above the ceiling, it is written again from another master.

    Raises:
        InvalidInput: silence, an unknown format, a cover that is no picture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = KnownCodec.load(codec) if ACX in settings.formats else None
    masters: dict[tuple[float, float], Tensor] = {}

    def mastered(loudness: float, ceiling: float) -> Tensor:
        place = round(loudness, 3), round(ceiling, 3)
        if place not in masters:
            masters[place] = master(wav, sample_rate, loudness=loudness, ceiling=ceiling).audio
        return masters[place]

    found = []
    for form in settings.formats:
        if cancel is not None:
            cancel.check()
        path = folder / f"{settings.name or slug(settings.title or 'song')}.{form}"
        found.append(_release(mastered, sample_rate, path, form, settings, known))
    return found


def _release(
    mastered: Callable[[float, float], Tensor],
    sample_rate: int,
    path: Path,
    form: str,
    settings: ReleaseSettings,
    codec: KnownCodec | None,
) -> Released:
    ceiling, loudness = settings.ceiling, settings.loudness
    down = _ACX_DOWN_DB if form == ACX else 0.0
    seconds = 0.0
    best: tuple[float, bytes, float, float] | None = None
    kept: Tensor | None = None
    for _ in range(_ROUNDS if form != ACX else _ACX_ROUNDS):
        audio = mastered(loudness, ceiling)
        seconds = audio.shape[-1] / sample_rate
        with tempfile.TemporaryDirectory(prefix="audiocraft-") as temporary:
            place = Path(temporary, f"file.{form}")
            _write(place, gain(audio, -down), sample_rate, form, settings, codec)
            content = place.read_bytes()
            decoded, rate = _read(place, form, codec)
            decoded = gain(decoded, down)
        reached, peak = loudness_in_pieces(decoded, rate), true_peak(decoded, rate)
        over, off = max(0.0, peak - settings.ceiling), settings.loudness - reached
        wrong = abs(off) + 10 * over
        if best is None or wrong < best[0]:
            best, kept = (wrong, content, reached, peak), audio
        if over == 0 and abs(off) < _CLOSE_LU:
            break
        if over > 0:
            ceiling = max(_LOWEST_CEILING, ceiling - over - _SPARE_DB)
        if abs(off) >= _CLOSE_LU:
            loudness = max(-60.0, min(-6.0, loudness + off))
    assert best is not None
    _, content, reached, peak = best
    over = peak - settings.ceiling
    if form == ACX and over > 0 and kept is not None:  # the same codes, which players turn up by less
        with tempfile.TemporaryDirectory(prefix="audiocraft-") as temporary:
            place = Path(temporary, f"file.{form}")
            _write(place, gain(kept, -down), sample_rate, form, settings, codec, turned=down - over)
            content = place.read_bytes()
        down, reached, peak = down - over, reached - over, settings.ceiling
    atomic_write(path, content)
    return Released(
        path=path,
        format=form,
        bytes=len(content),
        seconds=seconds,
        loudness=reached,
        true_peak=peak,
        gain_db=down,
    )


def _write(
    path: Path,
    audio: Tensor,
    sample_rate: int,
    form: str,
    settings: ReleaseSettings,
    codec: KnownCodec | None,
    *,
    turned: float = _ACX_DOWN_DB,
) -> None:
    if form == ACX:
        assert codec is not None
        whole = path.with_suffix(".wav")
        audio_write(whole, audio, sample_rate, strategy="none", add_suffix=False)
        said = {**settings.tags, GAIN_TAG: f"{turned:+.2f} dB"}
        notes = Notes(tags=said, cover=settings.cover)
        encode_file(whole, path, EncodeSettings(codec=codec, notes=notes))
        return
    content = encode_audio(audio, sample_rate, form, _KBPS.get(form), settings.tags)
    if settings.cover is not None and form != "wav":
        content = with_cover(content, form, settings.cover)
    path.write_bytes(content)


def _read(path: Path, form: str, codec: KnownCodec | None) -> tuple[Tensor, int]:
    if form != ACX:
        return audio_read(path)
    with AcxFile(path, codec) as file:
        return file.read(), file.header.source_rate


def formats_of(text: str | Sequence[str]) -> tuple[str, ...]:
    """Return formats by name, as "flac,mp3" or one by one."""
    names = text.split(",") if isinstance(text, str) else text
    return tuple(dict.fromkeys(name.strip().lower() for name in names if name.strip()))
