"""Audio that pieces start from: send it once, name it in requests."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Annotated

import anyio
from fastapi import APIRouter, File, Path, Response, UploadFile

from audiocraft.server.api.coded import acx_reader
from audiocraft.server.api.deps import GenerateCaller, ServicesDep
from audiocraft.server.api.responses import PROBLEMS, Upload, UploadList, moment
from audiocraft.server.jobs.uploads import INLINE, DecodedUpload, UploadRecord
from audiocraft.server.security import sandbox
from audiocraft.server.services import Services

UploadPath = Annotated[str, Path(description="As given by POST.")]

_CHUNK = 1 << 20

router = APIRouter(prefix="/v1/uploads", tags=["uploads"], responses=PROBLEMS)


@router.post(
    "",
    status_code=201,
    responses={200: {"model": Upload, "description": "You sent the same file before: this is that upload."}},
)
async def create_upload(
    file: Annotated[UploadFile, File(description="wav, flac, ogg, mp3 or acx")],
    services: ServicesDep,
    who: GenerateCaller,
    response: Response,
) -> Upload:
    """Send audio to continue or to follow; it is kept for a day. The same file again is the same upload, for another
    day."""
    await anyio.to_thread.run_sync(services.need_room)
    name = (file.filename or "").replace("\\", "/").rpartition("/")[2]
    name = "".join(letter for letter in name if letter.isprintable())
    name = name if name not in ("", INLINE) else "audio"
    known = await anyio.to_thread.run_sync(_known, services, who.owner, name, file)
    if known is not None:
        response.status_code = 200
        return _shown(services, known)
    decoded = await read_audio(services, file)
    record = await anyio.to_thread.run_sync(services.uploads.keep, who.owner, name, decoded)
    return _shown(services, record)


def _known(services: Services, owner: str, name: str, file: UploadFile) -> UploadRecord | None:
    """Return the upload that was made of the same bytes before: they need not be decoded again."""
    digest = hashlib.sha256()
    while content := file.file.read(_CHUNK):
        digest.update(content)
    file.file.seek(0)
    return services.uploads.same(owner, digest.hexdigest(), name=name)


@router.get("")
def list_uploads(services: ServicesDep, who: GenerateCaller) -> UploadList:
    """Your uploads, the newest first."""
    return UploadList(data=[_shown(services, record) for record in services.uploads.list(who.owner)])


@router.get("/{upload}")
def get_upload(upload: UploadPath, services: ServicesDep, who: GenerateCaller) -> Upload:
    """What an upload is."""
    return _shown(services, services.uploads.get(upload, who.owner))


@router.delete("/{upload}", status_code=204)
def delete_upload(upload: UploadPath, services: ServicesDep, who: GenerateCaller) -> None:
    """Forget an upload; pieces that use it are not disturbed."""
    services.uploads.delete(upload, who.owner)


async def read_audio(services: Services, file: UploadFile) -> DecodedUpload:
    """Return the audio of an uploaded file, decoded in the sandbox, a few at a time; those that wait stay on disk."""
    async with services.decoding.slot():
        content = await file.read(services.config.upload.bytes + 1)
        decoding = partial(sandbox.decode, content, services.config.upload, read_coded=acx_reader(services))
        return await anyio.to_thread.run_sync(decoding)


def _shown(services: Services, record: UploadRecord) -> Upload:
    return Upload(
        id=record.id,
        name=record.name,
        format=record.kind,
        sha256=record.sha256,
        sample_rate=record.sample_rate,
        channels=record.channels,
        seconds=record.samples / record.sample_rate,
        created_at=moment(record.created_at),
        expires_at=moment(record.created_at + services.config.upload.kept_seconds),
    )
