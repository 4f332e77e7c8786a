"""The audio that a request starts from: files, what a sidecar records of them, and the request with their samples."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from torch import Tensor

from audiocraft.audio.files import audio_info, audio_read
from audiocraft.errors import InvalidInput
from audiocraft.generation.request import GenerationRequest
from audiocraft.workflows.controls import with_drums, with_tune


@dataclass(frozen=True, kw_only=True, slots=True)
class Continuation:
    """This record names the audio file a piece starts with."""

    path: str
    sha256: str


Role = Literal["melody", "style"]
"""What a model hears in the audio that it is referred to."""


FollowedRole = Literal["drums", "tune"]
"""What a model follows moment by moment, out of a file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """This record names the audio file whose melody a piece follows, or whose style it imitates."""

    role: Role
    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FollowedFile:
    """This record names the file whose drums, or whose tune, a piece follows."""

    role: FollowedRole
    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptAudio:
    """This record names the audio file of which regions, in seconds, were kept."""

    path: str
    sha256: str
    regions: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """This record names the files that a request starts from, for the record."""

    continues: Continuation | None = None
    reference: Reference | None = None
    followed: tuple[FollowedFile, ...] = ()
    kept: KeptAudio | None = None

    def files(self) -> tuple[str, ...]:
        """Return the paths of all of them."""
        known = (self.continues, self.reference, *self.followed, self.kept)
        return tuple(one.path for one in known if one is not None)


NOTHING = Origin()
"""Words alone."""


def continuation_of(path: str | os.PathLike[str]) -> Continuation:
    """Return what a sidecar records of the audio file that a piece continues."""
    return Continuation(path=str(Path(path).resolve()), sha256=_digest(path, "continues"))


def reference_of(path: str | os.PathLike[str], role: Role) -> Reference:
    """Return what a sidecar records of the audio file that a piece refers to."""
    return Reference(role=role, path=str(Path(path).resolve()), sha256=_digest(path, role))


def with_reference(request: GenerationRequest, path: str | os.PathLike[str], role: Role) -> GenerationRequest:
    """Return `request`, each row of which follows the melody, or imitates the style, of the audio file at `path`."""
    wav, rate = _audio_of(path, role)
    return replace(request, reference_audio=(wav,) * len(request.prompts), reference_sample_rate=rate)


def followed_of(path: str | os.PathLike[str], role: FollowedRole) -> FollowedFile:
    """Return what a sidecar records of the file whose drums or tune a piece follows."""
    return FollowedFile(role=role, path=str(Path(path).resolve()), sha256=_digest(path, role))


def with_followed(
    request: GenerationRequest, path: str | os.PathLike[str], role: FollowedRole
) -> GenerationRequest:
    """Return `request`, which follows the drums or the tune of the file at `path`."""
    add = {"drums": with_drums, "tune": with_tune}[role]
    return replace(request, controls=add(request.controls, Path(path)))


def with_prompt_audio(request: GenerationRequest, path: str | os.PathLike[str]) -> GenerationRequest:
    """Return `request`, each row of which starts with the audio file at `path`."""
    seconds = audio_info(path).duration
    if seconds >= request.duration:  # before hours of it are read
        raise InvalidInput(
            f"the prompt audio lasts {seconds:.2f} s; duration {request.duration:g} s must be longer, because it "
            "includes the prompt",
            field="duration",
        )
    wav, rate = _audio_of(path, "continues")
    return replace(request, prompt_audio=wav.expand(len(request.prompts), -1, -1), prompt_sample_rate=rate)


def with_kept_audio(
    request: GenerationRequest, path: str | os.PathLike[str], regions: Sequence[tuple[float, float]]
) -> GenerationRequest:
    """Return `request`, each row of which keeps `regions`, in seconds, of the audio file at `path`."""
    wav, rate = _audio_of(path, "keep")
    audio = wav.expand(len(request.prompts), -1, -1)
    return replace(request, keep=tuple(regions), audio=audio, audio_sample_rate=rate)


def kept_audio(path: str | os.PathLike[str], regions: Sequence[tuple[float, float]]) -> KeptAudio:
    """Return what a sidecar records of the audio file that regions were kept of."""
    return KeptAudio(path=str(Path(path).resolve()), sha256=_digest(path, "keep"), regions=tuple(regions))


def _audio_of(path: str | os.PathLike[str], field: str) -> tuple[Tensor, int]:
    wav, rate = audio_read(path)
    if not wav.shape[-1]:
        raise InvalidInput(f"{path} has no audio in it", field=field)
    return wav, rate


def _digest(path: str | os.PathLike[str], field: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror or error}", field=field) from error


def check_unchanged(path: str, sha256: str, field: str) -> None:
    """Refuse a file that is another one than the record of it says."""
    if _digest(path, field) != sha256:
        raise InvalidInput(f"{path} has changed since the file was made", field=field)
