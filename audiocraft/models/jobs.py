"""Requests that have been checked, and what becomes of their audio."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from audiocraft.audio.level_anchor import LevelAnchor
from audiocraft.generation import windows
from audiocraft.generation.events import AudioChunk
from audiocraft.generation.session import Session
from audiocraft.types import ScorePlan
from audiocraft.utils.memory import OutOfMemoryEstimate, available_bytes, gigabytes

_COPIES_OF_AUDIO = 3  # as it comes from the codec, joined, and the caller's
_FLOAT = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A request that has been checked and can start.

    Args:
        anchor: holds the level of a piece of several windows; None leaves it alone.
    """

    piece: windows.Piece
    session: Session
    seeds: tuple[int, ...]
    plans: tuple[ScorePlan | None, ...]
    num_samples: int
    anchor: LevelAnchor | None = None


def check_room(seconds: float, samples: int, device: torch.device) -> None:
    """Refuse audio of `seconds`, with `samples` in all rows and channels together, that memory cannot hold whole."""
    need, available = _COPIES_OF_AUDIO * _FLOAT * samples, available_bytes(device)
    if available is not None and need > available:
        raise OutOfMemoryEstimate(
            f"{seconds:g} s of audio as a whole need about {gigabytes(need)} and {gigabytes(available)} are free "
            f"on {device}; take it in pieces: stream(), or audiocraft generate --stream",
            need=need,
            available=available,
        )


def chunks_of(audio: Tensor, start: int) -> Iterator[AudioChunk]:
    """audio [B, C, n] that starts at sample `start` -> a chunk for each row."""
    if audio.shape[-1]:
        for row, samples in enumerate(audio.float().cpu()):
            yield AudioChunk(row, start, samples.clone())
