"""An .acx file open for reading: what it says, its codes, and its audio from any moment on."""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import torch
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.codec import checks, container
from audiocraft.codec.blocks import cut, parse_block
from audiocraft.codec.coding import Decoder
from audiocraft.codec.container import DamagedFile, ForeignFile
from audiocraft.codec.entropy import EntropyTables
from audiocraft.codec.known import KnownCodec, codec_named_in, codec_of
from audiocraft.codec.reading import ChunkReader, extent_of, header_of, tables_in, tags_of
from audiocraft.codec.streams import CodeFrames
from audiocraft.codec.writer import cover_type
from audiocraft.errors import InvalidInput

# Samples of the lower rate that a resampled sample may depend on, on each side, and blocks that are kept decoded.
_REACH, _KEPT = 1024, 4
_ECDC = (
    "{} is a file of the encodec package of 2022, whose bytes are described nowhere in public, so it is not read here; "
    "decode it with that package (encodec FILE.ecdc FILE.wav), then `audiocraft codec encode FILE.wav`"
)


class AcxFile:
    """This object reads an .acx file. Damage is passed over: what cannot be read is silent, and `problems` says what it
    was.

    Args:
        file: its path, or a file that can be read at any place.
        codec: None takes the one that the file names, if it is on this machine; needed for audio only.
        strict: raise DamagedFile at the first problem instead.
    """

    def __init__(
        self,
        file: str | os.PathLike[str] | BinaryIO,
        codec: KnownCodec | None = None,
        *,
        strict: bool = False,
    ) -> None:
        if codec is not None and not isinstance(codec, KnownCodec):
            raise InvalidInput(
                f"codec must be a KnownCodec, got a {type(codec).__name__}; open_acx takes names too",
                field="codec",
            )
        self._own = isinstance(file, str | os.PathLike)
        if isinstance(file, str | os.PathLike):
            path = checks.file_path(file, "file")
            self._name, self._file = str(path), _opened(path)
        elif all(hasattr(file, needed) for needed in ("read", "seek", "tell")):
            self._name, self._file = "the file", file
        else:
            raise InvalidInput(
                f"file must be a path or a file that is open for reading, got {file!r:.60}", field="file"
            )
        self._strict = strict
        try:
            self._chunks = ChunkReader(self._file)
            self._found = self._chunks.contents()
            self.header = header_of(self._found)
            self.tags = tags_of(self._found)
            self.blocks, self.samples = extent_of(self._found, self.header)
            self._codec = codec
            if codec is not None:
                codec.check(self.header)
            self._own_tables = tables_in(self._found, self.header)
        except DamagedFile as error:
            self.close()
            if self._name.lower().endswith(".ecdc"):
                raise InvalidInput(_ECDC.format(self._name), field="file") from error
            if isinstance(error, ForeignFile):
                raise ForeignFile(
                    f"{self._name} is no .acx file; `audiocraft codec encode` makes one of audio",
                    field="file",
                ) from error
            raise DamagedFile(f"{self._name}: {error}") from error
        except BaseException:
            self.close()
            raise
        if self._strict and self._found.problems:
            self.close()
            self._raise_if_strict()
        self._searched = False
        # Blocks that were read, and how many frames of each; None for all of them.
        self._kept: OrderedDict[int, tuple[CodeFrames | None, int | None]] = OrderedDict()

    # ------------------------------------------------------------------ what it says

    @property
    def problems(self) -> tuple[str, ...]:
        """Return what is damaged, as far as anything has been read."""
        return tuple(self._found.problems)

    @property
    def cover(self) -> tuple[str, bytes] | None:
        """Return media type and bytes of the picture, if there is one."""
        content = self._found.fixed.get(container.COVER)
        media = None if content is None else cover_type(content)
        return None if content is None or media is None else (media, content)

    @property
    def size(self) -> int:
        """Return how many bytes the file has."""
        return self._chunks.size

    @property
    def seconds(self) -> float:
        """Return how many seconds of audio the file holds."""
        return self.samples / self.header.source_rate

    @property
    def bitrate(self) -> float:
        """Return the bit rate in kilobits per second: the size of the whole file over its duration; 0 for an empty
        one."""
        return self.size * 8e-3 / self.seconds if self.samples else 0.0

    @property
    def codec(self) -> KnownCodec:
        """Return the codec of the file, loaded when it is first asked for."""
        if self._codec is None:
            self._codec = codec_named_in(self.header)
        return self._codec

    @cached_property
    def _delay(self) -> int:
        """Return the number of frames that must follow a frame before all its samples are out."""
        return Decoder(self.codec.codec, self.header.codec_rate, self.header.channels).delay_frames

    def _check_open(self) -> None:
        if getattr(self._file, "closed", False):
            raise InvalidInput(f"{self._name} is closed: read it inside its `with` block", field="file")

    # ------------------------------------------------------------------ codes

    def block(self, number: int, first: int | None = None) -> CodeFrames | None:
        """Return the frames of a block; None where it is damaged or missing.

        Args:
            first: so many of them, or more, will do. Reading stops behind them, unless the block is asked for again.
        """
        if number in self._kept:
            self._kept.move_to_end(number)
            kept, frames = self._kept[number]
            if frames is None or (first is not None and first <= frames):
                return kept
        if number in self._kept or (first is not None and first >= self.header.block_frames):
            first = None
        found = self._read_block(number, first)
        self._kept[number] = found, None if found is None else first
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return found

    def verify(self) -> tuple[str, ...]:
        """Read every block -> all that is damaged."""
        self._check_open()
        for number in range(self.blocks):
            self._read_block(number)
        return self.problems

    def _read_block(self, number: int, first: int | None = None) -> CodeFrames | None:
        self._check_open()
        payload = self._payload(number)
        if payload is None and not self._searched:
            # The index says where it was; something may have moved it.
            self._searched = True
            again = self._chunks.scanned()
            self._found.places.update(again.places)
            payload = self._payload(number)
            if payload is not None:
                self._problem(f"block {number} lies elsewhere than the index says")
        try:
            if payload is None:
                raise DamagedFile("its bytes are damaged")
            frames = parse_block(payload, self.header, self._tables(), first)
            if number < self.blocks - 1 and frames.frames != (first or self.header.block_frames):
                raise DamagedFile("it is shorter than it should be")
            return frames
        except DamagedFile as error:
            self._problem(
                f"block {number} ({number * self.header.block_seconds:.1f} s to "
                f"{min(self.seconds, (number + 1) * self.header.block_seconds):.1f} s): {error}"
            )
            return None

    def _payload(self, number: int) -> bytes | None:
        place = self._found.places.get(number)
        found = None if place is None else self._chunks.at(place)
        return None if found is None or found[:2] != (container.BLOCK, number) else found[2]

    def _tables(self) -> EntropyTables | None:
        if not any(self.header.tables_digest):
            return self._own_tables
        tables = self.codec.tables
        if tables is None or tables.digest != self.header.tables_digest:
            raise DamagedFile(
                f"the codes need the tables {self.header.tables_digest.hex()} of codec {self.header.model!r}, "
                "which are not beside its weights"
            )
        return tables

    def _problem(self, text: str) -> None:
        if text not in self._found.problems:
            self._found.problems.append(text)
        self._raise_if_strict()

    def _raise_if_strict(self) -> None:
        if self._strict and self._found.problems:
            raise DamagedFile(f"{self._name}: {self._found.problems[0]}")

    # ------------------------------------------------------------------ audio

    def pieces(self, *, sample_rate: int | None = None, codebooks: int | None = None) -> Iterator[Tensor]:
        """Yield all audio in pieces [C, n] that follow each other, in constant memory.

        Args:
            sample_rate: None for that of the audio that was encoded.
            codebooks: decode so many at most.
        """
        self._check_open()
        rate = self.header.source_rate if sample_rate is None else checks.audio_rate(sample_rate)
        codebooks = _checked_codebooks(codebooks)
        total = -(-self.samples * rate // self.header.source_rate)
        end = self.blocks * self.header.block_frames

        def place(frame: int) -> int:
            return (
                total
                if frame >= end
                else min(total, self._codec_place(frame) * rate // self.header.codec_rate)
            )

        yield from self._audio(range(end), rate, place, codebooks)
        if not end:  # less audio than a sample of the codec
            yield from _silence(self.header.channels, total, rate)

    def read(self, start: int = 0, count: int | None = None, *, codebooks: int | None = None) -> Tensor:
        """Return the samples start ... start + count - 1 of the audio, at its own rate [C, n]; as many of them as
        there are. Only what they depend on is decoded. What are no whole numbers raises InvalidInput."""
        self._check_open()
        codebooks = _checked_codebooks(codebooks)
        start = checks.whole(start, "start", least=0)
        count = None if count is None else checks.whole(count, "count", least=0)
        start = min(start, self.samples)
        stop = self.samples if count is None else min(self.samples, start + count)
        if stop == start:
            return torch.zeros(self.header.channels, 0)
        header = self.header
        ratio = header.codec_rate / header.source_rate
        reach = 0 if header.codec_rate == header.source_rate else math.ceil(_REACH * max(1.0, ratio))
        first = max(0, int(start * ratio) - reach)
        last = math.ceil(stop * ratio) + reach
        wav, origin = self._codec_samples(first, last, codebooks)
        if reach == 0:
            found = wav[:, start - origin :]
        else:
            common = math.gcd(header.codec_rate, header.source_rate)
            found = convert_audio(wav, header.codec_rate, header.source_rate, header.channels)
            found = found[
                :, start - origin // (header.codec_rate // common) * (header.source_rate // common) :
            ]
        found = found[:, : stop - start]
        return torch.nn.functional.pad(found, (0, stop - start - found.shape[-1]))

    def _codec_samples(self, first: int, last: int, codebooks: int | None) -> tuple[Tensor, int]:
        """Return at least the samples first ... last - 1 at the codec's rate [C, n], and the place of the first that
        came: a multiple of what resampling works in. Frames before it are heard by the decoder alone."""
        header, codec = self.header, self.codec.codec
        step = header.codec_rate // math.gcd(header.codec_rate, header.source_rate)
        origin = first // step * step
        unit = header.unit_samples
        memory = header.unit_frames if header.chunk_samples else codec.decode_memory
        wanted = origin // unit * header.unit_frames
        begin = max(0, wanted - -(-memory // header.unit_frames) * header.unit_frames)
        end = (
            -(-last // unit) * header.unit_frames + -(-self._delay // header.unit_frames) * header.unit_frames
        )
        span = range(begin, min(end, self.blocks * header.block_frames))
        parts = list(self._audio(span, header.codec_rate, self._codec_place, codebooks, wanted))
        made = torch.cat([torch.zeros(header.channels, 0), *parts], dim=-1)
        return made[:, origin - self._codec_place(wanted) :], origin

    def _codec_place(self, frame: int) -> int:
        """Return the sample at the codec's rate with which a frame begins."""
        return frame // self.header.unit_frames * self.header.unit_samples

    def _audio(
        self,
        span: range,
        rate: int,
        place: Callable[[int], int],
        codebooks: int | None,
        wanted: int | None = None,
    ) -> Iterator[Tensor]:
        """Yield the audio [C, n] of the frames in `span`, silent where blocks are damaged.

        Args:
            place: the sample at `rate` with which a frame begins.
            wanted: audio begins with this frame; those before it are what the decoder remembers.
        """
        header, size = self.header, self.header.block_frames
        decoder: Decoder | None = None
        wanted = span.start if wanted is None else max(span.start, wanted)
        given = place(wanted)
        for number in range(span.start // size, -(-span.stop // size)):
            low, high = max(span.start, number * size), min(span.stop, (number + 1) * size)
            frames = self.block(number, high - number * size)
            if frames is None:
                if decoder is not None:
                    yield _as_long(decoder.finish(), place(low) - given)
                    decoder = None
                yield from _silence(header.channels, place(max(wanted, high)) - place(max(wanted, low)), rate)
                given = place(max(wanted, high))
                continue
            if decoder is None:
                decoder = Decoder(self.codec.codec, rate, header.channels, first_frame=low)
            frames = frames if codebooks is None else frames.first(codebooks)
            if low < wanted:
                heard = min(high, wanted)
                decoder.skip(cut(frames, low - number * size, heard - number * size, header.unit_frames))
                low = heard
            wav = decoder.push(cut(frames, low - number * size, high - number * size, header.unit_frames))
            wav = wav[:, : place(high) - given]
            given += wav.shape[-1]
            yield wav
        if decoder is not None:
            yield _as_long(decoder.finish(), place(span.stop) - given)

    # ------------------------------------------------------------------ life

    def close(self) -> None:
        """Close the file, where it was opened here."""
        if self._own:
            self._file.close()

    def __enter__(self) -> AcxFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _opened(path: Path) -> BinaryIO:
    if path.is_dir():
        raise InvalidInput(f"{path} is a folder, not an .acx file", field="file")
    if not path.exists():
        raise InvalidInput(f"{path} does not exist", field="file")
    return open(path, "rb")


def _checked_codebooks(codebooks: int | None) -> int | None:
    return None if codebooks is None else checks.whole(codebooks, "codebooks", least=1)


def _as_long(wav: Tensor, length: int) -> Tensor:
    """Bring wav [C, n] to [C, length]: the last frame may be longer than the audio, or a sample shorter where rates do
    not divide each other."""
    return torch.nn.functional.pad(wav[:, :length], (0, max(0, length - wav.shape[-1])))


def _silence(channels: int, length: int, piece: int) -> Iterator[Tensor]:
    while length > 0:
        yield torch.zeros(channels, min(length, piece))
        length -= piece


def open_acx(
    file: str | Path | BinaryIO, codec: KnownCodec | str | Path | None = None, *, strict: bool = False
) -> AcxFile:
    """Open an .acx file for reading.

    Args:
        codec: the codec that it was made with, by name or loaded; None takes the one that the file names.
        strict: raise DamagedFile for damage instead of passing over it.
    """
    known = None if codec is None else codec_of(codec)
    return AcxFile(file, known, strict=strict)
