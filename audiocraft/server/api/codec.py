"""Audio to codes and back."""

from __future__ import annotations

import math
from typing import Annotated

import anyio
import torch
from fastapi import APIRouter, File, Form, Response, UploadFile

from audiocraft.audio.files import encode_audio
from audiocraft.errors import InvalidInput
from audiocraft.server.api.deps import CodecCaller, Services, ServicesDep
from audiocraft.server.api.generations import PROBLEMS
from audiocraft.server.api.responses import EncodedAudio
from audiocraft.server.api.schemas import CodesBody, ModelName
from audiocraft.server.api.uploads import read_audio
from audiocraft.server.errors import NotImplementedHere, TooLarge
from audiocraft.server.jobs.uploads import Decoded
from audiocraft.server.worker.engine_port import ModelsPort

router = APIRouter(prefix="/v1/codec", tags=["codec"], responses=PROBLEMS)


@router.post("/encode")
async def encode(
    file: Annotated[UploadFile, File(description="wav, flac, ogg or mp3")],
    services: ServicesDep,
    _who: CodecCaller,
    model: Annotated[ModelName | None, Form(description="The codec; by default the server's.")] = None,
    codebooks: Annotated[int | None, Form(ge=1, le=64, description="Fewer is a lower bit rate.")] = None,
) -> EncodedAudio:
    """Compress a file into the codes of a codec."""
    engine = _engine(services)
    name = services.catalogue.choose(model, "codec").name
    most = services.config.request.codec_seconds
    async with services.coding.turn():  # so that no decoded audio waits
        decoded = await read_audio(services, file)
        if decoded.wav.shape[-1] / decoded.sample_rate > most:
            raise TooLarge(f"at most {most:g} seconds are encoded at a time", field="file")
        return await anyio.to_thread.run_sync(_encode, engine, name, decoded, codebooks)


@router.post(
    "/decode",
    response_class=Response,
    responses={200: {"content": {"audio/wav": {"schema": {"type": "string", "format": "binary"}}}}},
)
async def decode(body: CodesBody, services: ServicesDep, _who: CodecCaller) -> Response:
    """Codes to a WAV file."""
    engine = _engine(services)
    facts = services.catalogue.choose(body.model, "codec")
    content = await services.coding.run(
        _decode, engine, facts.name, body, services.config.request.codec_seconds
    )
    return Response(content, media_type="audio/wav")


def _engine(services: Services) -> ModelsPort:
    if services.engine is None:
        raise NotImplementedHere("this server has no models of its own; its workers make the pieces")
    return services.engine


def _encode(engine: ModelsPort, model: str, decoded: Decoded, codebooks: int | None) -> EncodedAudio:
    found = engine.encode(model, decoded.wav, decoded.sample_rate, codebooks)
    return EncodedAudio(
        model=model,
        codes=found.codes.tolist(),
        scale=found.scale,
        sample_rate=found.sample_rate,
        channels=found.channels,
        frame_rate=found.frame_rate,
        samples=found.samples,
    )


def _decode(engine: ModelsPort, model: str, body: CodesBody, most_seconds: float) -> bytes:
    lengths = {len(row) for row in body.codes}
    if len(lengths) != 1:
        raise InvalidInput("every codebook needs as many codes as the others", field="codes")
    if body.scale is not None and not (math.isfinite(body.scale) and body.scale > 0):
        raise InvalidInput("scale must be a positive number", field="scale")
    if lengths.pop() > most_seconds * engine.frame_rate(model):
        raise TooLarge(f"at most {most_seconds:g} seconds are decoded at a time", field="codes")
    audio, rate = engine.decode(model, torch.tensor(body.codes, dtype=torch.long), body.scale)
    own = {"sample_rate": rate, "channels": audio.shape[0], "frame_rate": engine.frame_rate(model)}
    for name, value in own.items():
        said = getattr(body, name)
        if said is not None and said != value:
            raise InvalidInput(f"codec {model!r} has the {name} {value:g}, not {said:g}", field=name)
    return encode_audio(audio[:, : body.samples], rate, "wav")
