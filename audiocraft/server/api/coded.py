"""Files of codes (.acx) that are sent and asked for: the models' side writes and reads them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from audiocraft.codec.container import DamagedFile
from audiocraft.codec.reading import ChunkReader, header_of
from audiocraft.errors import InvalidInput
from audiocraft.server.errors import NotImplementedHere, UnsupportedMedia
from audiocraft.server.security import sandbox
from audiocraft.server.services import Services
from audiocraft.server.worker.ports import AcxAudio, AcxBounds, ModelsPort


def models_of(services: Services) -> ModelsPort:
    """Return what encodes and decodes for this server."""
    if services.models is None:
        raise NotImplementedHere("this server has no models of its own; its workers make the pieces")
    return services.models


def acx_reader(services: Services) -> sandbox.ReadCoded | None:
    """Return what reads .acx files that are sent; None where this server has no models."""
    return None if services.models is None else partial(_read_coded, services)


def _read_coded(services: Services, source: Path, target: Path, field: str) -> dict[str, Any]:
    found = read_acx(services, source, target, field=field)
    return {
        "kind": "acx", "sample_rate": found.sample_rate, "channels": found.channels, "samples": found.samples,
    }  # fmt: skip


def read_acx(
    services: Services, source: Path, target: Path, *, field: str, codebooks: int | None = None
) -> AcxAudio:
    """Write the audio of an .acx file that was sent, with the codec that it names, if requests may name it."""
    limits = services.config.upload
    bounds = AcxBounds(
        seconds=limits.seconds, bytes=limits.decoded_bytes, channels=limits.channels,
        min_rate=limits.min_sample_rate, max_rate=limits.max_sample_rate,
    )  # fmt: skip
    try:
        with open(source, "rb") as file:
            header = header_of(ChunkReader(file).contents())
    except DamagedFile as error:
        raise UnsupportedMedia(f"the file is damaged: {error}", field=field) from error
    try:
        codec = services.catalogue.choose(header.model, "codec").name
    except InvalidInput as error:
        raise InvalidInput(f"the file was made with another codec: {error}", field=field) from error
    return models_of(services).read_acx(codec, source, target, bounds, codebooks)
