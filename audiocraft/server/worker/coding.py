"""What the server does with codecs: audio to codes and back, and .acx files, as `audiocraft.codec` does it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from audiocraft.audio.convert import convert_audio_channels
from audiocraft.audio.pcm import as_samples
from audiocraft.audio.writer import AudioWriter
from audiocraft.codec.acx_file import AcxFile
from audiocraft.codec.coding import Decoder, Encoder, together
from audiocraft.codec.container import DamagedFile
from audiocraft.codec.files import encode_file
from audiocraft.codec.known import KnownCodec
from audiocraft.codec.rate import Rate
from audiocraft.codec.streams import CodeFrames, layout_of
from audiocraft.codec.writer import Notes
from audiocraft.errors import InvalidInput
from audiocraft.models.codecs.encodec import CompressionModel
from audiocraft.models.watermarks.provenance import provenance_mark
from audiocraft.server.errors import TooLarge, UnsupportedMedia
from audiocraft.server.worker.ports import (
    AcxAudio,
    AcxBounds,
    AcxFacts,
    AcxOptions,
    CodecFacts,
    Codes,
    EncodedFile,
    Samples,
)


def facts_of(codec: CompressionModel) -> CodecFacts:
    """Return what a codec makes."""
    return CodecFacts(
        sample_rate=codec.sample_rate, channels=codec.channels, frame_rate=float(codec.frame_rate)
    )


def codes_of(codec: CompressionModel, wav: Samples, sample_rate: int, codebooks: int | None) -> EncodedFile:
    """Return audio [C, N], mixed to the channels of the codec, as codes."""
    encoder = Encoder(codec, sample_rate, codec.channels, codebooks=codebooks)
    audio = convert_audio_channels(torch.from_numpy(wav), codec.channels)
    frames = together([encoder.push(audio), encoder.finish()])
    return EncodedFile(
        codes=frames.codes[0].cpu().long().numpy(),
        scale=None if frames.volumes is None else frames.volumes[0].tolist(),
        codec=facts_of(codec),
        samples=wav.shape[-1] * codec.sample_rate // sample_rate,
    )


def audio_of(
    codec: CompressionModel, name: str, codes: Codes, scale: Sequence[float] | None, samples: int | None
) -> tuple[Tensor, int]:
    """Return codes [K, T] as audio [C, N] and its rate."""
    if not 1 <= codes.shape[0] <= codec.total_codebooks:
        raise InvalidInput(
            f"codec {name!r} has 1 to {codec.total_codebooks} codebooks, not {codes.shape[0]}", field="codes"
        )
    if int(codes.min()) < 0 or int(codes.max()) >= codec.cardinality:
        raise InvalidInput(f"codes of {name!r} lie between 0 and {codec.cardinality - 1}", field="codes")
    frames = CodeFrames(torch.from_numpy(codes)[None], _volumes(codec, name, codes.shape[-1], scale))
    frames = replace(frames, codes=frames.codes.to(next(codec.parameters()).device))
    decoder = Decoder(codec, codec.sample_rate, codec.channels)
    audio = torch.cat([decoder.push(frames), decoder.finish()], dim=-1)
    return audio[:, :samples].cpu(), codec.sample_rate


def _volumes(codec: CompressionModel, name: str, frames: int, scale: Sequence[float] | None) -> Tensor | None:
    layout = layout_of(codec)
    if not layout.chunk_samples:
        if scale is not None:
            raise InvalidInput(f"codec {name!r} leaves volume alone, so it takes no scale", field="scale")
        return None
    chunks, rest = divmod(frames, layout.unit_frames)
    if rest or (scale is not None and len(scale) != chunks):
        raise InvalidInput(
            f"codec {name!r} codes chunks of {layout.unit_frames} frames with a scale for each; got {frames} frames "
            f"and {0 if scale is None else len(scale)} numbers",
            field="scale",
        )
    return torch.tensor([[1.0] * chunks if scale is None else list(scale)])


def write_acx(known: KnownCodec, source: Path, target: Path, options: AcxOptions) -> AcxFacts:
    """Write an audio file as an .acx file."""
    rate = Rate(
        codebooks=options.codebooks, bitrate=options.bitrate, size=options.size,
        target_mel=options.target_mel, quality=options.quality,
    )  # fmt: skip
    facts = encode_file(source, target, codec=known, rate=rate, notes=Notes(options.tags))
    return AcxFacts(bytes=facts.bytes, seconds=facts.seconds, codebooks=facts.codebooks)


def read_acx(
    known: KnownCodec,
    source: Path,
    target: Path,
    bounds: AcxBounds,
    codebooks: int | None,
    watermark: str | None,
) -> AcxAudio:
    """Write the audio of an .acx file that a stranger sent, as WAV or as raw samples.

    Args:
        watermark: what a WAV file is marked with, since it leaves; raw samples stay here.
    """
    try:
        with AcxFile(source, known) as file:
            header = file.header
            _check(file, bounds)
            pieces = file.pieces(codebooks=codebooks)
            if target.suffix == ".f32":
                _write_raw(pieces, target)
            else:
                with AudioWriter(
                    target, header.source_rate, header.channels, format="wav", seconds=file.seconds
                ) as out:
                    for piece in _marked(pieces, header.source_rate, header.channels, watermark):
                        out.write(piece)
            return AcxAudio(
                sample_rate=header.source_rate,
                channels=header.channels,
                samples=file.samples,
                problems=file.problems,
            )
    except DamagedFile as error:
        raise UnsupportedMedia(
            f"the file is damaged: {error}".replace(f"{source}: ", ""), field="file"
        ) from error


def _check(file: AcxFile, bounds: AcxBounds) -> None:
    header = file.header
    if not 1 <= header.channels <= bounds.channels:
        raise TooLarge(
            f"{header.channels} channels; at most {bounds.channels} are accepted; mix it down", field="file"
        )
    if not bounds.min_rate <= header.source_rate <= bounds.max_rate:
        allowed = f"between {bounds.min_rate} and {bounds.max_rate}"
        raise UnsupportedMedia(
            f"a sample rate of {header.source_rate} Hz; {allowed} are accepted", field="file"
        )
    most = min(bounds.seconds, bounds.bytes / (4 * header.channels * header.source_rate))
    if file.seconds > most:
        raise TooLarge(f"longer than {most:g} seconds; cut it", field="file")
    if not file.samples:
        raise UnsupportedMedia("there is no audio in the file", field="file")


def _marked(
    pieces: Iterator[Tensor], sample_rate: int, channels: int, watermark: str | None
) -> Iterator[Tensor]:
    if watermark is None:
        yield from pieces
        return
    mark = provenance_mark(watermark).open(sample_rate, channels)
    for piece in pieces:
        yield mark.push(piece)
    yield mark.finish()


def _write_raw(pieces: Iterator[Tensor], target: Path) -> None:
    with open(target, "wb") as out:
        for piece in pieces:
            out.write(as_samples(piece).T.astype("<f4").tobytes())
