"""Audio to codes and back."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Annotated

import anyio
import numpy as np
import soundfile
from fastapi import APIRouter, File, Form, Response, UploadFile

from audiocraft.audio.formats import DOWNLOAD_FORMATS
from audiocraft.errors import InvalidInput
from audiocraft.server.api.coded import models_of, read_acx
from audiocraft.server.api.codes_body import CodesBody
from audiocraft.server.api.deps import CodecCaller, ServicesDep
from audiocraft.server.api.responses import PROBLEMS, EncodedAudio
from audiocraft.server.api.schemas import ModelName
from audiocraft.server.api.uploads import read_audio
from audiocraft.server.errors import TooLarge, UnsupportedMedia
from audiocraft.server.jobs.uploads import DecodedUpload
from audiocraft.server.security import sandbox
from audiocraft.server.security.guards import size_of
from audiocraft.server.services import Services
from audiocraft.server.worker.ports import AcxOptions, ModelsPort

ACX = DOWNLOAD_FORMATS["acx"]
_HEADER_LETTERS = 1000

router = APIRouter(prefix="/v1/codec", tags=["codec"], responses=PROBLEMS)


@router.post("/encode")
async def encode(
    file: Annotated[UploadFile, File(description="wav, flac, ogg, mp3 or acx")],
    services: ServicesDep,
    who: CodecCaller,
    model: Annotated[ModelName | None, Form(description="The codec; by default the server's.")] = None,
    codebooks: Annotated[int | None, Form(ge=1, le=64, description="Fewer is a lower bit rate.")] = None,
) -> EncodedAudio:
    """Compress a file into the codes of a codec."""
    found = models_of(services)
    name = services.catalogue.choose(model, "codec").name
    async with services.coding.slot():  # so that no decoded audio waits
        decoded = await _short_audio(services, file)
        await anyio.to_thread.run_sync(services.store.count, who.owner, who.quota, _seconds(decoded))
        return await anyio.to_thread.run_sync(_encode, found, name, decoded, codebooks)


@router.post(
    "/decode",
    response_class=Response,
    responses={200: {"content": {"audio/wav": {"schema": {"type": "string", "format": "binary"}}}}},
)
async def decode(body: CodesBody, services: ServicesDep, who: CodecCaller) -> Response:
    """Turn codes into a WAV file."""
    found = models_of(services)
    facts = services.catalogue.choose(body.model, "codec")
    most = services.config.request.codec_seconds
    await anyio.to_thread.run_sync(
        services.store.count, who.owner, who.quota, 0.0
    )  # a request, of unknown length
    content = await services.coding.run(_decode, found, facts.name, body, most)
    return Response(content, media_type="audio/wav")


@router.post(
    "/compress",
    response_class=Response,
    responses={200: {"content": {ACX.media_type: {"schema": {"type": "string", "format": "binary"}}}}},
)
async def compress(
    file: Annotated[UploadFile, File(description="wav, flac, ogg, mp3 or acx")],
    services: ServicesDep,
    who: CodecCaller,
    model: Annotated[ModelName | None, Form(description="The codec; by default the server's.")] = None,
    codebooks: Annotated[int | None, Form(ge=1, le=64, description="Of every block; all by default.")] = None,
    bitrate: Annotated[
        float | None, Form(gt=0, le=1e6, description="At most so many kb/s, the whole file counted.")
    ] = None,
    size: Annotated[int | None, Form(ge=1, le=2**40, description="At most so many bytes.")] = None,
    quality: Annotated[
        float | None, Form(ge=0, le=10, description="Tenths of what all codebooks gain over one.")
    ] = None,
    target_mel: Annotated[
        float | None,
        Form(ge=0, le=200, description="The fewest codebooks within this log-mel distance in dB."),
    ] = None,
) -> Response:
    """Compress a file to an .acx file: a few kilobytes a second. At most one of codebooks, bitrate, size, quality and
    target_mel says how large it may be."""
    options = AcxOptions(
        codebooks=codebooks, bitrate=bitrate, size=size, quality=quality, target_mel=target_mel
    )
    codec = services.catalogue.choose(model, "codec").name
    models = models_of(services)
    async with services.coding.slot():  # so that no decoded audio waits
        decoded = await _short_audio(services, file)
        await anyio.to_thread.run_sync(services.store.count, who.owner, who.quota, _seconds(decoded))
        content = await anyio.to_thread.run_sync(_compress, models, codec, decoded, options)
    return Response(content, media_type=ACX.media_type, headers=_named(file, ACX.suffix))


@router.post(
    "/expand",
    response_class=Response,
    responses={
        200: {
            "content": {"audio/wav": {"schema": {"type": "string", "format": "binary"}}},
            "headers": {
                "Audio-Problems": {
                    "description": "What was damaged and is silent, if anything.",
                    "schema": {"type": "string"},
                }
            },
        }
    },
)
async def expand(
    file: Annotated[UploadFile, File(description="acx")],
    services: ServicesDep,
    who: CodecCaller,
    codebooks: Annotated[int | None, Form(ge=1, le=64, description="Decode so many at most.")] = None,
) -> Response:
    """An .acx file to a WAV file, exactly as long as what was compressed. Damaged parts are silent."""
    models_of(services)
    await anyio.to_thread.run_sync(services.store.count, who.owner, who.quota, 0.0)  # of unknown length
    async with services.coding.slot():
        content = await file.read(services.config.upload.bytes + 1)
        wav, problems = await anyio.to_thread.run_sync(_expand, services, content, codebooks)
    headers = _named(file, "wav")
    if problems:
        headers["Audio-Problems"] = "; ".join(problems)[:_HEADER_LETTERS]
    return Response(wav, media_type="audio/wav", headers=headers)


async def _short_audio(services: Services, file: UploadFile) -> DecodedUpload:
    decoded = await read_audio(services, file)
    most = services.config.request.codec_seconds
    if _seconds(decoded) > most:
        raise TooLarge(f"at most {most:g} seconds are encoded at a time", field="file")
    return decoded


def _seconds(decoded: DecodedUpload) -> float:
    return float(decoded.wav.shape[-1] / decoded.sample_rate)


def _named(file: UploadFile, suffix: str) -> dict[str, str]:
    """Return what the answer's file is called: as the one that was sent, with another ending."""
    letters = re.sub(r"[^A-Za-z0-9_. -]", "-", (file.filename or "").replace("\\", "/").rpartition("/")[2])
    stem = letters.rpartition(".")[0] or letters or "audio"
    return {"Content-Disposition": f'attachment; filename="{stem[:80]}.{suffix}"'}


def _compress(models: ModelsPort, codec: str, decoded: DecodedUpload, options: AcxOptions) -> bytes:
    with tempfile.TemporaryDirectory(prefix=sandbox.FOLDER_PREFIX) as folder:
        source, target = Path(folder, "in.wav"), Path(folder, "out.acx")
        soundfile.write(source, decoded.wav.T, decoded.sample_rate, subtype="FLOAT")
        models.write_acx(codec, source, target, options)
        return target.read_bytes()


def _expand(services: Services, content: bytes, codebooks: int | None) -> tuple[bytes, list[str]]:
    if len(content) > services.config.upload.bytes:
        raise TooLarge(
            f"a file may have {size_of(services.config.upload.bytes)}, this one has more", field="file"
        )
    if sandbox.sniff(content[:16]) != ACX.name:
        raise UnsupportedMedia("this is no acx file; `compress` makes them", field="file")
    with tempfile.TemporaryDirectory(prefix=sandbox.FOLDER_PREFIX) as folder:
        source, target = Path(folder, "in.acx"), Path(folder, "out.wav")
        source.write_bytes(content)
        found = read_acx(services, source, target, field="file", codebooks=codebooks)
        return target.read_bytes(), list(found.problems)


def _encode(models: ModelsPort, codec: str, decoded: DecodedUpload, codebooks: int | None) -> EncodedAudio:
    found = models.encode(codec, decoded.wav, decoded.sample_rate, codebooks)
    return EncodedAudio(
        model=codec,
        codes=found.codes.tolist(),
        scale=None if found.scale is None else list(found.scale),
        sample_rate=found.codec.sample_rate,
        channels=found.codec.channels,
        frame_rate=found.codec.frame_rate,
        samples=found.samples,
    )


def _decode(models: ModelsPort, codec: str, body: CodesBody, most_seconds: float) -> bytes:
    lengths = {len(row) for row in body.codes}
    if len(lengths) != 1:
        raise InvalidInput("every codebook needs as many codes as the others", field="codes")
    facts = models.codec_facts(codec)
    if lengths.pop() > most_seconds * facts.frame_rate:
        raise TooLarge(f"at most {most_seconds:g} seconds are decoded at a time", field="codes")
    for name in ("sample_rate", "channels", "frame_rate"):
        given, own = getattr(body, name), getattr(facts, name)
        if given is not None and given != own:
            raise InvalidInput(f"codec {codec!r} has the {name} {own:g}, not {given:g}", field=name)
    scale = [body.scale] if isinstance(body.scale, float) else body.scale
    return models.decode(codec, np.array(body.codes, dtype=np.int64), scale, body.samples)
