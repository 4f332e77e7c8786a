"""Finished pieces as files: the WAV that is there, or another format made of it once and kept beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from audiocraft.audio.encoders import open_encoder
from audiocraft.audio.formats import stream_format
from audiocraft.server.api.deps import Services
from audiocraft.server.errors import NotFound
from audiocraft.server.jobs.records import Job, tags_of
from audiocraft.utils.files import atomic_path

_BLOCK_SECONDS = 4


def finished_file(services: Services, job: Job, format: str) -> Path:
    """Where the file of a finished job is. Blocks while it is made the first time."""
    source = services.blobs.audio_path(job)
    if not source.is_file() or job.sample_rate is None or job.channels is None:
        raise NotFound(f"the audio of {job.id} is not kept any more")
    if format == "wav":
        return source
    target = services.blobs.folder_of(job.id) / f"audio-{job.fence}.{stream_format(format).suffix}"
    if not target.is_file():
        _encode(services, job, format, target)
    return target


def _encode(services: Services, job: Job, format: str, target: Path) -> None:
    assert job.sample_rate is not None and job.channels is not None
    encoder = open_encoder(
        format, job.sample_rate, job.channels, total_samples=job.samples, tags=tags_of(job)
    )
    block = _BLOCK_SECONDS * job.sample_rate
    with atomic_path(target) as temporary, open(temporary, "wb") as file:
        for start in range(0, job.samples, block):
            audio = services.blobs.read(job, start, min(job.samples, start + block))
            file.write(encoder.encode(audio.numpy().astype(np.float32, copy=False)))
        file.write(encoder.finish())


def peaks(services: Services, job: Job, points: int) -> list[float]:
    """The loudest sample, 0 to 1, of each of `points` equal parts of what there is of a job's audio."""
    if not job.samples or job.sample_rate is None:
        return []
    edges = np.linspace(0, job.samples, points + 1).astype(int)
    found = np.zeros(points, np.float32)
    per_block = max(1, int(points * _BLOCK_SECONDS * job.sample_rate / job.samples))
    for first in range(0, points, per_block):
        cuts = edges[first : first + per_block + 1]
        try:
            audio = services.blobs.read(job, int(cuts[0]), int(cuts[-1]))
        except FileNotFoundError:
            raise NotFound(f"the audio of {job.id} is not kept any more") from None
        loudness = audio.abs().amax(0).numpy()
        for index, (start, stop) in enumerate(zip(cuts[:-1] - cuts[0], cuts[1:] - cuts[0], strict=True)):
            found[first + index] = loudness[start:stop].max(initial=0.0)
    return [round(float(value), 3) for value in found]
