"""Audio files to .acx files and back, in constant memory."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from audiocraft.audio.convert import convert_audio_channels
from audiocraft.audio.files import AudioFileInfo, audio_info, audio_pieces
from audiocraft.audio.formats import FILE_FORMATS
from audiocraft.audio.pieces import ConvertedPieces
from audiocraft.audio.writer import AudioWriter
from audiocraft.codec import checks
from audiocraft.codec.acx_file import AcxFile
from audiocraft.codec.blocks import BlockCutter
from audiocraft.codec.coding import Encoder
from audiocraft.codec.container import AcxHeader, DamagedFile
from audiocraft.codec.entropy import CONTEXT, PACKED
from audiocraft.codec.known import KnownCodec, codec_of
from audiocraft.codec.rate import Chooser, Rate
from audiocraft.codec.streams import CodeFrames
from audiocraft.codec.writer import AcxWriter, ByteSink, Notes
from audiocraft.errors import AudioCraftError, InvalidInput
from audiocraft.utils.files import atomic_path, check_apart, make_folder_of

ShareReport = Callable[[float], None]
"""Called with the share of the work that is done, 0 to 1."""

STDIO = "-"
_PIECE_S = 1.0
_DEFAULT_CODEC = "nano"


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodeSettings:
    """This record says how a file is encoded.

    Args:
        codec: by name, or loaded.
        rate: how many codebooks it takes; all by default.
        channels: mix down to so many first (1), or None for those of the file.
        notes: tags and cover.
        profile: the highest profile of entropy coding, as `codec.entropy` numbers them.
    """

    codec: KnownCodec | str | Path = _DEFAULT_CODEC
    rate: Rate = Rate()
    channels: int | None = None
    notes: Notes = Notes()
    profile: int = CONTEXT

    def __post_init__(self) -> None:
        checks.whole(self.profile, "profile", least=PACKED, most=CONTEXT)
        if self.channels is not None:
            checks.channel_count(self.channels)
        for name, kind in (("rate", Rate), ("notes", Notes)):
            if not isinstance(getattr(self, name), kind):
                raise InvalidInput(
                    f"{name} must be a {kind.__name__}, got {getattr(self, name)!r:.60}", field=name
                )


@dataclass(frozen=True, slots=True)
class EncodedFileFacts:
    """This record says what was written.

    Args:
        bytes: size of the whole file.
        codebooks: mean over all blocks.
        distance: mean log-mel distance in decibels, where codebooks were chosen by it.
        missed: the largest distance of a block, where it is more than was asked for with all codebooks.
    """

    bytes: int
    samples: int
    sample_rate: int
    channels: int
    codebooks: float
    distance: float | None = None
    missed: float | None = None

    @property
    def remark(self) -> str | None:
        """Return what was asked for and could not be had; None where all was."""
        if self.missed is None:
            return None
        return (
            f"target_mel cannot be reached everywhere: with all codebooks the farthest block is {self.missed:.2f} dB "
            "away"
        )

    @property
    def seconds(self) -> float:
        """Return how many seconds of audio the file holds."""
        return self.samples / self.sample_rate

    @property
    def bitrate(self) -> float:
        """Return the bit rate in kilobits per second: the size of the whole file over its duration; 0 for an empty
        one."""
        return self.bytes * 8e-3 / self.seconds if self.samples else 0.0


def encode_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str] | ByteSink,
    settings: EncodeSettings | None = None,
    *,
    report: ShareReport | None = None,
    **changes: Any,
) -> EncodedFileFacts:
    """Write the audio file `source` as an .acx file.

    Args:
        target: a path, or what takes bytes.
        settings: see `EncodeSettings`; its fields and those of `Rate` may be given here as well, as in
            `encode_file("in.wav", "out.acx", codec="nano", bitrate=0.8)`.

    Raises:
        InvalidInput: the source is no audio or has undefined samples, the target is the source or its name ends in
            something else than .acx, or what was asked for cannot be reached.
    """
    known_settings = (*EncodeSettings.__dataclass_fields__, *Rate.__dataclass_fields__)
    if unknown := [name for name in changes if name not in known_settings]:
        raise InvalidInput(
            f"unknown setting {unknown[0]!r}: one of {', '.join(known_settings)}", field=unknown[0]
        )
    source = checks.file_path(source, "source")
    sink = None if isinstance(target, str | os.PathLike) else target
    place = Path()
    if sink is None:
        place = checks.file_path(target, "target")
        check_apart([place], [source], field="target")
        if place.suffix.lower() != ".acx":
            raise InvalidInput(f"{place} would be an .acx file; end its name in .acx", field="target")
    rate = {name: changes.pop(name) for name in Rate.__dataclass_fields__ if name in changes}
    settings = replace(settings or EncodeSettings(), **changes)
    if rate:
        settings = replace(settings, rate=replace(settings.rate, **rate))
    info = audio_info(source)
    job = _Job(source, info, codec_of(settings.codec), settings, report or _unheard)
    if sink is not None:
        return job.run(sink)
    make_folder_of(place)
    with atomic_path(place) as temporary, open(temporary, "wb") as file:
        return job.run(file)


def _unheard(share: float) -> None:
    """Ignore how far it is, which nobody wants to know."""
    del share


@dataclass(frozen=True, slots=True)
class _Job:
    """This object brings one file on its way."""

    source: Path
    info: AudioFileInfo
    known: KnownCodec
    settings: EncodeSettings
    report: ShareReport

    def run(self, sink: ByteSink) -> EncodedFileFacts:
        info = self.info
        channels = self.settings.channels or info.channels
        if channels not in (info.channels, 1):
            raise InvalidInput(
                f"{self.source} has {info.channels} channel(s); it can be mixed down to 1, not to {channels}",
                field="channels",
            )
        samples = round(info.duration * info.sample_rate)
        rate = self.settings.rate
        checks.audio_rate(info.sample_rate)
        header = self.known.header(info.sample_rate, channels, samples, codebooks=rate.codebooks)
        if rate.is_adaptive:
            return self._adaptive(sink, header, samples)
        writer = self._writer(sink, header)
        for frames in self._frames(header, report=self.report):
            writer.add(frames)
        size = writer.finish(samples)
        return EncodedFileFacts(size, samples, header.source_rate, channels, float(header.codebooks))

    def _adaptive(self, sink: ByteSink, header: AcxHeader, samples: int) -> EncodedFileFacts:
        """Make all codes first, then choose which of them go into the file."""
        cutter, blocks = BlockCutter(header), list[CodeFrames]()
        for frames in self._frames(header, report=lambda share: self.report(share / 2)):
            blocks.extend(_small(block) for block in cutter.add(frames))
        blocks.extend(_small(block) for block in cutter.finish())
        chooser = Chooser(
            self.known,
            header,
            profile=self.settings.profile,
            notes=self.settings.notes,
            report=lambda share: self.report(0.5 + share / 2),
        )
        chosen = chooser.choose(self.settings.rate, blocks, lambda: self._codec_audio(header))
        header = replace(header, codebooks=max(chosen.codebooks, default=header.codebooks))
        writer = self._writer(sink, header)
        for frames, count in zip(blocks, chosen.codebooks, strict=True):
            writer.add_block(frames.first(count))
        size = writer.finish(samples)
        mean = sum(chosen.codebooks) / max(1, len(chosen.codebooks))
        return EncodedFileFacts(
            size, samples, header.source_rate, header.channels, mean, chosen.distance, chosen.missed
        )

    def _writer(self, sink: ByteSink, header: AcxHeader) -> AcxWriter:
        settings = self.settings
        return AcxWriter(sink, header, self.known.tables, notes=settings.notes, profile=settings.profile)

    def _frames(self, header: AcxHeader, *, report: ShareReport) -> Iterator[CodeFrames]:
        encoder = Encoder(self.known.codec, header.source_rate, header.channels, codebooks=header.codebooks)
        for wav in self._audio(header):
            yield encoder.push(wav)
            report(min(1.0, encoder.samples / max(1, header.samples or 1)))
        yield encoder.finish()

    def _audio(self, header: AcxHeader) -> Iterator[Tensor]:
        for wav, _ in audio_pieces(self.source, _PIECE_S):
            yield convert_audio_channels(wav, header.channels)

    def _codec_audio(self, header: AcxHeader) -> Iterator[Tensor]:
        """Yield the audio [C, n] at the rate of the codec."""
        convert = ConvertedPieces(header.source_rate, header.codec_rate, header.channels)
        for wav in self._audio(header):
            yield from convert.push(wav)
        yield from convert.finish()


def _small(frames: CodeFrames) -> CodeFrames:
    """Return the same in 16 bits a code: an hour is kept."""
    return CodeFrames(frames.codes.cpu().to(torch.int16), frames.volumes)


@contextmanager
def readable(source: str | os.PathLike[str], stream: BinaryIO | None = None) -> Iterator[Path]:
    """Yield the path of a file to read; "-" is standard input, which is kept in a temporary file, so that memory is not
    filled and its parts can be read again."""
    if str(source) != STDIO:
        yield Path(source)
        return
    with tempfile.TemporaryDirectory(prefix="audiocraft-") as folder:
        path = Path(folder, "input")
        with open(path, "wb") as file:
            shutil.copyfileobj(stream or sys.stdin.buffer, file)
        try:
            yield path
        except AudioCraftError as error:  # whoever wrote it knows nothing of the temporary file
            error.args = tuple(
                arg.replace(str(path), "standard input") if isinstance(arg, str) else arg
                for arg in error.args
            )
            raise


def _form_of(target: Path, sample_rate: int | None) -> str:
    """Return the format of a file by its suffix; one that cannot have the rate that was asked for is refused."""
    form = FILE_FORMATS.get(target.suffix.lower().lstrip("."))
    if form is None:
        raise InvalidInput(
            f"cannot tell the audio format from {str(target)!r}; end it in one of "
            f"{', '.join(f'.{name}' for name in FILE_FORMATS)}",
            field="target",
        )
    if sample_rate is not None:
        checks.audio_rate(sample_rate)
        if form.rates and sample_rate not in form.rates:
            raise InvalidInput(
                f"{form.name} has no sample rate of {sample_rate} Hz; one of {', '.join(map(str, form.rates))}, or "
                "write wav",
                field="sample_rate",
            )
    return form.name


def decode_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    codec: KnownCodec | str | Path | None = None,
    strict: bool = False,
    sample_rate: int | None = None,
    codebooks: int | None = None,
    report: ShareReport | None = None,
) -> AcxFile:
    """Write the audio of an .acx file as WAV, FLAC, Ogg, Opus or MP3, as the suffix of `target` says -> the file,
    closed, with the problems that were found.

    Args:
        codec: None takes the one that the file names.
        strict: raise DamagedFile for damage instead of passing over it.
        sample_rate: None for that of the audio that was encoded.
        codebooks: decode so many at most, as an encoder of a lower bit rate would have given.

    Raises:
        InvalidInput: the source is no .acx file, the target is the source, or its format or the rate does not exist.
        DamagedFile: nothing of the audio is left, or any damage where `strict` is set.
    """
    source, target = checks.file_path(source, "source"), checks.file_path(target, "target")
    check_apart([target], [source], field="target")
    form = _form_of(target, sample_rate)
    known = None if codec is None else codec_of(codec)
    with AcxFile(source, known, strict=strict) as file:
        rate = file.header.source_rate if sample_rate is None else sample_rate
        if not file.samples and file.problems:
            raise DamagedFile(f"{source}: no audio is left in it: {'; '.join(file.problems)}")
        seconds, done = file.seconds, 0.0
        make_folder_of(target)
        with (
            atomic_path(target) as temporary,
            AudioWriter(
                temporary, rate, file.header.channels, format=form, seconds=seconds, tags=file.tags
            ) as writer,
        ):
            for wav in file.pieces(sample_rate=rate, codebooks=codebooks):
                writer.write(wav)
                done += wav.shape[-1] / rate
                if report is not None:
                    report(min(1.0, done / seconds if seconds else 1.0))
        return file
