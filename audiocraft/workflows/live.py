"""A request to listeners and to a file while it is made, in constant memory however long it is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from audiocraft.audio.files import why_not_written
from audiocraft.audio.writer import AudioWriter
from audiocraft.checkpoints.facts import check_takes
from audiocraft.errors import InvalidInput
from audiocraft.generation.events import AudioChunk
from audiocraft.generation.progress import CancelToken, ProgressCallback
from audiocraft.generation.request import GenerationRequest
from audiocraft.generation.session import Session
from audiocraft.models.generator import GeneratorModel, PreparedRequest
from audiocraft.types import ScorePlan
from audiocraft.utils.files import atomic_path
from audiocraft.workflows.render import (
    LevelSettings,
    Origin,
    Rendered,
    check_target,
    identity_of,
    recipe_of,
    sidecar_of,
    write_sidecar,
)

Listener = Callable[[Tensor], None]
"""Takes the next samples [C, n], float32."""

AS_MADE = LevelSettings(strategy="none", loudness_compressor=False)
"""How loud such files are: what has been heard already cannot be made louder later."""


@dataclass(frozen=True, slots=True)
class _Made:
    seeds: Sequence[int]
    plans: Sequence[ScorePlan | None]
    sample_rate: int
    timings: Mapping[str, float]


def render_live(
    model: GeneratorModel,
    request: GenerationRequest,
    path: str | os.PathLike[str] | None = None,
    *,
    listeners: Sequence[Listener] = (),
    origin: Origin | None = None,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> Rendered | None:
    """Make the one piece of `request`, and hand each chunk to all `listeners` as soon as it is there.

    Args:
        path: a file to write as well, with its sidecar. It appears when it is complete; what stops earlier, by
            whatever error, leaves nothing.
    """
    if len(request.prompts) != 1:
        raise InvalidInput(
            f"one piece can be streamed at a time; there are {len(request.prompts)} prompts", field="prompts"
        )
    target = None if path is None else check_target(path)
    origin = origin or Origin()
    if origin.reference is not None:
        check_takes(model.name, model.takes, origin.reference.role)
    prepared = model.prepare(request)
    session = Session.open(prepared.seeds, progress=progress, cancel=cancel)
    chunks = model.stream_prepared(prepared, session)
    if target is None:
        _listen(chunks, listeners)
        return None
    return _written(model, prepared, chunks, request, target, listeners=listeners, origin=origin)


def _written(
    model: GeneratorModel,
    prepared: PreparedRequest,
    chunks: Iterator[AudioChunk],
    request: GenerationRequest,
    target: Path,
    *,
    listeners: Sequence[Listener],
    origin: Origin,
) -> Rendered:
    try:
        return _to_file(model, prepared, chunks, request, target, listeners=listeners, origin=origin)
    except OSError as error:
        if error.filename is None:  # a listener's
            raise
        raise InvalidInput(why_not_written(target, error), field="output") from error


def _to_file(
    model: GeneratorModel,
    prepared: PreparedRequest,
    chunks: Iterator[AudioChunk],
    request: GenerationRequest,
    target: Path,
    *,
    listeners: Sequence[Listener],
    origin: Origin,
) -> Rendered:
    started = time.perf_counter()
    sidecar = sidecar_of(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as temporary:
        with AudioWriter(
            temporary,
            model.sample_rate,
            model.audio_channels,
            format=target.suffix.lower().lstrip("."),
            seconds=request.duration,
        ) as writer:
            _listen(chunks, [writer.write, *listeners])
        timings = {"total": time.perf_counter() - started}
        made = _Made(prepared.seeds, prepared.plans, model.sample_rate, timings)
        recipe = recipe_of(
            request, 0, made, target=target, model=identity_of(model), origin=origin, level=AS_MADE
        )
        write_sidecar(sidecar, recipe)
    return Rendered(path=target, sidecar=sidecar, recipe=recipe)


def _listen(chunks: Iterator[AudioChunk], listeners: Sequence[Listener]) -> None:
    for chunk in chunks:
        for listener in listeners:
            listener(chunk.audio)
