"""A request to audio files, each with a sidecar JSON that says everything needed to make the same file again."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from audiocraft.config.decode import decode, encode
from audiocraft.data.audio import audio_read, audio_write
from audiocraft.environment import VERSION
from audiocraft.errors import InvalidInput
from audiocraft.generation.progress import CancelToken, ProgressCallback
from audiocraft.generation.request import GenerationRequest, GenerationResult, Guidance, Sampling, Window
from audiocraft.models.genmodel import BaseGenModel
from audiocraft.types import ScorePlan
from audiocraft.utils.files import atomic_write

SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus")
SIDECAR_FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelIdentity:
    """Which model made a file; the hash covers every weight of language model and codec."""

    name: str
    weights: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Continuation:
    """The audio file a piece starts with."""

    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """How loud the file is written; see `audio_write`."""

    strategy: Literal["loudness", "peak", "rms", "clip"] = "loudness"
    loudness_compressor: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """The content of a sidecar: one row of a request, and with what it was made."""

    format: int = SIDECAR_FORMAT
    file: str
    prompt: str | None
    seed: int
    duration: float
    model: ModelIdentity
    sampling: Sampling
    guidance: Guidance
    window: Window
    plan: ScorePlan | None = None
    continues: Continuation | None = None
    level: Level = Level()
    sample_rate: int
    audiocraft: str = VERSION
    torch: str = str(torch.__version__)
    timings: Mapping[str, float]

    def request(self) -> GenerationRequest:
        """The request that makes this file again; raises if the audio it continues has changed."""
        request = GenerationRequest(
            prompts=(self.prompt,),
            duration=self.duration,
            seeds=(self.seed,),
            sampling=self.sampling,
            guidance=self.guidance,
            window=self.window,
            plans=(self.plan,) if self.plan is not None else None,
        )
        if self.continues is None:
            return request
        found = continuation_of(self.continues.path)
        if found.sha256 != self.continues.sha256:
            raise InvalidInput(f"{found.path} has changed since the file was made", field="continues")
        return with_prompt_audio(request, self.continues.path)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """One finished file."""

    path: Path
    sidecar: Path
    recipe: Recipe


def render(
    model: BaseGenModel,
    request: GenerationRequest,
    paths: Sequence[str | os.PathLike[str]],
    *,
    continues: Continuation | None = None,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> list[Rendered]:
    """Run `request` and write row i to paths[i] and its sidecar beside it. All files are written, or none."""
    targets = [check_target(path) for path in paths]
    if len(targets) != len(request.prompts) or len(set(targets)) != len(targets):
        raise InvalidInput(f"{len(request.prompts)} prompts need as many different files", field="paths")
    result = model.run(request, progress=progress, cancel=cancel)
    identity = ModelIdentity(name=model.name, weights=weights_hash(model.lm, model.compression_model))
    finished: list[Rendered] = []
    try:
        for row, target in enumerate(targets):
            recipe = _recipe(request, result, row, target, identity, continues)
            finished.append(_write(target, result.audio[row], recipe))
    except BaseException:
        for done in finished:
            done.path.unlink(missing_ok=True)
            done.sidecar.unlink(missing_ok=True)
        raise
    return finished


def check_target(path: str | os.PathLike[str]) -> Path:
    """`path`, if a file can be written there; found out before anything is generated."""
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        known = ", ".join(SUFFIXES)
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
    """Where the sidecar of an audio file is."""
    return path.with_name(path.name + ".json")


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    """The recipe in a sidecar, or in the sidecar of the audio file at `path`."""
    source = Path(path)
    if source.suffix.lower() in SUFFIXES:
        source = sidecar_of(source)
    try:
        data = json.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"cannot read {source}: {error.strerror or error}", field="from") from error
    except ValueError as error:
        raise InvalidInput(f"{source} is not a sidecar of ours: {error}", field="from") from error
    if not isinstance(data, dict) or data.get("format") != SIDECAR_FORMAT:
        raise InvalidInput(f"{source} is not a sidecar of format {SIDECAR_FORMAT}", field="from")
    return decode(Recipe, data, where=source.name)


def continuation_of(path: str | os.PathLike[str]) -> Continuation:
    """What a sidecar records of the audio file that a piece continues."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror or error}", field="continues") from error
    return Continuation(path=str(Path(path).resolve()), sha256=hashlib.sha256(content).hexdigest())


def with_prompt_audio(request: GenerationRequest, path: str | os.PathLike[str]) -> GenerationRequest:
    """`request`, each row of which starts with the audio file at `path`."""
    wav, rate = audio_read(path)
    if not wav.shape[-1]:
        raise InvalidInput(f"{path} has no audio in it", field="continues")
    return replace(request, prompt_audio=wav.expand(len(request.prompts), -1, -1), prompt_sample_rate=rate)


def weights_hash(*modules: nn.Module) -> str:
    """One hash over names and values of all weights, independent of device."""
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return "sha256:" + digest.hexdigest()


def _recipe(
    request: GenerationRequest,
    result: GenerationResult,
    row: int,
    target: Path,
    identity: ModelIdentity,
    continues: Continuation | None,
) -> Recipe:
    return Recipe(
        file=target.name,
        prompt=request.prompts[row],
        seed=result.seeds[row],
        duration=request.duration,
        model=identity,
        sampling=request.sampling,
        guidance=request.guidance,
        window=request.window,
        plan=result.plans[row],
        continues=continues,
        sample_rate=result.sample_rate,
        timings={stage: round(seconds, 3) for stage, seconds in result.timings.items()},
    )


def _write(target: Path, audio: Tensor, recipe: Recipe) -> Rendered:
    sidecar = sidecar_of(target)
    try:
        audio_write(
            target,
            audio,
            recipe.sample_rate,
            format=target.suffix.lower().lstrip("."),
            strategy=recipe.level.strategy,
            loudness_compressor=recipe.level.loudness_compressor,
            add_suffix=False,
        )
        atomic_write(sidecar, json.dumps(encode(recipe), indent=2, ensure_ascii=False) + "\n")
    except BaseException:
        target.unlink(missing_ok=True)
        sidecar.unlink(missing_ok=True)
        raise
    return Rendered(path=target, sidecar=sidecar, recipe=recipe)
