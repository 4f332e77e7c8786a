"""A request to listeners and to a file while it is made, in constant memory however long it is."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from torch import Tensor

from audiocraft.audio.files import why_not_written
from audiocraft.audio.finishing import USUAL, FaultMeter, Finish, Opening
from audiocraft.audio.formats import file_format
from audiocraft.audio.processing import AudioProcessor
from audiocraft.audio.writer import AudioWriter
from audiocraft.checkpoints.facts import check_takes
from audiocraft.errors import InvalidInput
from audiocraft.generation.keeping import kept_samples
from audiocraft.generation.progress import CancelToken, ProgressCallback
from audiocraft.generation.request import GenerationRequest
from audiocraft.generation.session import Session
from audiocraft.models.generator import GeneratorModel, PreparedRequest
from audiocraft.models.watermarks.provenance import way_out
from audiocraft.types import Scene, ScorePlan
from audiocraft.utils.files import atomic_path, check_apart
from audiocraft.workflows.origins import Origin
from audiocraft.workflows.render import (
    LevelSettings,
    Recipe,
    Rendered,
    check_target,
    identity_of,
    recipe_of,
    sidecar_of,
    write_sidecar,
    written_at,
)
from audiocraft.workflows.takes import (
    SILENT_TAKES,
    every_take_is,
    progress_of_take,
    prompt_samples,
    take_seed,
)

_log = logging.getLogger(__name__)

AudioListener = Callable[[Tensor], None]
"""Takes the next samples [C, n], float32."""

AS_MADE = LevelSettings(strategy="none", loudness_compressor=False)
"""How loud such files are: what has been heard already cannot be made louder later."""


@dataclass(frozen=True, slots=True)
class _Made:
    seeds: Sequence[int]
    plans: Sequence[ScorePlan | None]
    scenes: Sequence[Scene | None]
    sample_rate: int
    timings: Mapping[str, float] = field(default_factory=dict)


def render_live(
    model: GeneratorModel,
    request: GenerationRequest,
    path: str | os.PathLike[str] | None = None,
    *,
    listeners: Sequence[AudioListener] = (),
    origin: Origin | None = None,
    finish: Finish | None = USUAL,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> Rendered | None:
    """Make the one piece of `request`, and hand each chunk to all `listeners` as soon as it is there and sure not to be
    silence. A piece that is silent or broken before anything was handed on is made again with another seed; the log
    says so.

    Args:
        path: a file to write as well, with its sidecar. It appears when it is complete; what stops earlier, by
            whatever error, leaves nothing.
        finish: the finishing step; None hands on what the model made, as older versions did.

    Raises:
        FaultyAudio: it was silent or broken with every seed that was tried.
    """
    if len(request.prompts) != 1:
        raise InvalidInput(
            f"one piece can be streamed at a time; there are {len(request.prompts)} prompts", field="prompts"
        )
    target = None if path is None else check_target(path)
    origin = origin or Origin()
    check_apart(() if target is None else written_at([target]), origin.files())
    if origin.reference is not None:
        check_takes(model.name, model.takes, origin.reference.role)
    first = _Take(model, model.prepare(request), request, progress, cancel)
    if finish is None:
        take, chunks = first, first.chunks()
    else:
        take, opening = _audible(first)
        form = None if target is None else file_format(target.suffix.lower().lstrip("."))
        leaving = finish if form is None else finish.for_format(form)
        chunks = _finished(opening, take, way_out(leaving, kept_samples(request, 0)))
    if target is None:
        _listen(chunks, listeners)
        return None
    prepared, asked = take.prepared, first.prepared.seeds[0]
    made = _Made(prepared.seeds, prepared.plans, prepared.scenes, prepared.decoder.sample_rate)
    recipe = recipe_of(
        take.request, 0, made, target=target, model=identity_of(model), origin=origin, level=AS_MADE, finish=finish
    )  # fmt: skip
    recipe = replace(recipe, asked_seed=None if take is first else asked)
    return _written(recipe, chunks, listeners, target, prepared.decoder.channels)


@dataclass(frozen=True, slots=True)
class _Take:
    """A take is one attempt at a piece."""

    model: GeneratorModel
    prepared: PreparedRequest
    request: GenerationRequest
    progress: ProgressCallback | None
    cancel: CancelToken | None

    @property
    def title(self) -> str:
        return self.request.prompt_at(0, 0.0) or ""

    @property
    def skip(self) -> int:
        """Return the number of samples at its start that are not the model's."""
        return prompt_samples(self.request, self.prepared.decoder.sample_rate)

    def chunks(self) -> Iterator[Tensor]:
        """Return what the model makes, as it comes."""
        session = Session.open(self.prepared.seeds, progress=self.progress, cancel=self.cancel)
        return (chunk.audio for chunk in self.model.stream_prepared(self.prepared, session))

    def another(self, seed: int, progress: ProgressCallback | None) -> _Take:
        """Return the same piece with another seed."""
        request = replace(self.request, seeds=(seed,))
        return replace(self, prepared=self.model.prepare(request), request=request, progress=progress)


def _audible(take: _Take) -> tuple[_Take, Iterator[Tensor]]:
    """Return `take`, or the first one after it that is neither silent nor broken as far as that shows before anything
    is handed on; with its chunks, the first of which are made by now."""
    asked, progress = take.prepared.seeds[0], take.progress
    for number in range(1, SILENT_TAKES + 1):
        rate = take.prepared.decoder.sample_rate
        opening = Opening(rate, round(take.request.duration * rate), skip=take.skip)
        chunks = take.chunks()
        for audio in chunks:
            let_through = opening.push(audio)
            if let_through:
                return take, chain(let_through, chunks)
            if opening.broken:
                break
        reason = opening.faults.reason or ""
        if number < SILENT_TAKES:
            seed = take_seed(asked, number)
            _log.warning(
                "%r with seed %d: %s; trying seed %d", take.title, take.prepared.seeds[0], reason, seed
            )
            take = take.another(seed, progress_of_take(progress, take.title, number + 1))
    raise every_take_is(reason, repr(take.title))


def _finished(chunks: Iterator[Tensor], take: _Take, leaving: AudioProcessor) -> Iterator[Tensor]:
    """Yield the audio of `chunks` on its way out; the log says at the end if it was silent, stuck or broken."""
    rate = take.prepared.decoder.sample_rate
    stream = leaving.open(rate, take.prepared.decoder.channels)
    meter = FaultMeter(rate, music=take.model.makes_music, skip=take.skip)
    for audio in chunks:
        meter.push(audio)
        yield stream.push(audio)
    yield stream.finish()
    reason = meter.finish().reason
    if reason is not None:
        seed = take.prepared.seeds[0]
        _log.warning("%r with seed %d: %s; try another seed", take.title, seed, reason)


def _written(
    recipe: Recipe, chunks: Iterator[Tensor], listeners: Sequence[AudioListener], target: Path, channels: int
) -> Rendered:
    try:
        return _to_file(recipe, chunks, listeners, target, channels)
    except OSError as error:
        if error.filename is None:  # a listener's
            raise
        raise InvalidInput(why_not_written(target, error), field="output") from error


def _to_file(
    recipe: Recipe, chunks: Iterator[Tensor], listeners: Sequence[AudioListener], target: Path, channels: int
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
            headroom=recipe.kept is None,
        ) as writer:
            _listen(chunks, [writer.write, *listeners])
        recipe = replace(recipe, timings={"total": round(time.perf_counter() - started, 3)})
        write_sidecar(sidecar, recipe)
    return Rendered(path=target, sidecar=sidecar, recipe=recipe)


def _listen(chunks: Iterator[Tensor], listeners: Sequence[AudioListener]) -> None:
    for audio in chunks:
        if audio.shape[-1]:
            for listener in listeners:
                listener(audio)
