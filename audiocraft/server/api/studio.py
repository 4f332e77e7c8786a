"""The studio: songs, podcasts, the audio of games, and edits. What is asked for is a job like any other piece, at
/v1/generations; here it is asked for, and its further files are fetched."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from audiocraft.server.api import submission
from audiocraft.server.api.deps import GenerateCaller, ServicesDep, run_query
from audiocraft.server.api.edit_bodies import EditBody
from audiocraft.server.api.files import PacedFile
from audiocraft.server.api.generations import FINISHED, AskingDep, JobId
from audiocraft.server.api.production_bodies import BankBody, PodcastBody
from audiocraft.server.api.responses import PROBLEMS, GenerationAnswer
from audiocraft.server.api.studio_bodies import SongBody
from audiocraft.server.errors import NotFound, NotReady

_FILES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}

router = APIRouter(prefix="/v1", tags=["studio"], responses=PROBLEMS)


@router.post("/songs", status_code=202, responses=FINISHED)
async def create_song(body: SongBody, asking: AskingDep) -> GenerationAnswer:
    """Ask for a song: sections with prompts of their own in one key and tempo, mixed and mastered. With `base`, only
    what differs from an earlier song is made."""
    return await asking.answer(*await submission.submit(asking.services, asking.who, body, key=asking.key))


@router.post("/edits", status_code=202, responses=FINISHED)
async def create_edit(body: EditBody, asking: AskingDep) -> GenerationAnswer:
    """Change a piece: a region made anew, more bars, a loop, an ending, another style. The piece stays; what comes of
    it is another one, which outside of `result.changed` is the same."""
    return await asking.answer(*await submission.submit(asking.services, asking.who, body, key=asking.key))


@router.post("/podcasts", status_code=202, responses=FINISHED)
async def create_podcast(body: PodcastBody, asking: AskingDep) -> GenerationAnswer:
    """Make an episode around a voice: music before, under and after it, sounds between chapters, the loudness of
    podcasts. `episode.mp3` among its files has the chapters."""
    return await asking.answer(*await submission.submit(asking.services, asking.who, body, key=asking.key))


@router.post("/banks", status_code=202, responses=FINISHED)
async def create_bank(body: BankBody, asking: AskingDep) -> GenerationAnswer:
    """Make the audio of a game: layers that follow tension and location, stingers, the sound of places. `bank.zip`
    among its files is a folder that Godot and Web Audio read as it is; its audio goes through the levels of tension."""
    return await asking.answer(*await submission.submit(asking.services, asking.who, body, key=asking.key))


@router.get(
    "/generations/{job}/files/{name}",
    response_class=Response,
    responses={200: {"content": _FILES, "description": "The file."}},
)
async def get_file(
    job: JobId,
    name: Annotated[str, Path(description="One of `result.files`.", max_length=120)],
    services: ServicesDep,
    who: GenerateCaller,
) -> Response:
    """A further file of something of the studio: a project, a section, an archive; `result.files` lists them."""
    found = await run_query(services, services.store.get, job, owner=who.owner)
    if found.status != "succeeded":
        raise NotReady(f"it is {found.status}: its files are there once it has succeeded")
    known = {one["name"]: one for one in (found.result or {}).get("files", ())}
    if name not in known:  # nothing but what a worker has named becomes a path
        listed = ", ".join(known) or "none"
        raise NotFound(f"there is no file {name[:120]!r} of {found.id}; there are {listed}")
    path = services.blobs.file_path(found, known[name]["name"])
    if not path.is_file():
        raise NotFound(f"the files of {found.id} are not kept any more")
    return PacedFile(
        path, stall=services.stream_limits.stall, media_type=known[name]["media_type"], filename=name,
        headers={"ETag": f'"{known[name]["sha256"][:32]}"', "Cache-Control": "private, max-age=3600"},
        content_disposition_type="attachment",
    )  # fmt: skip
