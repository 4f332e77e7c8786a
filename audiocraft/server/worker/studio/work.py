"""What a workflow of a job is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from audiocraft.audio.files import audio_write
from audiocraft.audio.finishing import Finish
from audiocraft.audio.marks import Marks
from audiocraft.generation.progress import CancelToken, ProgressCallback
from audiocraft.generation.request import GenerationRequest
from audiocraft.models.generator import GeneratorModel
from audiocraft.models.watermarks.provenance import finished_and_marked, marked
from audiocraft.server.jobs.records import GenerationJob, tags_of
from audiocraft.types import ScorePlan

AudioAndRate = tuple[Tensor, int]
"""Audio [C, N] and its rate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudioWork:
    """This record holds a job and what its workflow may use.

    Args:
        parts: the folder of parts, which the next attempt finds again.
        files: the folder of further files of this attempt.
        model: a model by name; what it makes is told to the callback as well.
        request: what a job that is a single piece asks for.
        heard: the audio that a field of the request names.
        watermark: what marks all that is given out; None: nothing does.
        report: told how much is done, 0 to 1, and of what.
        begun: told the plan, as soon as it is known.
    """

    job: GenerationJob
    parts: Path
    files: Path
    model: Callable[[str, ProgressCallback | None], GeneratorModel]
    request: Callable[[], GenerationRequest]
    heard: Callable[[str], AudioAndRate]
    watermark: str | None
    report: Callable[[float, str], None]
    begun: Callable[[ScorePlan | None], None]
    cancel: CancelToken

    def finished(self, audio: Tensor, sample_rate: int) -> Tensor:
        """Return audio [C, N] as it is given out: marked, with its true peaks held."""
        finish = Finish(fade=0.0, watermark=self.watermark)
        return finished_and_marked(audio.float().cpu(), sample_rate, finish)

    def write(self, name: str, audio: Tensor, sample_rate: int, *, marks: Marks | None = None) -> Path:
        """Write audio [C, N] as a further file, marked like all that is given out."""
        self.files.mkdir(parents=True, exist_ok=True)
        path = self.files / name
        made = marked(audio.float(), sample_rate, self.watermark)
        return audio_write(
            path, made, sample_rate, format=path.suffix.lstrip("."), strategy="clip", add_suffix=False,
            tags=tags_of(self.job), marks=marks,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class StudioResult:
    """This record holds what a workflow has made.

    Args:
        audio: [C, N], before the mark.
        plan: tempo, bars and chords, where there are any.
        facts: what else the job's result says.
        files: names of further files and their media types, the most wanted first.
        marks: what the audio's file says of tempo and loop.
        finished: whether `audio` is as it is given out; else `StudioWork.finished` makes it so.
    """

    audio: Tensor = field(repr=False)
    sample_rate: int
    plan: ScorePlan | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    marks: Marks | None = None
    finished: bool = False
