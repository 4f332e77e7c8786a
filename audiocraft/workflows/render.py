"""A request to audio files, each with a sidecar JSON that says everything needed to make the same file again."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from audiocraft.audio.convert import normalize_audio
from audiocraft.audio.files import audio_write
from audiocraft.audio.finishing import USUAL, Finish
from audiocraft.audio.formats import FILE_FORMATS, file_format
from audiocraft.audio.keeping import KeptSamples
from audiocraft.audio.tags import generation_tags
from audiocraft.checkpoints.digest import weights_digest
from audiocraft.checkpoints.facts import check_takes
from audiocraft.config.decode import decode, encode
from audiocraft.config.limits import EndingKind
from audiocraft.environment import VERSION
from audiocraft.errors import InvalidInput
from audiocraft.generation.controls import Controls
from audiocraft.generation.keeping import kept_samples
from audiocraft.generation.progress import ProgressCallback
from audiocraft.generation.request import (
    FlowSettings,
    GenerationRequest,
    Guidance,
    MaskedSettings,
    Sampling,
    WindowSettings,
)
from audiocraft.models.generator import GeneratorModel
from audiocraft.models.watermarks.provenance import finished_and_marked
from audiocraft.types import Scene, ScorePlan, StyleSettings
from audiocraft.utils.files import atomic_write, check_apart
from audiocraft.workflows.editing.loops import finished_loop
from audiocraft.workflows.loop_marks import marks_of
from audiocraft.workflows.origins import (
    NOTHING,
    Continuation,
    FollowedFile,
    KeptAudio,
    Origin,
    Reference,
    check_unchanged,
    with_followed,
    with_kept_audio,
    with_prompt_audio,
    with_reference,
)
from audiocraft.workflows.takes import ONE_TAKE, Compared, Effort, Take, worthwhile

SUFFIXES = tuple(f".{form.suffix}" for form in FILE_FORMATS.values())
SIDECAR_FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelIdentity:
    """This record says which model made a file; the hash covers every weight of language model and codec, as they were
    kept.

    Args:
        precision: of the language model, as `get_pretrained` takes it; sidecars of older versions say nothing.
    """

    name: str
    weights: str
    precision: str = "auto"

    def difference(self, other: ModelIdentity) -> str | None:
        """Return why a file that this model made will be another one with `other`; None if nothing is known to
        differ."""
        if self.precision not in ("auto", other.precision):
            return f"the file was made with precision {self.precision}, and this one with {other.precision}"
        same = self.weights == other.weights
        return None if same else f"model {self.name!r} has other weights than when the file was made"


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelSettings:
    """This record says how loud the file is written; see `audio_write`. "none" is as it was made: so are files that
    were streamed. Those that keep regions of a recording, which stays as loud as it is, have "clip"."""

    strategy: Literal["loudness", "peak", "rms", "clip", "none"] = "loudness"
    loudness_compressor: bool = True


AS_KEPT = LevelSettings(strategy="clip", loudness_compressor=False)
"""How loud files are that keep regions of a recording."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A recipe is the content of a sidecar: one row of a request, and with what it was made.

    Args:
        seed: what the file was made with.
        asked_seed: the seed that was asked for, where the piece that it gave was silent, stuck or broken, or another
            take was better.
        compared: how the take was chosen, where there were several.
        finish: the finishing step; sidecars of older versions have none, and neither have their files.
    """

    format: int = SIDECAR_FORMAT
    file: str
    prompt: str | None
    seed: int
    asked_seed: int | None = None
    compared: Compared | None = None
    duration: float
    model: ModelIdentity
    sampling: Sampling
    guidance: Guidance
    window: WindowSettings
    schedule: tuple[tuple[float, str], ...] = ()
    plan: ScorePlan | None = None
    scene: Scene | None = None
    continues: Continuation | None = None
    reference: Reference | None = None
    chords: tuple[tuple[str, float], ...] = ()
    followed: tuple[FollowedFile, ...] = ()
    flow: FlowSettings = FlowSettings()
    kept: KeptAudio | None = None
    masked: MaskedSettings = MaskedSettings()
    style: StyleSettings | None = None
    adapters: tuple[tuple[str, float], ...] = ()
    negative: str | None = None
    loop: bool = False
    ending: EndingKind | None = None
    longest_tone: float | None = None
    decoder: str | None = None
    level: LevelSettings = LevelSettings()
    finish: Finish | None = None
    sample_rate: int
    audiocraft: str = VERSION
    torch: str = str(torch.__version__)
    timings: Mapping[str, float]

    def request(self) -> GenerationRequest:
        """Return the request that makes this file again; raises if the audio it starts from has changed."""
        request = GenerationRequest(
            prompts=(self.prompt,),
            duration=self.duration,
            seeds=(self.seed,),
            sampling=self.sampling,
            guidance=self.guidance,
            window=self.window,
            masked=self.masked,
            schedule=self.schedule,
            plans=(self.plan,) if self.plan is not None else None,
            scenes=(self.scene,) if self.scene is not None else None,
            controls=Controls(chords=self.chords),
            flow=self.flow,
            style=self.style,
            adapters=self.adapters,
            negative=self.negative,
            loop=self.loop,
            ending=self.ending,
            longest_tone=self.longest_tone,
            decoder=self.decoder,
        )
        for entry in self.followed:
            check_unchanged(entry.path, entry.sha256, entry.role)
            request = with_followed(request, entry.path, entry.role)
        if self.reference is not None:
            check_unchanged(self.reference.path, self.reference.sha256, self.reference.role)
            request = with_reference(request, self.reference.path, self.reference.role)
        if self.continues is not None:
            check_unchanged(self.continues.path, self.continues.sha256, "continues")
            request = with_prompt_audio(request, self.continues.path)
        if self.kept is not None:
            check_unchanged(self.kept.path, self.kept.sha256, "keep")
            request = with_kept_audio(request, self.kept.path, self.kept.regions)
        return request

    def request_text(self) -> str | None:
        """Return what the piece was to be at its beginning."""
        return GenerationRequest(
            prompts=(self.prompt,), duration=self.duration, schedule=self.schedule
        ).prompt_at(0, 0.0)

    @property
    def tags(self) -> dict[str, str] | None:
        """Return what the file says of itself; files of older versions say nothing."""
        if self.finish is None:
            return None
        title = self.prompt or next((text for _, text in self.schedule), "")
        return generation_tags(title, model=self.model.name, seed=self.seed)

    @property
    def origin(self) -> Origin:
        return Origin(
            continues=self.continues, reference=self.reference, followed=self.followed, kept=self.kept
        )


class Made(Protocol):
    """This protocol says what is known about a request once it was made; a GenerationResult knows it."""

    @property
    def seeds(self) -> Sequence[int]: ...
    @property
    def plans(self) -> Sequence[ScorePlan | None]: ...
    @property
    def scenes(self) -> Sequence[Scene | None]: ...
    @property
    def sample_rate(self) -> int: ...
    @property
    def timings(self) -> Mapping[str, float]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """This record describes one finished file."""

    path: Path
    sidecar: Path
    recipe: Recipe


def render(
    model: GeneratorModel,
    request: GenerationRequest,
    paths: Sequence[str | os.PathLike[str]],
    *,
    origin: Origin = NOTHING,
    finish: Finish | None = USUAL,
    effort: Effort = ONE_TAKE,
    progress: ProgressCallback | None = None,
    finished: list[Rendered] | None = None,
) -> list[Rendered]:
    """Run `request` and write row i to paths[i] and its sidecar beside it. A file that cannot be written leaves nothing
    of itself, and those before it stay. Pieces that are silent, stuck or broken are made again with another seed; the
    log says so.

    Args:
        finish: the finishing step; None writes what the model made, as older versions did.
        effort: takes of each piece, of which the best is written (`workflows.quality`).
        finished: gets each file as soon as it is there, and is what comes back.

    Raises:
        FaultyAudio: a piece was silent or broken with every seed that was tried.
    """
    targets = [check_target(path) for path in paths]
    if len(targets) != len(request.prompts) or len(set(targets)) != len(targets):
        raise InvalidInput(f"{len(request.prompts)} prompts need as many different files", field="paths")
    check_apart(written_at(targets), origin.files())
    if origin.reference is not None:
        check_takes(model.name, model.takes, origin.reference.role)
    made = _made(model, request, effort, progress)
    identity = identity_of(model)
    finished = [] if finished is None else finished
    for (first, compared), target in zip(made, targets, strict=True):
        take = first
        if finish is not None:
            take = worthwhile(model, first.request, first.result, first.row, progress=progress)
        kept = kept_samples(take.request, take.row)
        recipe = recipe_of(
            take.request, take.row, take.result, target=target, model=identity, origin=origin, finish=finish,
            level=LevelSettings() if kept is None else AS_KEPT,
        )  # fmt: skip
        asked = first.asked_seed if first.asked_seed is not None else take.asked_seed
        recipe = replace(recipe, asked_seed=asked, compared=compared)
        finished.append(_write(target, take.audio, recipe, kept))
    return finished


def _made(
    model: GeneratorModel,
    request: GenerationRequest,
    effort: Effort,
    progress: ProgressCallback | None,
) -> list[tuple[Take, Compared | None]]:
    """Return a take of each row: the only one, or the best."""
    if effort.takes == 1:
        result = model.run(request, progress=progress)
        return [(Take(request=request, result=result, row=row), None) for row in range(len(request.prompts))]
    from audiocraft.workflows.quality.best import best_of  # its ear is not needed for one take

    found = best_of(model, request, effort.takes, until=effort.until, progress=progress)
    return [(one.take, one.compared) for one in found]


def check_target(path: str | os.PathLike[str], *, also: Sequence[str] = ()) -> Path:
    """Return `path`, if a file can be written there; found out before anything is generated.

    Args:
        also: suffixes that its writer knows beside those of formats.
    """
    target = path if isinstance(path, Path) else Path(path)  # a folder by its slash stays one
    if target.suffix.lower() not in (*SUFFIXES, *also):
        known = ", ".join((*SUFFIXES, *also))
        raise InvalidInput(
            f"cannot tell the audio format from {str(target)!r}; end it in one of {known}", field="output"
        )
    if target.is_dir():
        raise InvalidInput(f"{target} is a folder", field="output")
    folder = target.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise InvalidInput(f"cannot write {target}: {folder} is not a folder", field="output")
    try:
        # Asking for permission says nothing on read-only or full disks; a file of one byte does.
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0")
            probe.flush()
    except OSError as error:
        raise InvalidInput(f"cannot write {target}: {error.strerror or error}", field="output") from error
    return target


def sidecar_of(path: Path) -> Path:
    """Return where the sidecar of an audio file is."""
    return path.with_name(path.name + ".json")


def written_at(targets: Iterable[Path]) -> list[Path]:
    """Return all that is written for pieces: their files and their sidecars."""
    return [path for target in targets for path in (target, sidecar_of(target))]


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Return the recipe in a sidecar, or in the sidecar of the audio file at `path`."""
    source = Path(path)
    if source.suffix.lower() in SUFFIXES:
        source = sidecar_of(source)
    try:
        data = json.loads(source.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if source == Path(path) or not Path(path).is_file():
            raise InvalidInput(f"cannot read {source}: {error.strerror or error}", field="from") from error
        raise InvalidInput(
            f"{path} has no sidecar ({source.name}): those of `audiocraft generate` have one, and what other commands "
            "make is made again by the same command with the same seed; --continue FILE goes on behind any file",
            field="from",
        ) from error
    except OSError as error:
        raise InvalidInput(f"cannot read {source}: {error.strerror or error}", field="from") from error
    except ValueError as error:
        raise InvalidInput(f"{source} is not a sidecar of ours: {error}", field="from") from error
    if not isinstance(data, dict) or data.get("format") != SIDECAR_FORMAT:
        raise InvalidInput(f"{source} is not a sidecar of format {SIDECAR_FORMAT}", field="from")
    return decode(Recipe, data, where=source.name)


def identity_of(model: GeneratorModel) -> ModelIdentity:
    """Return what a sidecar records of `model`."""
    return ModelIdentity(
        name=model.name,
        weights="sha256:" + weights_digest(*model.modules()),
        precision=model.precision,
    )


def recipe_of(
    request: GenerationRequest,
    row: int,
    made: Made,
    *,
    target: Path,
    model: ModelIdentity,
    origin: Origin,
    level: LevelSettings = LevelSettings(),
    finish: Finish | None = None,
) -> Recipe:
    """Return the recipe of one row of `request` in the file `target`."""
    return Recipe(
        file=target.name,
        prompt=request.prompts[row],
        seed=made.seeds[row],
        duration=request.duration,
        model=model,
        sampling=request.sampling,
        guidance=request.guidance,
        window=request.window,
        schedule=request.schedule,
        plan=made.plans[row],
        scene=made.scenes[row] if made.scenes else None,
        continues=origin.continues,
        reference=origin.reference,
        chords=request.controls.chords,
        followed=origin.followed,
        kept=origin.kept,
        masked=request.masked,
        flow=request.flow,
        style=request.style,
        adapters=request.adapters,
        negative=request.negative,
        loop=request.loop,
        ending=request.ending,
        longest_tone=request.longest_tone,
        decoder=request.decoder,
        level=level,
        finish=finish,
        sample_rate=made.sample_rate,
        timings={stage: round(seconds, 3) for stage, seconds in made.timings.items()},
    )


def write_sidecar(path: Path, recipe: Recipe) -> None:
    """Write `recipe` to the sidecar at `path`."""
    atomic_write(path, json.dumps(encode(recipe), indent=2, ensure_ascii=False) + "\n")


def _write(target: Path, audio: Tensor, recipe: Recipe, kept: KeptSamples | None) -> Rendered:
    sidecar = sidecar_of(target)
    level, form = recipe.level, file_format(target.suffix.lower().lstrip("."))
    try:
        if kept is None:
            audio = normalize_audio(
                audio, strategy=level.strategy, loudness_compressor=level.loudness_compressor,
                log_clipping=True, sample_rate=recipe.sample_rate, stem_name=str(target),
            )  # fmt: skip
        marks = marks_of(recipe.plan) if recipe.loop and recipe.plan is not None else None
        if recipe.finish is not None:
            finish = recipe.finish.for_format(form)
            if recipe.loop:
                audio = finished_loop(audio, recipe.sample_rate, finish)
            else:
                audio = finished_and_marked(audio, recipe.sample_rate, finish, kept)
            audio = audio if kept is not None else audio * form.gain
        if kept is not None:  # which stays as loud as it is
            audio = audio.clamp(-1, 1)
        audio_write(
            target,
            audio,
            recipe.sample_rate,
            format=form.name,
            strategy="none",
            add_suffix=False,
            tags=recipe.tags,
            marks=marks,
        )
        write_sidecar(sidecar, recipe)
    except BaseException:
        target.unlink(missing_ok=True)
        sidecar.unlink(missing_ok=True)
        raise
    return Rendered(path=target, sidecar=sidecar, recipe=recipe)
