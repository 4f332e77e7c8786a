"""`--keep 0-4,8-10 --from FILE`: which seconds of a file stay, and what models that fill in are asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from audiocraft.errors import InvalidInput

if TYPE_CHECKING:
    from audiocraft.cli.job import Job


@dataclass(frozen=True, slots=True)
class Kept:
    """This record names regions of an audio file, in seconds."""

    path: Path
    regions: tuple[tuple[float, float], ...]
    duration: float

    @classmethod
    def of(
        cls, said: str, path: Path | None, duration: float | None, *, continues: Path | None = None
    ) -> Kept:
        """Read what `--keep` says of the file of `--from`; a piece whose duration is not given is as long as the
        file."""
        from audiocraft.audio.files import audio_info

        if path is None:
            raise InvalidInput(
                "--keep names seconds of an audio file: give it with --from FILE", field="keep"
            )
        if continues is not None:
            raise InvalidInput(
                "--keep makes parts of a file anew and --continue goes on behind one: give one of them",
                field="keep",
            )
        seconds = audio_info(path).duration
        if not seconds:
            raise InvalidInput(f"{path} has no audio in it", field="keep")
        return cls(path, regions_of(said), duration or seconds)

    def put_into(self, job: Job) -> Job:
        """Return `job`, each row of which keeps the regions, in the plan of their file."""
        from audiocraft.workflows.continuing import keep_plan
        from audiocraft.workflows.origins import kept_audio, with_kept_audio

        request = with_kept_audio(job.request, self.path, self.regions)
        return replace(
            job,
            request=keep_plan(request, self.path, model=job.place.model),
            origin=replace(job.origin, kept=kept_audio(self.path, self.regions)),
        )


def duration_of(kept: Kept | None, duration: float) -> float:
    """Return seconds of the piece: `duration`, unless something is kept that says it."""
    return duration if kept is None else kept.duration


def with_kept(job: Job, kept: Kept | None) -> Job:
    """Return `job`, with what is kept, if anything is."""
    return job if kept is None else kept.put_into(job)


def regions_of(said: str) -> tuple[tuple[float, float], ...]:
    """Turn 0-4,8-10 into ((0, 4), (8, 10)); whether they make sense is seen by the request."""
    found = []
    for part in said.split(","):
        start, dash, end = part.strip().partition("-")
        try:
            found.append((float(start), float(end)))
        except ValueError:
            raise InvalidInput(
                f"--keep takes regions in seconds, such as 0-4,8-10; {part.strip()!r} is none", field="keep"
            ) from None
        assert dash
    return tuple(found)
