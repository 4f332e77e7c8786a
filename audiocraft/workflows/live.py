"""A request to listeners and to a file while it is made, in constant memory however long it is."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from audiocraft.audio.files import why_not_written
from audiocraft.audio.finishing import USUAL, FaultMeter, Finish
from audiocraft.audio.writer import AudioWriter
from audiocraft.checkpoints.facts import check_takes
from audiocraft.errors import InvalidInput
from audiocraft.generation.progress import CancelToken, ProgressCallback
from audiocraft.generation.request import GenerationRequest
from audiocraft.generation.session import Session
from audiocraft.models.generator import GeneratorModel, PreparedRequest
from audiocraft.types import ScorePlan
from audiocraft.utils.files import atomic_path
from audiocraft.workflows.render import (
    LevelSettings,
    Origin,
    Recipe,
    Rendered,
    check_target,
    identity_of,
    recipe_of,
    sidecar_of,
    write_sidecar,
)
from audiocraft.workflows.takes import prompt_samples

_log = logging.getLogger(__name__)

Listener = Callable[[Tensor], None]
"""Takes the next samples [C, n], float32."""

AS_MADE = LevelSettings(strategy="none", loudness_compressor=False)
"""How loud such files are: what has been heard already cannot be made louder later."""


@dataclass(frozen=True, slots=True)
class _Made:
    seeds: Sequence[int]
    plans: Sequence[ScorePlan | None]
    sample_rate: int
    timings: Mapping[str, float] = field(default_factory=dict)


def render_live(
    model: GeneratorModel,
    request: GenerationRequest,
    path: str | os.PathLike[str] | None = None,
    *,
    listeners: Sequence[Listener] = (),
    origin: Origin | None = None,
    finish: Finish | None = USUAL,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> Rendered | None:
    """Make the one piece of `request`, and hand each chunk to all `listeners` as soon as it is there.

    Args:
        path: a file to write as well, with its sidecar. It appears when it is complete; what stops earlier, by
            whatever error, leaves nothing.
        finish: the finishing step; None hands on what the model made, as older versions did.
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
    chunks: Iterator[Tensor] = (chunk.audio for chunk in model.stream_prepared(prepared, session))
    if finish is not None:
        chunks = _finished(chunks, model, prepared, request, finish)
    if target is None:
        _listen(chunks, listeners)
        return None
    made = _Made(prepared.seeds, prepared.plans, prepared.decoder.sample_rate)
    recipe = recipe_of(
        request, 0, made, target=target, model=identity_of(model), origin=origin, level=AS_MADE, finish=finish
    )
    return _written(recipe, chunks, listeners, target, prepared.decoder.channels)


def _finished(
    chunks: Iterator[Tensor],
    model: GeneratorModel,
    prepared: PreparedRequest,
    request: GenerationRequest,
    finish: Finish,
) -> Iterator[Tensor]:
    """The audio of `chunks` on its way out; the log says at the end if it was silent, stuck or broken."""
    rate = prepared.decoder.sample_rate
    finisher = finish.open(rate, prepared.decoder.channels)
    meter = FaultMeter(rate, music=model.makes_music, skip=prompt_samples(request, rate))
    for audio in chunks:
        meter.push(audio)
        yield finisher.push(audio)
    yield finisher.finish()
    reason = meter.finish().reason
    if reason is not None:
        title = request.prompt_at(0, 0.0) or ""
        _log.warning("%r with seed %d: %s; try another seed", title, prepared.seeds[0], reason)


def _written(
    recipe: Recipe, chunks: Iterator[Tensor], listeners: Sequence[Listener], target: Path, channels: int
) -> Rendered:
    try:
        return _to_file(recipe, chunks, listeners, target, channels)
    except OSError as error:
        if error.filename is None:  # a listener's
            raise
        raise InvalidInput(why_not_written(target, error), field="output") from error


def _to_file(
    recipe: Recipe, chunks: Iterator[Tensor], listeners: Sequence[Listener], target: Path, channels: int
) -> Rendered:
    started = time.perf_counter()
    sidecar = sidecar_of(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as temporary:
        with AudioWriter(
            temporary,
            recipe.sample_rate,
            channels,
            format=target.suffix.lower().lstrip("."),
            seconds=recipe.duration,
            tags=recipe.tags,
        ) as writer:
            _listen(chunks, [writer.write, *listeners])
        recipe = replace(recipe, timings={"total": round(time.perf_counter() - started, 3)})
        write_sidecar(sidecar, recipe)
    return Rendered(path=target, sidecar=sidecar, recipe=recipe)


def _listen(chunks: Iterator[Tensor], listeners: Sequence[Listener]) -> None:
    for audio in chunks:
        if audio.shape[-1]:
            for listener in listeners:
                listener(audio)
