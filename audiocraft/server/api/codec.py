"""Audio to codes and back."""

from __future__ import annotations

import math
from typing import Annotated

import anyio
import numpy as np
from fastapi import APIRouter, File, Form, Response, UploadFile

from audiocraft.errors import InvalidInput
from audiocraft.server.api.deps import CodecCaller, ServicesDep
from audiocraft.server.api.responses import PROBLEMS, EncodedAudio
from audiocraft.server.api.schemas import CodesBody, ModelName
from audiocraft.server.api.uploads import read_audio
from audiocraft.server.errors import NotImplementedHere, TooLarge
from audiocraft.server.jobs.uploads import DecodedUpload
from audiocraft.server.services import Services
from audiocraft.server.worker.ports import ModelsPort

router = APIRouter(prefix="/v1/codec", tags=["codec"], responses=PROBLEMS)


@router.post("/encode")
async def encode(
    file: Annotated[UploadFile, File(description="wav, flac, ogg or mp3")],
    services: ServicesDep,
    who: CodecCaller,
    model: Annotated[ModelName | None, Form(description="The codec; by default the server's.")] = None,
    codebooks: Annotated[int | None, Form(ge=1, le=64, description="Fewer is a lower bit rate.")] = None,
) -> EncodedAudio:
    """Compress a file into the codes of a codec."""
    found = _models(services)
    name = services.catalogue.choose(model, "codec").name
    most = services.config.request.codec_seconds
    async with services.coding.slot():  # so that no decoded audio waits
        decoded = await read_audio(services, file)
        if decoded.wav.shape[-1] / decoded.sample_rate > most:
            raise TooLarge(f"at most {most:g} seconds are encoded at a time", field="file")
        seconds = decoded.wav.shape[-1] / decoded.sample_rate
        await anyio.to_thread.run_sync(services.store.count, who.owner, who.quota, seconds)
        return await anyio.to_thread.run_sync(_encode, found, name, decoded, codebooks)


@router.post(
    "/decode",
    response_class=Response,
    responses={200: {"content": {"audio/wav": {"schema": {"type": "string", "format": "binary"}}}}},
)
async def decode(body: CodesBody, services: ServicesDep, who: CodecCaller) -> Response:
    """Codes to a WAV file."""
    found = _models(services)
    facts = services.catalogue.choose(body.model, "codec")
    most = services.config.request.codec_seconds
    await anyio.to_thread.run_sync(
        services.store.count, who.owner, who.quota, 0.0
    )  # a request, of unknown length
    content = await services.coding.run(_decode, found, facts.name, body, most)
    return Response(content, media_type="audio/wav")


def _models(services: Services) -> ModelsPort:
    if services.models is None:
        raise NotImplementedHere("this server has no models of its own; its workers make the pieces")
    return services.models


def _encode(models: ModelsPort, codec: str, decoded: DecodedUpload, codebooks: int | None) -> EncodedAudio:
    found = models.encode(codec, decoded.wav, decoded.sample_rate, codebooks)
    return EncodedAudio(
        model=codec,
        codes=found.codes.tolist(),
        scale=found.scale,
        sample_rate=found.codec.sample_rate,
        channels=found.codec.channels,
        frame_rate=found.codec.frame_rate,
        samples=found.samples,
    )


def _decode(models: ModelsPort, codec: str, body: CodesBody, most_seconds: float) -> bytes:
    lengths = {len(row) for row in body.codes}
    if len(lengths) != 1:
        raise InvalidInput("every codebook needs as many codes as the others", field="codes")
    if body.scale is not None and not (math.isfinite(body.scale) and body.scale > 0):
        raise InvalidInput("scale must be a positive number", field="scale")
    facts = models.codec_facts(codec)
    if lengths.pop() > most_seconds * facts.frame_rate:
        raise TooLarge(f"at most {most_seconds:g} seconds are decoded at a time", field="codes")
    for name in ("sample_rate", "channels", "frame_rate"):
        given, own = getattr(body, name), getattr(facts, name)
        if given is not None and given != own:
            raise InvalidInput(f"codec {codec!r} has the {name} {own:g}, not {given:g}", field=name)
    return models.decode(codec, np.array(body.codes, dtype=np.int64), body.scale, body.samples)
