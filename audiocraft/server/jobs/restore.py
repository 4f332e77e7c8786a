"""From a stored job back to the request that the engine runs."""

from __future__ import annotations

from audiocraft.generation.request import GenerationRequest
from audiocraft.server.api.schemas import GenerationBody, to_request
from audiocraft.server.jobs.blobs import BlobStore
from audiocraft.server.jobs.records import Job


def request_of(job: Job, blobs: BlobStore) -> GenerationRequest:
    """What was asked for, with the audio it refers to."""
    body = GenerationBody.model_validate(dict(job.request))
    found = blobs.input_of(job.id)
    return to_request(body, *found) if found is not None else to_request(body)
