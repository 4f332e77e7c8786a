"""What happens to a request in an engine, as records in the order in which they occur:

Queued, Started, any mixture of Progress and AudioChunk, and one of Finished, Failed, Stopped at the end
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from audiocraft.generation.progress import Progress
from audiocraft.generation.request import GenerationResult
from audiocraft.types import ScorePlan

__all__ = [
    "AudioChunk", "Stopped", "Event", "Failed", "Finished", "Progress", "Queued", "Started", "is_final",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Queued:
    """The request was accepted; `position` requests go first."""

    position: int


@dataclass(frozen=True, slots=True)
class Started:
    """The first step is next. Seeds and plans are those of each row, drawn or given."""

    seeds: tuple[int, ...]
    plans: tuple[ScorePlan | None, ...]


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """This event brings audio that is ready. The chunks of a row follow each other without gap and join to its whole
    audio.

    Args:
        start: place in the piece of the first sample.
        audio: [C, n], float32 on the CPU.
    """

    row: int
    start: int
    audio: Tensor = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Finished:
    """All is there; the result is that of `model.run(request)`."""

    result: GenerationResult = field(compare=False)


@dataclass(frozen=True, slots=True)
class Failed:
    """Nothing more comes, and this is why."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Stopped:
    """The generation was stopped because its owner asked for it."""


Event = Queued | Started | Progress | AudioChunk | Finished | Failed | Stopped


def is_final(event: Event) -> bool:
    """Return whether no event follows this one."""
    return isinstance(event, Finished | Failed | Stopped)
